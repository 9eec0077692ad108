"""The entry point of `textgrad-lg`: its commands, and what becomes of errors."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from textgrad_lg.cli import diagnose
from textgrad_lg.errors import TextgradError

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130
"""What a shell shows of a process that Ctrl-C has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: Without the program's name; default: those of the process.

    Returns:
        The exit status: 0; 1 where the command could not do its work, with the reason on standard error; 130 after
        Ctrl-C. What the graph's or the evals' own code raises is raised.

    Raises:
        SystemExit: With 2, where the arguments are not right; with 0, after `--help`.
    """
    parser = argparse.ArgumentParser(prog="textgrad-lg", description="Textual gradients for LangGraph graphs.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("diagnose", help=diagnose.SUMMARY, description=f"Diagnose: {diagnose.SUMMARY}.")
    diagnose.add_arguments(command)
    given = parser.parse_args(arguments)
    try:
        diagnose.run(given)
    except argparse.ArgumentTypeError as error:
        command.error(str(error))
    except TextgradError as error:
        print(f"textgrad-lg: {error}", file=sys.stderr)  # noqa: T201  a command prints
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED  # how to go on has been printed
    return 0
