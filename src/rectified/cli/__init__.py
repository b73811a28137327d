"""The command line: a file a command, thin; what it calls is in the rooms."""

import errno
import platform
import shlex
import sys
from typing import Annotated

import torch
import tyro
from rich.console import Console
from tyro.conf import subcommand

from .. import __version__
from ..files import FULL
from ..study.config.errors import InvalidOption
from ..workloads.data import DataNotFoundError
from .bench import Bench
from .folder import Export, Report, Status
from .init import Init
from .paper import Paper
from .study_command import StudyCommand
from .terminal import prepare
from .theory import Theory
from .verdict_command import VerdictCommand

Command = (
    Annotated[StudyCommand, subcommand("study")]
    | Annotated[Init, subcommand("init")]
    | Annotated[Status, subcommand("status")]
    | Annotated[Report, subcommand("report")]
    | Annotated[Export, subcommand("export")]
    | Annotated[VerdictCommand, subcommand("verdict")]
    | Annotated[Paper, subcommand("paper")]
    | Annotated[Theory, subcommand("theory")]
    | Annotated[Bench, subcommand("bench")]
)

_DESCRIPTION = "Adaptive optimizers that start cold. `rectified COMMAND --help` has a command's flags; --version."
_BLOCKED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)


def main(args: list[str] | None = None) -> int:
    """Run a command; returns the exit status: 0, 1 where a run failed, 2 where the call was wrong."""
    args = sys.argv[1:] if args is None else args
    prepare()
    if args in (["--version"], ["-V"]):
        print(f"rectified {__version__}, torch {torch.__version__}, Python {platform.python_version()}")
        return 0
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)  # a file has no edge to wrap at
    try:
        call = tyro.cli(Command, prog="rectified", args=args, description=_DESCRIPTION)
        return call(shlex.join(["rectified", *args]), console)
    except InvalidOption as refused:
        return _refuse(refused.text(_label(refused.name)), 2)
    except (ValueError, DataNotFoundError) as error:
        return _refuse(str(error), 2)
    except OSError as error:
        if error.errno in FULL:
            return _refuse(f"no room left on the disk: {error}", 1)
        if error.errno not in _BLOCKED or error.filename is None:
            raise
        return _refuse(f"{error.filename}: {error.strerror}; name another place, or make this one writable", 2)
    except KeyboardInterrupt:
        return 130


def _refuse(text: str, status: int) -> int:
    print(f"rectified: {text}", file=sys.stderr)
    return status


def _label(name: str) -> str:
    """An option as the command line has it."""
    return "TASK" if name == "tasks" else f"--{name.replace('_', '-')}"
