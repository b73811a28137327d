"""The step counts of a group's parameters in one tensor, so that one addition advances all of them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .._torch import has_values, version_of

Entry = dict[str, Any]  # one parameter's state


class Scalars:
    """A tensor with one number per parameter of a group, on one device; each ``state[name]`` is an element of it.

    One operation changes all numbers, and the state is always up to date. Nothing here keeps those elements alive: they
    are identified by their addresses.

    Args:
        name: the key in a parameter's state.
        first: the initial number of a parameter that has none yet.
    """

    def __init__(self, name: str, first: float, size: int, device: torch.device, dtype: torch.dtype) -> None:
        self.name, self.first = name, first
        with torch.inference_mode(False):  # its tensors have no version
            self.values = torch.full((size,), first, dtype=dtype, device=device)
        self.version = -1

    def adopt(self, entries: Sequence[Entry | None]) -> list[float]:
        """Make every entry's number an element of this tensor, keeping its value; return the values.

        Args:
            entries: the state of each parameter of the group; None for one that is not kept here.

        Raises:
            RuntimeError: a number is invalid; nothing is changed then.
        """
        elements = self.values.unbind()
        # Read all before writing any: a state that was moved to another parameter still holds the old one's element.
        now = self.values.tolist() if has_values(self.values) else [self.first] * len(entries)
        values = [
            self.first if entry is None else x if _same(entry.get(self.name), element) else self._read(entry)
            for entry, element, x in zip(entries, elements, now, strict=True)
        ]
        for i, value in enumerate(values):
            self.refuse(value, f"parameter {i}")
        if values != now:
            _write(self.values, values)
        for entry, element in zip(entries, elements, strict=True):
            if entry is not None and not _same(entry.get(self.name), element):
                entry[self.name] = element
        self.version = version_of(self.values)
        return values

    def _read(self, entry: Entry) -> float:
        return number_in(entry.get(self.name, self.first), self.first)

    def refuse(self, value: float, whose: str) -> None:
        """Raise for an invalid number."""

    def holds(self) -> bool:
        """Whether no other code has written to any ``state[name]``."""
        return version_of(self.values) == self.version


class Clock(Scalars):
    """The step counts of a group's parameters, their ``state["step"]``, and additional numbers per parameter.

    Args:
        scalars: the names and initial values of the additional numbers.
    """

    def __init__(self, size: int, device: torch.device, scalars: Mapping[str, float]) -> None:
        dtype = torch.float64 if torch.get_default_dtype() == torch.float64 else torch.float32  # as torch.optim
        super().__init__("step", 0.0, size, device, dtype)
        self.present = torch.zeros_like(self.values)  # how many times each parameter steps: 0 without a gradient
        self.others = {name: Scalars(name, first, size, device, torch.float64) for name, first in scalars.items()}

    def refuse(self, value: float, whose: str) -> None:
        refuse_count(value, whose)

    def holds(self) -> bool:
        """Whether no other code has written to a count or an additional number."""
        if version_of(self.values) != self.version:
            return False
        return not self.others or all(scalars.holds() for scalars in self.others.values())

    def note_present(self, times: Sequence[int]) -> None:
        """Set how many times each parameter steps."""
        _write(self.present, times)

    def advance(self, go: Tensor | None = None) -> None:
        """Count a step for each parameter with a gradient, unless `go` is 0."""
        self.values.add_(self.present if go is None else self.present * go.to(self.values))
        self.version = version_of(self.values)


def number_in(x: Any, unknown: float = 0.0) -> float:
    """The value of a number or one-element tensor; `unknown` if the tensor has no values.

    >>> number_in(torch.tensor(3.0)), number_in(4), number_in(torch.empty((), device="meta"))
    (3.0, 4.0, 0.0)
    """
    return unknown if isinstance(x, Tensor) and not has_values(x) else float(x)


def refuse_count(count: Any, whose: str = "a parameter", error: type[Exception] = RuntimeError) -> None:
    """Raise for an invalid step count.

    >>> refuse_count(-5.0, "parameter 0")
    Traceback (most recent call last):
    RuntimeError: the step count of parameter 0 is -5.0; it must be a whole number, 0 or more
    """
    if not (isinstance(count, (int, float)) and 0 <= count < math.inf and count == int(count)):
        raise error(f"the step count of {whose} is {count!r}; it must be a whole number, 0 or more")


def _write(x: Tensor, values: Sequence[float]) -> None:
    """Set the values of a tensor in place, since a CUDA graph may refer to it; skipped if it has no values."""
    if has_values(x):
        x.copy_(torch.tensor(values, dtype=x.dtype, device="cpu"))


def _same(step: Any, element: Tensor) -> bool:
    """Whether a state's step count is this element of the clock."""
    return (
        isinstance(step, Tensor)
        and has_values(step)
        and step.data_ptr() == element.data_ptr()
        and step.dtype is element.dtype
        and step.numel() == 1
    )
