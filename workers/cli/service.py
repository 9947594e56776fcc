"""Commands on a service: start one, submit jobs to it or straight to a cluster, and look after them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Any

import typer

from workers.cli.app import app, say


@app.command(
    epilog="""Examples: `slt serve --root /data/runs`

    `slt serve --stop`

    `slt serve service.yaml --host 0.0.0.0 --port 8420 --module my_problem`

    `slt serve --address http://head:8265 --folder /shared/slt --root /shared/runs --root s3://team/runs`"""
)
def serve(
    settings_file: Annotated[
        Path | None, typer.Argument(metavar="[SERVICE.yaml]", help="Settings; options override them.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where jobs and token are kept [~/.slt/service].")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on [127.0.0.1].")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port, 0 for a free one [8420].")] = None,
    root: Annotated[
        list[str] | None, typer.Option("--root", help="Checkpoints lie in here; repeatable [this directory].")
    ] = None,
    module: Annotated[
        list[str] | None, typer.Option("--module", help="Jobs may name problems of this module; repeatable.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="A cluster's Ray Jobs, http://head:8265.")] = None,
    max_running: Annotated[int | None, typer.Option(min=1, help="Jobs at once; the others wait [4].")] = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="No token; only on 127.0.0.1.")] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the service of the folder, and its Ray.")] = False,
) -> None:
    """Start the service: jobs over HTTP, and a page to watch them."""
    from workers.service.settings import make_settings

    options: dict[str, Any] = {
        "folder": folder,
        "host": host,
        "port": port,
        "roots": root or None,
        "modules": module or None,
        "address": address,
        "max_running": max_running,
        "no_token": no_token or None,
    }
    given = {name: value for name, value in options.items() if value is not None}
    settings = make_settings(_settings_in(settings_file) | given, str(settings_file or "the options"))
    from workers.service import server

    if stop:
        service, ray = server.stop(settings.folder)
        say(f"Stopped: {' and '.join(['the service'] * service + ['its Ray'] * ray) or 'nothing, none was running'}.")
        return

    def announce(url: str, token: str | None, is_new: bool) -> None:
        say(f"The service listens at {url}; jobs are kept in {settings.jobs}.")
        if token and is_new:
            say(f"Open {url}/?token={token} (the token is kept in {settings.folder / 'token'}, and not shown again)")

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    unfinished = server.serve(settings, announce)
    if unfinished:
        say(
            f"Stopped. {unfinished} jobs are not over: running ones go on, and the next start looks after all of them. "
            "`slt serve --stop` stops Ray too."
        )


def _settings_in(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    from workers.job import read_mapping

    return read_mapping(path, "host: 127.0.0.1")
