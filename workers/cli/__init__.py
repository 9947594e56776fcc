"""The command `slt`: parses and prints, decides nothing. torch and ray are imported by the commands that need them."""

# ruff: noqa: I001 - the order of imports is the order of commands in `slt --help`
from workers.cli.app import app
from workers.cli import runs
from workers.cli import curves
from workers.cli import service
from workers.cli import jobs

__all__ = ["app", "curves", "jobs", "main", "runs", "service"]


def main() -> None:
    """Entry point of the command `slt`."""
    app()
