"""The warmups: one equation omega(t; beta2) each, in front of Adam's update.

    theta <- theta - lr * omega(t; beta2) * m_hat / (sqrt(v_hat) + eps)

A warmup of your own is a subclass of :class:`Warmup`, or any object with ``omega(t, beta2) -> float`` in [0, 1], for
t = 1, 2, ..., which may fall again.

With ``capturable`` omega is asked for beforehand: at each t up to 65,536, then at 1,024 of every doubling of t, between
which it is interpolated, up to 16.8 million, where it must have settled. It has to be a function of t and beta2 alone.

>>> from rectified.theory import rectification
>>> Rectified().omega(6, beta2=0.999) == rectification(6, 0.999)
True
"""

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from numbers import Real
from typing import Any, Literal, get_args

from .theory.checks import check_beta2
from .theory.rectification_term import VARIANCES, Variance, rectification_at
from .theory.sma import rho, rho_inf

__all__ = [
    "Constant",
    "Linear",
    "Rectified",
    "SecondMomentOnly",
    "Start",
    "UntunedExponential",
    "UntunedLinear",
    "Warmup",
    "effective_period",
    "steps_until",
]

#: What a step does while omega is 0, ``"momentum"`` (theta <- theta - lr * m_hat) or ``"hold"`` (theta stands still).
Start = Literal["momentum", "hold"]


class Warmup:
    """A factor omega(t; beta2) in [0, 1] in front of step t's update; a subclass defines :meth:`omega`.

    Attributes:
        start: what a step does while omega is 0. ``"hold"``: m and v move, the parameters stand still; ``"momentum"``:
            theta <- theta - lr * m_hat.
        m_delay: number of first steps in which only v moves; m's bias correction counts from their end.

    >>> class Cosine(Warmup):
    ...     def omega(self, t, beta2):
    ...         return 0.5 - 0.5 * math.cos(math.pi * min(t / 100, 1))
    >>> round(Cosine().omega(50, beta2=0.999), 3), Cosine().start, round(effective_period(Cosine(), beta2=0.999), 3)
    (0.5, 'hold', 49.5)
    """

    start: Start = "hold"
    m_delay: int = 0

    def omega(self, t: int, beta2: float) -> float:
        """The factor omega of step t = 1, 2, ..."""
        raise NotImplementedError(f"{type(self).__name__} is a Warmup without omega(t, beta2): define it")

    def check(self, beta2: float) -> None:
        """Raise ValueError for a beta2 at which this warmup cannot work; called when an optimizer is created."""

    def period(self, beta2: float) -> float | None:
        """The effective warmup period in closed form; None if there is none (see :func:`effective_period`)."""
        return None


class _Adapted(Warmup):
    """Adapts a user's object with an omega to a :class:`Warmup`, with defaults for what it lacks."""

    def __init__(self, own: Any) -> None:
        self.own = own
        self.omega = own.omega  # type: ignore[method-assign]
        for name in ("start", "m_delay", "check", "period"):
            if hasattr(own, name):
                setattr(self, name, getattr(own, name))

    def __repr__(self) -> str:
        return repr(self.own)


def as_warmup(given: Any) -> Warmup:
    """Convert what an optimizer was given to a :class:`Warmup`: a warmup, or any object with an omega.

    Raises:
        TypeError: it has no ``omega(t, beta2)``, or is a class instead of an object.
        ValueError: its ``start`` is unknown.

    >>> as_warmup("linear")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    TypeError: warmup is 'linear'; it must be a rectified.warmup.Warmup, such as Linear(500) ...
    """
    if isinstance(given, type) or not (isinstance(given, Warmup) or callable(getattr(given, "omega", None))):
        raise TypeError(
            f"warmup is {given!r}; it must be a rectified.warmup.Warmup, such as Linear(500) or Rectified(), or an "
            "object of your own with omega(t, beta2)"
        )
    warmup = given if isinstance(given, Warmup) else _Adapted(given)
    if warmup.start not in get_args(Start):
        raise ValueError(f"warmup.start is {warmup.start!r}; it must be 'momentum' or 'hold'")
    return warmup


