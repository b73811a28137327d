"""A warmup that follows a formula for as long as the run allows it."""

import math
from dataclasses import dataclass

from .formulas import Linear, number
from .interface import Feedback

_EVERY = 2  # steps to an observation, which costs about as much as a step of Adam
_EMA = 0.5  # decay rate of the averages of both slopes per observation: about three steps
_RATE = 0.15  # by which log omega falls per unit of the slope ratio below its threshold
_FALL = 0.5  # the most by which log omega falls in a step
_GUARDED = 2  # times `steps` is how long it may fall: longer, it would hold a run that lives at its edge down for good


@dataclass(frozen=True)
class GuardedLinear(Linear):
    r"""Linear warmup that falls back while its steps overshoot: ``Linear(steps)`` in a run where none does.

    After each step the slope of the loss along it is compared with the slope before. The ratio c is 1 for a step that
    is far too short, 0 for one that ends at the minimum along its line, -1 for one at the edge of stability, which
    undoes itself:

    .. math::
        c_t &= \frac{\mathrm{EMA}(\langle g_{t+1}, d_t \rangle)}{\mathrm{EMA}(\langle \hat m_t, d_t \rangle)},
            \qquad d_t = \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon} \\
        \omega_{t+1} &= \begin{cases}
            \min(1, \omega_t + 1 / T_w) & c_t \ge c_* \\
            \omega_t\, e^{\max(-0.5,\ 0.15 (c_t - c_*))} & c_t < c_*
        \end{cases}

    from omega_1 = 1 / T_w until omega is 1, where it stays. c is observed before every second step, and decides the
    next one too; the averages decay by 0.5 an observation. After 2 T_w steps nothing is observed and omega rises, so
    that the warmup ends after 3 T_w steps at the latest.

    It costs a pass over gradients and moments, and one read of two numbers from the device, at every second step until
    omega is 1, and nothing after that. Gradients are taken as the step sees them: clipped, if they are. It works in
    Adam, AdamW, and other optimizers with Adam's moments through :func:`rectified.rectify`. ``omega(t, beta2)``, with
    which ``effective_period`` and ``check`` compute, is that of ``Linear(steps)``, the largest that it can be.

    Args:
        steps: T_w, at least 1: the length if no step overshoots.
        threshold: c_*, from -1 to 1.

    Raises:
        TypeError: steps or threshold is not a number.
        ValueError: it is out of range.

    >>> import torch, rectified
    >>> p = torch.nn.Parameter(torch.ones(1))
    >>> optimizer = rectified.Adam([p], lr=1.0, warmup=GuardedLinear(10))
    >>> for step in range(8):
    ...     p.grad = p.data.clone()  # of p^2 / 2
    ...     optimizer.step()
    >>> round(optimizer.param_groups[0]["omega"], 2), round(optimizer.param_groups[0]["warmup"].omega(8, 0.999), 2)
    (0.69, 0.8)

    Reference: this package, docs/mathematics.md; the ratio is that of Wolfe's curvature condition.
    """

    threshold: float = -0.15
    observes = ("slopes",)

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "threshold", number("threshold", self.threshold, "GuardedLinear(500, threshold=-0.2)"))
        if not -1 <= self.threshold <= 1:
            raise ValueError(f"threshold is {self.threshold!r}; it must be from -1 (the edge) to 1 (no progress)")

    def observes_at(self, t: int) -> bool:
        """At every second step, for as long as omega may fall."""
        return t % _EVERY == 0 and t <= _GUARDED * self.steps

    def observe(self, memory: tuple[float, ...], feedback: Feedback) -> tuple[float, ...]:
        """omega and the two averages."""
        if not memory:
            return 1 / self.steps, 0.0, 0.0
        omega, before, after = memory
        if self.observes_at(feedback.t):
            if feedback.slope_after is None or not feedback.slope_before:  # no step was taken that could show anything
                return memory
            if not math.isfinite(feedback.slope_before + feedback.slope_after):  # it would stay in the averages
                return omega * math.exp(-_FALL), before, after
            before = _EMA * before + (1 - _EMA) * feedback.slope_before
            after = _EMA * after + (1 - _EMA) * feedback.slope_after
        rises = feedback.t > _GUARDED * self.steps
        if not before and not rises:  # nothing was observed so far
            return memory
        ratio = 1.0 if rises else after / before
        if ratio >= self.threshold:
            omega = min(1.0, self._grown(omega))
        else:
            omega *= math.exp(max(-_FALL, _RATE * (ratio - self.threshold)))
        return omega, before, after

    def _grown(self, omega: float) -> float:
        """omega + 1 / steps; the very numbers of Linear, for as long as omega is one of them."""
        taken = round(omega * self.steps)
        return (taken + 1) / self.steps if abs(omega * self.steps - taken) < 1e-6 else omega + 1 / self.steps
