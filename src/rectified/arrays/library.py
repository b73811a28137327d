"""What the formulas need of an array library."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Arrays(NamedTuple):
    """The functions of an array library, with the meanings that they have in numpy.

    Attributes:
        floats: converts to an array of the library's default float dtype, or of float32 if that has 16 bits.
        cast: converts to an array of this dtype.
        lookup: the elements of a numpy array of floats at these places, which are clipped into it.
    """

    floats: Callable[[Any], Any]
    cast: Callable[[Any, Any], Any]
    lookup: Callable[[Any, Any], Any]
    where: Callable[[Any, Any, Any], Any]
    minimum: Callable[[Any, Any], Any]
    maximum: Callable[[Any, Any], Any]
    sqrt: Callable[[Any], Any]
    expm1: Callable[[Any], Any]
    log1p: Callable[[Any], Any]

    @classmethod
    def of(cls, library: Any, **own: Callable[..., Any]) -> "Arrays":
        """The functions of a module that calls most of them as numpy does; `own` are the others."""
        return cls(**own, **{name: getattr(library, name) for name in cls._fields if name not in own})