@dataclass(frozen=True)
class Constant(Warmup):
    r"""No warmup: plain Adam.

    .. math:: \omega_t = 1

    >>> Constant().omega(1, beta2=0.999)
    1.0

    Reference: arXiv:1412.6980, Algorithm 1.
    """

    def omega(self, t: int, beta2: float) -> float:
        return 1.0

    def period(self, beta2: float) -> float:
        return 0.0


@dataclass(frozen=True)
class Rectified(Warmup):
    r"""RAdam's rectification: omega = r_t once rho_t > threshold, 0 before.

    .. math:: r_t = \sqrt{\mathrm{Var}[\psi]|_{\rho_\infty} / \mathrm{Var}[\psi]|_{\rho_t}}

    Args:
        variance: of psi. ``"first-order"``, the paper's approximation; ``"exact"``, its closed form; ``"ema"``, that of
            Adam's own average, with no chi-square law fitted to it.
        threshold: the rho_t that must be exceeded. ``None`` means 5 (torch.optim) for ``"first-order"`` and 2, where
            the variance becomes finite, for the others. The paper's Algorithm 2 is threshold 4.
        start: ``"momentum"`` (the paper, torch.optim) or ``"hold"`` (the authors' code).

    Raises:
        TypeError: the threshold is not a number.
        ValueError: an unknown variance or start, or a threshold below what the variance allows (4, or 2); from
            ``omega``, a beta2 at which rho_t never exceeds the threshold.

    >>> [round(Rectified().omega(t, 0.999), 4) for t in (5, 6, 100)]
    [0.0, 0.0258, 0.2153]
    >>> [round(Rectified("exact").omega(t, 0.999), 4) for t in (2, 3, 6)]
    [0.0, 0.0151, 0.0378]

    Reference: arXiv:1908.03265, Algorithm 2.
    """

    variance: Variance = "first-order"
    threshold: float | None = None
    start: Start = "momentum"

    def __post_init__(self) -> None:
        if self.variance not in VARIANCES:
            raise ValueError(f"variance is {self.variance!r}; it must be one of {', '.join(map(repr, VARIANCES))}")
        if self.start not in get_args(Start):
            raise ValueError(f"start is {self.start!r}; it must be 'momentum' or 'hold'")
        least = 5.0 if self.variance == "first-order" else 2.0
        threshold = (
            least if self.threshold is None else float(_number("threshold", self.threshold, "Rectified(threshold=4)"))
        )
        object.__setattr__(self, "threshold", threshold)
        least = VARIANCES[self.variance]
        if not least <= self.rho_min < math.inf:
            raise ValueError(
                f"threshold is {self.threshold!r}; variance={self.variance!r} needs a finite one of at least "
                f"{least:g}, where that variance becomes finite"
            )

    @property
    def rho_min(self) -> float:
        assert self.threshold is not None, "__post_init__ has replaced it"
        return self.threshold

    def check(self, beta2: float) -> None:
        """Raise for a beta2 at which this warmup would never leave its start."""
        end = rho_inf(beta2)
        if end <= self.rho_min:
            least = (self.rho_min - 1) / (self.rho_min + 1)
            raise ValueError(
                f"beta2 is {beta2!r}, at which rho_t stays below {end:.4g} and never exceeds the threshold "
                f"{self.rho_min:g}: the optimizer would never leave its start. Use a beta2 above {least:.4g}"
                + (", or variance='exact'" if self.variance == "first-order" and end > VARIANCES["exact"] else "")
                + ", or a warmup that does not rectify, such as UntunedLinear()"
            )

    def omega(self, t: int, beta2: float) -> float:
        length, least = rho(t, beta2), self.threshold
        assert least is not None, "__post_init__ has replaced it"
        if length > least:
            return rectification_at(length, t, beta2, self.variance)
        self.check(beta2)
        return 0.0


