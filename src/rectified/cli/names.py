"""Names on the command line: one that does not exist is answered in a line with the nearest that does."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import takewhile
from typing import Any, get_type_hints

from ..messages import shown


def check_names(commands: Mapping[str, type[Any]], args: Sequence[str]) -> None:
    """Raise for a command or a flag that does not exist.

    Args:
        commands: the class of each command, whose fields are its flags.

    Raises:
        ValueError: args name another command, or a flag that their command does not have.
    """
    if not args or args[0].startswith("-"):
        return
    name = args[0]
    if name not in commands:
        raise ValueError(
            f"there is no command {shown(name)}; {_nearest(name, commands)}`rectified --help` lists the commands"
        )
    flags = _flags(commands[name])
    for arg in takewhile("--".__ne__, args[1:]):
        flag = arg.partition("=")[0].replace("_", "-")
        if flag.startswith("--") and flag not in flags:
            raise ValueError(
                f"{name} has no {shown(flag)}; {_nearest(flag, flags)}`rectified {name} --help` lists its flags"
            )


def _flags(command: type[Any]) -> set[str]:
    hints = get_type_hints(command, include_extras=True)
    names = {field.name for field in fields(command)}
    for name in list(names):
        names |= {renamed for x in getattr(hints[name], "__metadata__", ()) if (renamed := getattr(x, "name", None))}
    flags = {f"--{name}".replace("_", "-") for name in names}
    return {"--help", *flags, *(flag.replace("--", "--no-", 1) for flag in flags)}


def _nearest(name: str, names: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, [each for each in names if not each.startswith("--no-")], 1)
    return f"did you mean {near[0]}? " if near else ""
