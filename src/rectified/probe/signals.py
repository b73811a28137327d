r"""The signals of one step, computed from sums over each parameter tensor.

With the step theta_t = theta_(t-1) - a d_t - decay theta_(t-1), where a = lr omega:

    size, angle       |u| / |theta| and the angle between theta_(t-1) and theta_t
    gain_left         <g_(t+1), d_t> / <g_t, d_t>: how much of a step's gain per length is left after it
    snr               |m_hat|^2 / |v_hat|_1
    spread            standard deviation of log(1 / sqrt(v_hat)) over the elements of a tensor
    surprise          max g_t^2 / v_hat_(t-1)
    gain_ratio        (L(theta_t) - L(theta_(t-1))) / <g_t, u_t> on the same batch: 1 - lr / lr_edge on a quadratic

The sums of several tensors are added, so that the same functions give a tensor's, a group's and the model's signals.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class StepSums:
    """Sums over the elements of one or several tensors, and what all of their elements share.

    Attributes:
        elements: the number of elements.
        a: lr * omega, the factor of d.
        decay: lr * weight_decay if that is decoupled, else 0.
        theta2: |theta_t|^2.
        d2, theta_d, g_d, g2: |d_t|^2, <theta_t, d_t>, <g_t, d_t>, |g_t|^2.
        m2, v1: |m_hat|^2, |v_hat|_1.
        logs, log_v, log_v2: the number of elements with v > 0, and the sums of log v_hat and its square over them.
        next_g_d: <g_(t+1), d_t>; NaN until the next step.
        surprise: max g_t^2 / v_hat_(t-1); NaN in the first step.
    """

    elements: float
    a: float
    decay: float
    theta2: float
    d2: float
    theta_d: float
    g_d: float
    g2: float
    m2: float
    v1: float
    logs: float
    log_v: float
    log_v2: float
    next_g_d: float = math.nan
    surprise: float = math.nan

    @classmethod
    def total(cls, several: Sequence["StepSums"]) -> "StepSums":
        """The sums over several tensors, with a and decay weighted by their number of elements."""
        count = sum(s.elements for s in several)
        summed: dict[str, Any] = {f.name: _sum([getattr(s, f.name) for s in several]) for f in fields(cls)}
        for name in ("a", "decay"):
            summed[name] = _sum([s.elements * getattr(s, name) for s in several]) / count
        known = [s.surprise for s in several if not math.isnan(s.surprise)]
        return cls(**{**summed, "surprise": max(known, default=math.nan)})


@dataclass(frozen=True)
class Signals:
    """The signals of one step of a tensor, a group or a model; NaN where something is unknown.

    Attributes:
        step: t, from 1.
        lr: lr * omega.
        loss: the loss of the step's batch, before the step.
        update_rms: root mean square of d, 1 for signs.
        size: ``|u| / |theta|``.
        angle: between the weights before and after the step, in radians.
        angle_ratio: angle over the equilibrium angle of AdamW; NaN without decoupled decay.
        gain_left: ``<g_(t+1), d_t> / <g_t, d_t>``. 1: the step was far too short, 0: it ended at the minimum along its
            direction, below 0: it went beyond. d_t contains g_t, so noise makes it smaller.
        snr: ``|m_hat|^2 / |v_hat|_1``.
        spread: standard deviation of log(1 / sqrt(v_hat)) over elements.
        surprise: ``max g_t^2 / v_hat_(t-1)``.
        grad_norm: ``|g_t|``.
        gain_ratio: see the module; NaN unless a second loss was given.

    >>> sums = StepSums(elements=2, a=0.1, decay=0, theta2=2, d2=2, theta_d=0, g_d=2, g2=2, m2=2, v1=2,
    ...                 logs=2, log_v=0, log_v2=0, next_g_d=1)
    >>> s = signals(sums, step=1, loss=2.3)
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
        groups: those of each parameter group, by index.
        tensors: those of each parameter tensor, by name.
        best_loss: the smallest loss before this step.
    """

    model: Signals
    groups: dict[int, Signals]
    tensors: dict[str, Signals]
    best_loss: float

    @property
    def step(self) -> int:
        return self.model.step


def signals(
    s: StepSums, step: int, loss: float = math.nan, loss_after: float = math.nan, beta1: float = 0.9
) -> Signals:
    """The signals of a step from its sums.

    Args:
        loss: of the step's batch, before the step.
        loss_after: of the same batch, after the step.
        beta1: for the equilibrium angle.
    """
    radius = math.sqrt(max(s.theta2, 0.0))
    along = s.theta_d / radius if radius else 0.0
    across = math.sqrt(max(s.d2 - along * along, 0.0))  # a float's ** raises where * gives infinity
    angle = math.atan2(s.a * across, radius + s.a * along) if radius else math.nan
    # u = -a d - decay theta_(t-1), and theta_(t-1) = (theta_t + a d) / (1 - decay)
    shrink = s.decay / (1 - s.decay) if s.decay < 1 else math.inf
    da, theta = s.a * (1 + shrink), shrink
    u2 = da * da * s.d2 + 2 * da * theta * s.theta_d + theta * theta * s.theta2
    equilibrium = equilibrium_angle(s.decay, beta1)
    slope = -s.a * s.g_d
    mean = _over(s.log_v, s.logs)
    variance = _over(s.log_v2, s.logs) - mean * mean
    return Signals(
        step=step,
        lr=s.a,
        loss=loss,
        update_rms=math.sqrt(_over(s.d2, s.elements)),
        size=_over(math.sqrt(max(u2, 0.0)), radius),
        angle=angle,
        angle_ratio=_over(angle, equilibrium),
        gain_left=_over(s.next_g_d, s.g_d),
        snr=_over(s.m2, s.v1),
        spread=math.sqrt(max(variance, 0.0)) / 2 if not math.isnan(variance) else math.nan,
        surprise=s.surprise,
        grad_norm=math.sqrt(s.g2),
        gain_ratio=_over(loss_after - loss, slope),
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


def _over(a: float, b: float) -> float:
    return a / b if b else math.nan


def _sum(values: Sequence[float]) -> float:
    """The sum, also of infinities of both signs, which math.fsum refuses and a diverged run has."""
    return math.fsum(values) if all(map(math.isfinite, values)) else sum(values)