@dataclass(frozen=True)
class UntunedLinear(Warmup):
    r"""Linear warmup over 2 / (1 - beta2) steps, nothing to tune.

    .. math:: \omega_t = \min(1, (1 - \beta_2) t / 2)

    >>> round(UntunedLinear().omega(500, beta2=0.999), 3)
    0.25

    Reference: arXiv:1910.04209, section 5.
    """

    def omega(self, t: int, beta2: float) -> float:
        return min(1.0, (1 - beta2) * t / 2)

    def period(self, beta2: float) -> float:
        return _ramp(2 / (1 - beta2))


@dataclass(frozen=True)
class UntunedExponential(Warmup):
    r"""Exponential warmup with the time constant of v, nothing to tune.

    .. math:: \omega_t = 1 - e^{-(1 - \beta_2) t}

    >>> round(UntunedExponential().omega(1000, beta2=0.999), 3)
    0.632

    Reference: arXiv:1910.04209, section 5.
    """

    def omega(self, t: int, beta2: float) -> float:
        return -math.expm1(-(1 - beta2) * t)

    def period(self, beta2: float) -> float:
        return 1 / math.expm1(1 - beta2)


@dataclass(frozen=True)
class Linear(Warmup):
    r"""Linear ("gradual") warmup over a number of steps that you choose; its first step has lr / steps, not 0.

    .. math:: \omega_t = \min(1, t / T_w)

    Args:
        steps: T_w, at least 1.

    Raises:
        TypeError: steps is not a number.
        ValueError: steps is below 1, or infinite.

    >>> Linear(100).omega(1, beta2=0.999)
    0.01

    Reference: arXiv:1706.02677, section 2.2.
    """

    steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _number("steps", self.steps, "Linear(500)"))
        if not 1 <= self.steps < math.inf:
            raise ValueError(f"steps is {self.steps!r}; Linear needs at least 1")

    def omega(self, t: int, beta2: float) -> float:
        return min(1.0, t / self.steps)

    def period(self, beta2: float) -> float:
        return _ramp(self.steps)


@dataclass(frozen=True)
class SecondMomentOnly(Warmup):
    r"""Adam-2k: in the first steps only v moves; then plain Adam, whose m begins there.

    .. math:: \omega_t = 0 \quad (t \le T), \qquad \omega_t = 1 \quad (t > T)

    Args:
        steps: T, at least 0.

    Raises:
        TypeError: steps is not a number.
        ValueError: steps is below 0, or infinite.

    >>> [SecondMomentOnly(2000).omega(t, beta2=0.999) for t in (2000, 2001)]
    [0.0, 1.0]

    Reference: arXiv:1908.03265, section 3.1.
    """

    steps: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", _number("steps", self.steps, "SecondMomentOnly(2000)"))
        if not 0 <= self.steps < math.inf:
            raise ValueError(f"steps is {self.steps!r}; SecondMomentOnly needs 0 or more")

    @property
    def m_delay(self) -> int:  # type: ignore[override]  # read-only, as this class is
        return self.steps

    def omega(self, t: int, beta2: float) -> float:
        return 0.0 if t <= self.steps else 1.0

    def period(self, beta2: float) -> float:
        return self.steps


def steps_until(warmup: Warmup, beta2: float, level: float = 0.9, after: int = 0) -> int | None:
    """First step t > after at which omega >= level, for an omega that does not decrease; None if not within 1e12.

    >>> steps_until(Linear(1000), beta2=0.999), steps_until(Rectified(), beta2=0.999, level=1e-9)
    (900, 6)
    """
    return first_at(lambda t: warmup.omega(t, beta2), level, after)


def first_at(omega: Callable[[int], float], level: float, after: int = 0) -> int | None:
    """The first step t > after at which omega(t) >= level; None if not within 1e12."""
    low, high = after, after + 1
    while omega(high) < level:
        if high > 10**12:
            return None
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if omega(middle) < level:
            low = middle
        else:
            high = middle
    return high


