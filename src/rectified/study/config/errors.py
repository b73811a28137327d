"""The one way in which an option of a study is refused."""

from typing import Any

from ...messages import shortened, shown


class InvalidOption(ValueError):  # noqa: N818  # a name of the public contract
    """An option has a value that it cannot have.

    It is raised where the value is known, and written down where the option came from: as a flag by the command line,
    as a line by a study's file, as a keyword by Python.

    Attributes:
        name: the option's, as a keyword of Python, such as ``"batch_sizes"``.
        value: as it was given.
        why: what is wrong with it, with the allowed range or the way out.

    >>> print(InvalidOption("epochs", 0, "it must be at least 1"))
    epochs is 0: it must be at least 1
    """

    def __init__(self, name: str, value: Any, why: str) -> None:
        super().__init__(name, value, why)
        self.name, self.value, self.why = name, value, why

    def __str__(self) -> str:
        return self.text(self.name)

    def text(self, label: str) -> str:
        """The message, with the option called by another name, such as ``"--batch-sizes"``; long values shortened."""
        value = shortened(self.value) if isinstance(self.value, str) else shown(self.value)
        return f"{label} is {value}: {self.why}"


def check_count(name: str, value: Any) -> None:
    """Refuse what is no number of things, of which there is at least one.

    Raises:
        InvalidOption: it is no whole number, or below 1.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise InvalidOption(name, value, "it must be a whole number, at least 1")
