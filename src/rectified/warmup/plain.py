"""Warmups as plain values, for checkpoints."""

from dataclasses import asdict, fields
from typing import Any

from .formulas import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear
from .guarded import GuardedLinear
from .interface import Warmup

KINDS = (Constant, Rectified, UntunedLinear, UntunedExponential, Linear, SecondMomentOnly, GuardedLinear)
_BY_NAME: dict[str, Any] = {kind.__name__: kind for kind in KINDS}


def to_plain(warmup: Any) -> dict[str, Any] | None:
    """The warmup as plain values for a checkpoint; None if its class is not one of ours.

    >>> to_plain(Linear(100))
    {'name': 'Linear', 'steps': 100}
    """
    name = type(warmup).__name__
    return {"name": name, **asdict(warmup)} if _BY_NAME.get(name) is type(warmup) else None


def from_plain(plain: dict[str, Any]) -> Warmup:
    """Rebuild the warmup that :func:`to_plain` converted.

    Raises:
        ValueError: the name or the fields are not those of a warmup here.

    >>> from_plain({"name": "Linear", "steps": 100})
    Linear(steps=100)
    """
    kind = _BY_NAME.get(plain.get("name", ""))
    values = {key: value for key, value in plain.items() if key != "name"}
    if kind is None or not values.keys() <= {field.name for field in fields(kind)}:
        raise ValueError(f"the saved warmup is {plain!r}; known are {', '.join(_BY_NAME)} with their own fields")
    return kind(**values)  # type: ignore[no-any-return]
