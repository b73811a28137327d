"""The command line: a file a command, thin; what it calls is in the rooms."""

import shlex
import sys
from typing import Annotated

import tyro
from rich.console import Console
from tyro.conf import subcommand

from ..files import FULL
from ..workloads.data import DataNotFoundError
from .bench import Bench
from .folder import Export, Report, Status
from .paper import Paper
from .study import Study
from .theory import Theory

Command = (
    Annotated[Study, subcommand("study")]
    | Annotated[Status, subcommand("status")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Paper, subcommand("paper")]
    | Annotated[Theory, subcommand("theory")]
    | Annotated[Bench, subcommand("bench")]
)


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 where a run failed, 2 where the call was wrong."""
    args = sys.argv[1:] if args is None else args
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)  # a file has no edge to wrap at
    try:
        call = tyro.cli(Command, prog="rectified", args=args, description="Adaptive optimizers that start cold.")
        return call(shlex.join(["rectified", *args]), console)
    except (ValueError, DataNotFoundError) as error:
        print(f"rectified: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"rectified: no room left on the disk: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
