"""Output that survives a terminal with a small character set, a closed pipe and a closed terminal."""

import codecs
import os
import sys
from contextlib import suppress
from typing import Any, TextIO

from ..files import FULL

# Replacements for characters that the terminal cannot show.
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
    """A codecs error handler that replaces what cannot be encoded by plain characters.

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
    """A stream that discards output once its reader is gone, so that a study outlives its pipe or terminal.

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
        """Write text; discard it if nobody reads it."""
        try:
            return self._stream.write(text)
        except (OSError, ValueError) as error:
            self._lost(error)
            return len(text)

    def flush(self) -> None:
        """Flush the stream, unless nobody reads it."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        if isinstance(error, UnicodeError) or (isinstance(error, OSError) and error.errno in FULL):
            raise error
        nowhere = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123  # open until the process ends
        with suppress(OSError, ValueError):
            os.dup2(nowhere.fileno(), self._stream.fileno())  # what Python flushes on exit goes there too
        self._stream = nowhere

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Wrap standard output and error so that no character and no closed pipe makes a write fail."""
    codecs.register_error(_HANDLER, plain)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # it was closed before this process started
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=_HANDLER)
        if not isinstance(stream, Lasting):
            setattr(sys, name, Lasting(stream))
