r"""The signals of one step, computed from sums over each parameter tensor.

With the step u_t = theta_t - theta_(t-1) = -a d_t - decay theta_(t-1), where a = lr omega:

    size, angle       |u| / |theta| and the angle between theta_(t-1) and theta_t
    gain_left         <g_(t+1), u_t> / <g_t, u_t>: how much of a step's gain per length is left after it
    snr               |m_hat|^2 / |v_hat|_1
    spread            standard deviation of log(1 / sqrt(v_hat)) over the elements of a tensor
    surprise          max g_t^2 / v_hat_(t-1)
    gain_ratio        (L(theta_t) - L(theta_(t-1))) / <g_t, u_t> on the same batch: 1 - lr / lr_edge on a quadratic

The same function gives a tensor's, a group's and the model's signals; tensors may differ in lr and in decay.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property


@dataclass(frozen=True)
class StepSums:
    """Sums over the elements of one tensor, and what all of its elements share.

    Attributes:
        elements: the number of elements.
        a: lr * omega, the factor of d.
        decay: lr * weight_decay if that is decoupled, else 0.
        theta2: ``|theta_t|^2``.
        d2, theta_d: ``|d_t|^2``, ``<theta_t, d_t>``.
        g2: ``|g_t|^2``, of the gradient that the step used.
        g_d, g_theta: ``<g_t, d_t>``, ``<g_t, theta_t>``, of the gradient before it was clipped.
        m2, v1: ``|m_hat|^2``, ``|v_hat|_1``.
        logs, log_v, log_v2: the number of elements with v > 0, and the sums of log v_hat and its square over them.
        next_g_d, next_g_theta: ``<g_(t+1), d_t>``, ``<g_(t+1), theta_t>``; NaN until the next step.
        surprise: ``max g_t^2 / v_hat_(t-1)``; NaN in the first step.
    """

    elements: float
    a: float
    decay: float
    theta2: float
    d2: float
    theta_d: float
    g2: float
    g_d: float
    g_theta: float
    m2: float
    v1: float
    logs: float
    log_v: float
    log_v2: float
    next_g_d: float = math.nan
    next_g_theta: float = math.nan
    surprise: float = math.nan

    @property
    def shrink(self) -> float:
        """u_t = -shrink theta_t - (1 + shrink) a d_t."""
        return self.decay / (1 - self.decay) if self.decay < 1 else math.inf

    def along_step(self, with_d: float, with_theta: float) -> float:
        """<x, u_t> of a vector, given <x, d_t> and <x, theta_t>."""
        return -_times(self.a * (1 + self.shrink), with_d) - _times(self.shrink, with_theta)


@dataclass(frozen=True)
class Signals:
    """The signals of one step of a tensor, a group or a model; NaN where something is unknown.

    Attributes:
        step: t, from 1.
        lr: lr * omega; the largest of several groups.
        loss: the loss of the step's batch, before the step.
        update_rms: root mean square of d, 1 for signs.
        size: ``|u| / |theta|``.
        angle: between the weights before and after the step, in radians.
        angle_ratio: angle over the equilibrium angle of AdamW; NaN without decoupled decay.
        gain_left: ``<g_(t+1), u_t> / <g_t, u_t>``. 1: the step was far too short, 0: it ended at the minimum along its
            direction, below 0: it went beyond. u_t contains g_t, so noise makes it smaller.
        snr: ``|m_hat|^2 / |v_hat|_1``.
        spread: standard deviation of log(1 / sqrt(v_hat)) over elements.
        surprise: ``max g_t^2 / v_hat_(t-1)``.
        grad_norm: ``|g_t|``, as the step used it.
        gain_ratio: see the module; NaN unless a second loss was given that differs from the first.

    >>> sums = StepSums(elements=2, a=0.1, decay=0, theta2=2, d2=2, theta_d=0, g2=2, g_d=2, g_theta=0, m2=2, v1=2,
    ...                 logs=2, log_v=0, log_v2=0, next_g_d=1)
    >>> s = signals([sums], step=1, loss=2.3)
    >>> s.update_rms, round(s.size, 6), round(s.angle, 6), s.gain_left, s.snr, s.spread
    (1.0, 0.1, 0.099669, 0.5, 1.0, 0.0)
    """

    step: int
    lr: float
    loss: float
    update_rms: float
    size: float
    angle: float
    angle_ratio: float
    gain_left: float
    snr: float
    spread: float
    surprise: float
    grad_norm: float
    gain_ratio: float


@dataclass(frozen=True)
class Observation:
    """One observed step.

    Attributes:
        model: the signals of all watched parameters together.
        best_loss: the smallest loss before this step.
        sums: the group and the sums of each parameter tensor, by name.
        beta1: for the equilibrium angle.
    """

    model: Signals
    best_loss: float = math.nan
    sums: Mapping[str, tuple[int, StepSums]] = field(default_factory=dict, repr=False)
    beta1: float = 0.9

    @property
    def step(self) -> int:
        return self.model.step

    @cached_property
    def groups(self) -> dict[int, Signals]:
        """The signals of each parameter group, by index."""
        members: dict[int, list[StepSums]] = {}
        for group, s in self.sums.values():
            members.setdefault(group, []).append(s)
        return {group: signals(several, self.step, beta1=self.beta1) for group, several in members.items()}

    @cached_property
    def tensors(self) -> dict[str, Signals]:
        """The signals of each parameter tensor, by name."""
        return {name: signals([s], self.step, beta1=self.beta1) for name, (_, s) in self.sums.items()}


def signals(
    several: Sequence[StepSums], step: int, loss: float = math.nan, loss_after: float = math.nan, beta1: float = 0.9
) -> Signals:
    """The signals of a step from the sums of one tensor or several.

    Args:
        loss: of the step's batch, before the step.
        loss_after: of the same batch, after the step.
        beta1: for the equilibrium angle.
    """
    elements = _sum(s.elements for s in several)
    theta2 = _sum(s.theta2 for s in several)
    radius = math.sqrt(max(theta2, 0.0))
    # u = w - shrink theta with one shrink for all: what decay takes from every tensor alike does not turn the weights,
    # and is left out of the angle before rounding matters.
    shrink = _over(_sum(_times(s.shrink, s.theta2) for s in several), theta2, 0.0)
    w2, theta_w = 0.0, 0.0
    for s in several:
        more, along_d = s.shrink - shrink, s.a * (1 + s.shrink)
        w2 += _times(more * more, s.theta2) + 2 * _times(more * along_d, s.theta_d) + _times(along_d * along_d, s.d2)
        theta_w -= _times(more, s.theta2) + _times(along_d, s.theta_d)
    along = _over(theta_w, radius, 0.0)
    across = math.sqrt(max(w2 - along * along, 0.0))  # a float's ** raises where * gives infinity
    along -= shrink * radius
    angle = math.atan2(across, radius - along) if radius else math.nan
    slope = _sum(s.along_step(s.g_d, s.g_theta) for s in several)
    next_slope = _sum(s.along_step(s.next_g_d, s.next_g_theta) for s in several)
    decay = _over(_sum(s.elements * s.decay for s in several), elements)
    logs = _sum(s.logs for s in several)
    mean = _over(_sum(s.log_v for s in several), logs)
    variance = _over(_sum(s.log_v2 for s in several), logs) - mean * mean
    return Signals(
        step=step,
        lr=max(s.a for s in several),
        loss=loss,
        update_rms=math.sqrt(max(_over(_sum(s.d2 for s in several), elements), 0.0)),
        size=_over(math.hypot(across, along), radius),
        angle=angle,
        angle_ratio=_over(angle, equilibrium_angle(decay, beta1)),
        gain_left=_over(next_slope, slope),
        snr=_over(_sum(s.m2 for s in several), _sum(s.v1 for s in several)),
        spread=math.sqrt(max(variance, 0.0)) / 2 if not math.isnan(variance) else math.nan,
        surprise=max((s.surprise for s in several if not math.isnan(s.surprise)), default=math.nan),
        grad_norm=math.sqrt(_sum(s.g2 for s in several)),
        gain_ratio=_over(loss_after - loss, slope) if loss_after != loss else math.nan,  # equal: below rounding
    )


def equilibrium_angle(decay: float, beta1: float) -> float:
    r"""The angle per step at which AdamW's updates and its decay balance.

    .. math:: \eta_r = \sqrt{2 \gamma \lambda \frac{1 - \beta_1}{1 + \beta_1}}

    Args:
        decay: lr * weight_decay.

    >>> round(equilibrium_angle(1e-3 * 0.1, beta1=0.9), 6)
    0.003244

    Reference: arXiv:2305.17212.
    """
    return math.sqrt(2 * decay * (1 - beta1) / (1 + beta1))


def _over(a: float, b: float, otherwise: float = math.nan) -> float:
    return a / b if b else otherwise


def _times(a: float, b: float) -> float:
    """A product in which a factor of 0 is 0, also times a sum that is not known or not finite."""
    return a * b if a else 0.0


def _sum(values: Iterable[float]) -> float:
    """The sum, also of infinities of both signs, which math.fsum refuses and a diverged run has."""
    several = list(values)
    return math.fsum(several) if all(map(math.isfinite, several)) else sum(several)
