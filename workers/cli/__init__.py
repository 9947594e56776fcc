"""The command `slt`: parses and prints, decides nothing. torch and ray are imported by the commands that need them."""

# ruff: noqa: I001 - the order of imports is the order of commands in `slt --help`
import errno
import os
import sys

from workers.cli.app import BAD_INPUT, app, say
from workers.cli import runs
from workers.cli import curves
from workers.cli import service
from workers.cli import jobs

__all__ = ["app", "curves", "jobs", "main", "runs", "service"]


def main() -> None:
    """Entry point of the command `slt`."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error.filename is not None or error.errno != errno.ENOSPC:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in the buffer has nowhere to go
        say(f"Error: standard output cannot be written: {error.strerror}; make room, or send it elsewhere")
        sys.exit(BAD_INPUT)
