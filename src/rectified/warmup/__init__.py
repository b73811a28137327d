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

from .formulas import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear
from .guarded import GuardedLinear
from .interface import Feedback, Observable, Start, Warmup
from .period import effective_period, steps_until

__all__ = [
    "Constant",
    "Feedback",
    "GuardedLinear",
    "Linear",
    "Observable",
    "Rectified",
    "SecondMomentOnly",
    "Start",
    "UntunedExponential",
    "UntunedLinear",
    "Warmup",
    "effective_period",
    "steps_until",
]
