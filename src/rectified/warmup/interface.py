"""What a warmup is, and any object with an omega as one."""

from dataclasses import dataclass
from typing import Any, Literal, get_args

#: What a step does while omega is 0, ``"momentum"`` (theta <- theta - lr * m_hat) or ``"hold"`` (theta stands still).
Start = Literal["momentum", "hold"]

#: What a warmup around another optimizer does with the first steps, in which omega is 0: ``"hold"`` takes them with an
#: lr of 0, ``"skip"`` leaves them out, so that it starts with its first positive omega.
OnZero = Literal["hold", "skip"]


#: What a warmup may see of a run: ``"slopes"``, the inner products of a step with the gradients before and after it, or
#: ``"loss"``.
Observable = Literal["slopes", "loss"]


@dataclass(frozen=True)
class Feedback:
    r"""What is known of a run when a step is about to be taken.

    With d_t = m_hat_t / (sqrt(v_hat_t) + eps), the direction of step t, and the gradient g_(t+1) after it:

    Attributes:
        t: the step that is about to be taken, from 1.
        slope_before: <m_hat, d> of step t - 1, in units of the loss per unit of lr: the slope along the step before it
            was taken, from the average of the gradients. None at the first step, if lr was 0, or if the warmup does not
            ask for it at this step.
        slope_after: <g, d>, d of step t - 1 and g the gradient at hand: the slope along the same step after it. Smaller
            than slope_before where the loss is convex, negative where the step went beyond its minimum.
        loss: the loss, if the warmup observes it.

    Both slopes are sums over every parameter whose warmup is not over and asks for them at its step, each group's part
    in proportion to lr * omega.
    """

    t: int
    slope_before: float | None = None
    slope_after: float | None = None
    loss: float | None = None


class Warmup:
    """A factor omega(t; beta2) in [0, 1] in front of step t's update; a subclass defines :meth:`omega`.

    Attributes:
        start: what a step does while omega is 0. ``"hold"``: m and v move, the parameters stand still; ``"momentum"``:
            theta <- theta - lr * m_hat.
        m_delay: number of first steps in which only v moves; m's bias correction counts from their end.
        observes: what omega depends on besides t and beta2, such as ``("slopes",)``; see :meth:`observe`.

    >>> import math
    >>> from rectified.warmup import effective_period
    >>> class Cosine(Warmup):
    ...     def omega(self, t, beta2):
    ...         return 0.5 - 0.5 * math.cos(math.pi * min(t / 100, 1))
    >>> round(Cosine().omega(50, beta2=0.999), 3), Cosine().start, round(effective_period(Cosine(), beta2=0.999), 3)
    (0.5, 'hold', 49.5)
    """

    start: Start = "hold"
    m_delay: int = 0
    observes: tuple[Observable, ...] = ()

    def omega(self, t: int, beta2: float) -> float:
        """The factor omega of step t = 1, 2, ...; of a warmup that observes, the one if nothing is observed."""
        raise NotImplementedError(f"{type(self).__name__} is a Warmup without omega(t, beta2): define it")

    def observe(self, memory: tuple[float, ...], feedback: Feedback) -> tuple[float, ...]:
        """What to remember of the run. Its first number is omega of the step that is about to be taken.

        An optimizer calls it before every step of a warmup that observes, until omega is 1, from when on it stays 1. It
        keeps the numbers in the group, from where they are saved: per step count, since parameters that begin later
        have a warmup of their own.

        Args:
            memory: what the last call returned; empty at step 1.
            feedback: what is known of the run.
        """
        raise NotImplementedError(f"{type(self).__name__} observes {', '.join(self.observes)}: define observe")

    def observes_at(self, t: int) -> bool:
        """Whether it needs the slopes before step t; if not, they are not computed, and ``observe`` gets None."""
        return True

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
        for name in ("start", "m_delay", "observes", "observe", "observes_at", "check", "period"):
            if hasattr(own, name):
                setattr(self, name, getattr(own, name))

    def __repr__(self) -> str:
        return repr(self.own)


def as_warmup(given: Any) -> Warmup:
    """Convert what an optimizer was given to a :class:`Warmup`: a warmup, or any object with an omega.

    Raises:
        TypeError: it has no ``omega(t, beta2)``, or is a class instead of an object.
        ValueError: its ``start`` is unknown, or what it observes.

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
    if warmup.observes:
        _check_observation(given, warmup)
    if warmup.start not in get_args(Start):
        raise ValueError(f"warmup.start is {warmup.start!r}; it must be 'momentum' or 'hold'")
    return warmup


def _check_observation(given: Any, warmup: Warmup) -> None:
    """Raise for a warmup that observes something unknown, or does not say what it makes of it."""
    known = get_args(Observable)
    if not isinstance(warmup.observes, tuple | list) or any(name not in known for name in warmup.observes):
        raise ValueError(
            f"observes of {given!r} is {warmup.observes!r}; it must be a tuple of {' and '.join(map(repr, known))}"
        )
    if not callable(getattr(given, "observe", None)) or getattr(type(given), "observe", None) is Warmup.observe:
        raise TypeError(f"{given!r} observes {', '.join(warmup.observes)}, and has no observe(memory, feedback)")
