"""The error for an invalid option of a study."""

from typing import Any

from ...messages import shortened, shown


class InvalidOption(ValueError):  # noqa: N818  # a name of the public contract
    """An option has an invalid value.

    The message depends on where the option came from: the command line names a flag, a study's file names a line, and
    Python names a keyword.

    Attributes:
        name: the option's name as a Python keyword, such as ``"batch_sizes"``.
        value: the value that was given.
        why: what is wrong, with the allowed range or a fix.

    >>> print(InvalidOption("epochs", 0, "it must be at least 1"))
    epochs is 0: it must be at least 1
    """

    def __init__(self, name: str, value: Any, why: str) -> None:
        super().__init__(name, value, why)
        self.name, self.value, self.why = name, value, why

    def __str__(self) -> str:
        return self.text(self.name)

    def text(self, label: str) -> str:
        """The message with another name for the option, such as ``"--batch-sizes"``; long values are shortened."""
        value = shortened(self.value) if isinstance(self.value, str) else shown(self.value)
        return f"{label} is {value}: {self.why}"


def check_count(name: str, value: Any) -> None:
    """Check that an option is a whole number of at least 1.

    Raises:
        InvalidOption: it is not a whole number, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOption(name, value, "it must be a whole number, at least 1")
