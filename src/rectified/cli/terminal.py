"""The terminal that a command writes to: one that knows fewer characters, or goes away, ends nothing."""

import codecs
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from ..files import FULL

# What a terminal that cannot show a character gets in its place.
_PLAIN = {
    "·": ".",
    "▸": ">",
    "●": "o",
    "✕": "x",
    "×": "x",
    "±": "+-",
    "−": "-",
    "–": "-",
    "—": "-",
    "µ": "u",
    "…": "...",
    "←": "<-",
    "→": "->",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
}
_HANDLER = "rectified.plain"


def plain(error: UnicodeError) -> tuple[str, int]:
    """An error handler of codecs that writes what cannot be encoded in plain characters.

    >>> codecs.register_error("rectified.plain", plain)
    >>> "● 88.1 ± 0.2, −0.3 ⠋ 人".encode("ascii", "rectified.plain")
    b'o 88.1 +- 0.2, -0.3 * ?'
    """
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_PLAIN.get(letter, _unknown(letter)) for letter in letters), error.end


def _unknown(letter: str) -> str:
    if "\u2800" <= letter <= "\u28ff":  # a spinner's
        return "*"
    return "-" if "\u2500" <= letter <= "\u259f" else "?"  # a line or a bar


class Lasting:
    """A stream that goes on in silence once nobody reads it, so that a study outlives the pipe or terminal it wrote to.

    >>> import io
    >>> stream = io.StringIO()
    >>> lasting = Lasting(stream)
    >>> stream.close()
    >>> lasting.write("nobody reads this")
    17
    >>> lasting.close()
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As any stream's."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._lost(error)
            return len(text)

    def flush(self) -> None:
        """As any stream's."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        if isinstance(error, UnicodeError) or (isinstance(error, OSError) and error.errno in FULL):
            raise error
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # for as long as the process lives
        with suppress(OSError, ValueError):
            os.dup2(nowhere.fileno(), self._stream.fileno())  # what Python flushes at its end goes there too
        self._stream = nowhere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Make standard output and error such that writing to them fails for no character and no closed pipe."""
    codecs.register_error(_HANDLER, plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before this process began
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)
        if not isinstance(stream, Lasting):
            setattr(sys, name, Lasting(stream))
