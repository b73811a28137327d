"""The command line: one thin module per command."""

import errno
import os
import platform
import shlex
import sys
import traceback
from typing import Annotated, get_args

import torch
import tyro
from rich.console import Console
from tyro.conf import subcommand

from .. import __version__
from ..files import FULL
from ..study.config.errors import InvalidOption
from ..workloads.data import DataNotFoundError
from .bench import Bench
from .check_command import CheckCommand
from .folder import Export, Pack, Report, Status
from .init import Init
from .names import check_names
from .paper import Paper
from .probe_command import ProbeCommand
from .study_command import StudyCommand
from .terminal import prepare
from .theory import Theory
from .verdict_command import VerdictCommand

Command = (
    Annotated[CheckCommand, subcommand("check")]
    | Annotated[ProbeCommand, subcommand("probe")]
    | Annotated[StudyCommand, subcommand("study")]
    | Annotated[Init, subcommand("init")]
    | Annotated[Status, subcommand("status")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Export, subcommand("export")]
    | Annotated[Pack, subcommand("pack")]
    | Annotated[VerdictCommand, subcommand("verdict")]
    | Annotated[Paper, subcommand("paper")]
    | Annotated[Theory, subcommand("theory")]
    | Annotated[Bench, subcommand("bench")]
)
COMMANDS: dict[str, type] = {kind.__metadata__[0].name: kind.__origin__ for kind in get_args(Command)}

_DESCRIPTION = (
    "Check a warmup, and compare optimizers, warmups and learning rates with error bars. `rectified COMMAND --help` "
    "lists a command's flags; `rectified --version` prints versions."
)
_BLOCKED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)


def main(args: list[str] | None = None) -> int:
    """Run a command and return its exit status: 0, 1 if a run failed, or 2 if the command line was wrong.

    An error in the command line or in a user's own code is printed on one line. Set RECTIFIED_TRACEBACK=1 in the
    environment to print its traceback first.
    """
    args = sys.argv[1:] if args is None else args
    prepare()
    if args in (["--version"], ["-V"]):
        print(f"rectified {__version__}, torch {torch.__version__}, Python {platform.python_version()}")
        return 0
    # Paths and users' names are not markup, and a file has no width to wrap at.
    console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 120)
    try:
        check_names(COMMANDS, args)
        call = tyro.cli(Command, prog="rectified", args=args, description=_DESCRIPTION)
        return call(shlex.join(["rectified", *args]), console)
    except InvalidOption as refused:
        return _refuse(refused, refused.text(_label(refused.name)), 2)
    except (ValueError, DataNotFoundError) as error:
        return _refuse(error, str(error), 2)
    except OSError as error:
        if error.errno in FULL:
            return _refuse(error, f"no space left on the disk: {error}", 1)
        place = "" if error.filename is None else f"{error.filename}: "
        way = "; choose another location, or make this one writable" if place and error.errno in _BLOCKED else ""
        return _refuse(error, f"{place}{error.strerror or error or type(error).__name__}{way}", 2)
    except KeyboardInterrupt:
        return 130


def _refuse(error: BaseException, text: str, status: int) -> int:
    """Print an error on one line, after its traceback if RECTIFIED_TRACEBACK asks for it; return the status."""
    if os.environ.get("RECTIFIED_TRACEBACK", "0") not in ("", "0"):
        traceback.print_exception(error)
    print(f"rectified: {' '.join(text.split())}", file=sys.stderr)
    return status


def _label(name: str) -> str:
    """An option's name on the command line."""
    return "TASK" if name == "tasks" else f"--{name.replace('_', '-')}"