def effective_period(warmup: Warmup, beta2: float) -> float:
    r"""The effective warmup period: the number of full steps that a warmup costs.

    .. math:: T(\omega) = \sum_{t=1}^\infty (1 - \omega_t)

    In closed form where the warmup has one (its ``period``); else summed, by extrapolation from every 64th, 32nd, ...
    step where omega is smooth.

    Args:
        warmup: any object with ``omega(t, beta2)``.
        beta2: decay rate of the second moment, in [0, 1).

    Returns:
        Steps; infinite where the sum diverges: omega does not reach 1, or approaches it as slowly as 1/t.

    Raises:
        TypeError: the warmup has no ``omega``.
        ValueError: beta2 is outside its range, also the one that the warmup itself allows.

    >>> effective_period(Linear(100), beta2=0.999), effective_period(SecondMomentOnly(2000), beta2=0.999)
    (49.5, 2000.0)
    >>> round(effective_period(UntunedExponential(), beta2=0.999)), round(effective_period(Rectified(), beta2=0.999))
    (1000, 1033)

    Reference: arXiv:1910.04209, section 5.
    """
    check_beta2(beta2)
    warmup = as_warmup(warmup)
    warmup.check(beta2)
    closed = warmup.period(beta2)
    if closed is not None:
        return float(closed)

    def missing(t: int) -> float:
        return 1.0 - warmup.omega(t, beta2)

    # Dyadic blocks: where the sum converges they end in a geometric series, or at 0.
    total, block = 0.0, math.inf
    for exponent in range(60):
        before, block = block, _sum(missing, 2**exponent, 2 ** (exponent + 1))
        total += block
        if exponent > 10 and block <= 1e-13 * total and missing(2 ** (exponent + 2)) <= 1e-13:
            return total
        if exponent > 50 and block > 0.99 * before:
            return math.inf
    ratio = block / before
    return total + block * ratio / (1 - ratio)


def _sum(f: Callable[[int], float], start: int, stop: int) -> float:
    """The sum of f over start <= t < stop, a power of two of steps, from few evaluations where f is smooth.

    Trapezoidal sums of stride s differ from the one of stride 1 by a polynomial in s^2 (Euler and Maclaurin), which
    Neville's scheme takes to s = 1. Where two extrapolations differ there is a kink: halve.
    """
    length = stop - start
    if length <= 128:
        return math.fsum(f(t) for t in range(start, stop))
    finest = length // 64
    values = [f(t) for t in range(start, stop + 1, finest)]
    squares, column = [], []
    for every in (64, 32, 16, 8, 4, 2, 1):
        stride = every * finest
        squares.append(stride * stride)
        column.append(stride * (math.fsum(values[::every]) - (values[0] + values[-1]) / 2))
    for gap in range(1, len(squares)):
        last = column[-1]
        column = [
            ((1 - squares[i]) * column[i + 1] - (1 - squares[i + gap]) * column[i]) / (squares[i + gap] - squares[i])
            for i in range(len(squares) - gap)
        ]
    if abs(column[0] - last) <= 1e-11 * abs(column[0]) + 1e-14 * length:
        return column[0] + (values[0] - values[-1]) / 2
    middle = start + length // 2
    return _sum(f, start, middle) + _sum(f, middle, stop)


def _number(name: str, value: Any, example: str) -> int | float:
    """Convert a number, possibly numpy's, to Python's own, so that checkpoints hold plain values."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be a number, as in {example}")
    x = float(value)
    return int(x) if x.is_integer() else x


def _ramp(length: float) -> float:
    """The sum of 1 - t/length over 1 <= t < length."""
    n = math.ceil(length) - 1
    return n - n * (n + 1) / (2 * length)


KINDS = (Constant, Rectified, UntunedLinear, UntunedExponential, Linear, SecondMomentOnly)
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
