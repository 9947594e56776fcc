"""What every command shares: the application, its options, exit codes, and how results and errors are printed."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from slt.errors import BadInput, SltError

BAD_INPUT = 2
FAILED_ITEMS = 1
INTERRUPTED = 130
OF_THE_SERVICE = ("fastapi", "httpx", "prometheus_client", "starlette", "uvicorn")
"""Libraries that are installed on request."""


class _Commands(TyperGroup):
    """Errors raised on purpose are one line; anything else is a defect and keeps its traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SltError as error:
            say(f"Error: {error}")
            raise typer.Exit(BAD_INPUT if isinstance(error, BadInput) else FAILED_ITEMS) from None
        except ModuleNotFoundError as error:
            if error.name not in OF_THE_SERVICE:
                raise
            say(f"Error: {error.name} is not installed, which the service needs; pip install 'slt-stages[service]'")
            raise typer.Exit(BAD_INPUT) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Which developmental stages did a training run pass through?

    Estimates the local learning coefficient (LLC) at every checkpoint of a directory, finds the stages of its
    trajectory, and compares them with dated events.
    """,
    epilog="""A first run: `slt train modular_addition --out runs/grokking`, then `slt run configs/grokking.yaml`.

    Exit codes: 0 all done, 1 finished with failed items, 2 bad input.""",
)


if TYPE_CHECKING:
    from estimators.storage import Location

    Place = Location
else:  # typer knows no unions, and shows this name
    Place = type("Path", (), {})


def path(text: str) -> Place:
    """What a user names: a path, or a URL such as s3://bucket/run."""
    from estimators.storage import location

    return location(text)


def folder_here(text: str) -> Path:
    """What a user names, if it is on this machine."""
    place = path(text)
    if not isinstance(place, Path):
        raise BadInput(f"{place} is on object storage, but this command writes to a folder of this machine; name one")
    return place


AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a setting; repeatable.")]


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"slt {importlib.metadata.version('slt-stages')}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None: ...


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    from workers.files import to_json

    sys.stdout.write(to_json(document))


def say(message: str) -> None:
    """A message for people, on standard error."""
    typer.echo(message, err=True)
