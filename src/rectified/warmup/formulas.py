"""Warmups that are a formula in t and beta2; no run changes them."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any, get_args

from ..theory.rectification_term import VARIANCES, Variance, rectification_at
from ..theory.sma import rho, rho_inf
from .interface import Start, Warmup


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
            least if self.threshold is None else float(number("threshold", self.threshold, "Rectified(threshold=4)"))
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
        object.__setattr__(self, "steps", number("steps", self.steps, f"{type(self).__name__}(500)"))
        if not 1 <= self.steps < math.inf:
            raise ValueError(f"steps is {self.steps!r}; {type(self).__name__} needs at least 1")

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
        object.__setattr__(self, "steps", number("steps", self.steps, "SecondMomentOnly(2000)"))
        if not 0 <= self.steps < math.inf:
            raise ValueError(f"steps is {self.steps!r}; SecondMomentOnly needs 0 or more")

    @property
    def m_delay(self) -> int:  # type: ignore[override]  # read-only, as this class is
        return self.steps

    def omega(self, t: int, beta2: float) -> float:
        return 0.0 if t <= self.steps else 1.0

    def period(self, beta2: float) -> float:
        return self.steps


def number(name: str, value: Any, example: str) -> int | float:
    """Convert a number, possibly numpy's, to Python's own, so that checkpoints hold plain values."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} is {value!r}, a {type(value).__name__}; it must be a number, as in {example}")
    x = float(value)
    return int(x) if x.is_integer() else x


def _ramp(length: float) -> float:
    """The sum of 1 - t/length over 1 <= t < length."""
    n = math.ceil(length) - 1
    return n - n * (n + 1) / (2 * length)
