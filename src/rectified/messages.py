"""Showing a user's values and errors in messages: on one line, printable, and shortened if they are long."""

from typing import Any

LONGEST = 60  # characters of a value in a message
_LONGEST_TEXT = 240  # characters of an error's own text


def shortened(text: str, longest: int = LONGEST) -> str:
    """The text on one line in printable characters, with its middle replaced by dots if it is long.

    >>> shortened("adam(eps=" + 5000 * "-" + "1)", 20)
    'adam(eps ... -----1)'
    """
    return _cut(text if text.isprintable() else repr(text)[1:-1], longest)


def shown(value: Any, longest: int = LONGEST) -> str:
    """The value's repr on one line in printable characters, shortened; its type if repr fails.

    >>> shown("a\\nb"), shown(10**9999)
    ("'a\\\\nb'", 'an int of 33216 bits')
    """
    if isinstance(value, int) and value.bit_length() > 1000:  # Python may refuse to convert it to digits
        return f"an int of {value.bit_length()} bits"
    try:
        text = repr(value)
    except Exception:  # a user's own __repr__
        return f"a {type(value).__name__}"
    return _cut(text if text.isprintable() else repr(text)[1:-1], longest)


def printable(text: str, keep: str = "") -> str:
    """The text with its control characters, which a terminal would obey, replaced.

    Args:
        keep: control characters to keep.

    >>> printable("a\x1b[31m").encode("ascii", "replace")
    b'a?[31m'
    """
    return "".join(x if x.isprintable() or x in keep else "\N{REPLACEMENT CHARACTER}" for x in text)


def _cut(text: str, longest: int) -> str:
    end = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[: longest - 5 - end]} ... {text[-end:]}"


def text_of(error: BaseException) -> str:
    """An error's message on one line, shortened; the name of its type if the message is empty.

    >>> text_of(ValueError("first,\\n  second")), text_of(KeyError())
    ('first, second', 'KeyError')
    """
    try:
        said = " ".join(str(error).split())
    except BaseException as another:  # a user's own __str__
        if isinstance(another, KeyboardInterrupt):
            raise
        said = f"its text cannot be shown: {type(another).__name__}"
    return shortened(said, _LONGEST_TEXT) or type(error).__name__
