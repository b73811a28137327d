"""A warmup for any optimizer of Keras, as a schedule of its learning rate."""

from typing import Any, get_args

import keras
from keras import ops

from ..arrays.traced_omega import first_steps
from ..warmup.interface import OnZero, as_warmup
from .argument_checks import check_learning_rate
from .arrays import KERAS, is_eager_torch, is_one, omega_in_keras
from .warmup_config import warmup_config, warmup_from_config


@keras.saving.register_keras_serializable("rectified")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    r"""A learning rate with a warmup in front, for any Keras optimizer.

    .. math:: \gamma_t\, \omega(t; \beta_2)

    In :class:`Adam`, :class:`AdamW` and :class:`RAdam` of this package the warmup is an argument of the optimizer
    instead. There it also knows the optimizer's beta2, it does not scale the weight decay, and a ``"momentum"`` start
    is possible.

    Args:
        warmup: the factor omega(t; beta_2), see :mod:`rectified.warmup`.
        learning_rate: gamma; a number, or a schedule, which gets the same step and is multiplied by omega.
        beta_2: decay rate of the optimizer's second moment; ``Linear``, ``SecondMomentOnly`` and ``Constant`` do not
            depend on it.
        on_zero: what happens in the first steps, in which omega is 0. ``"skip"``: they are left out, and the warmup
            starts with its first positive omega (RAdam's r_6 at t = 1). ``"hold"``: the learning rate is 0 in them.
        gradient_accumulation_steps: the optimizer's own argument of that name. Keras counts batches for schedules, also
            those that only accumulate; omega counts steps of the optimizer. A schedule in `learning_rate` gets
            batches, as without a warmup.

    Raises:
        TypeError: the warmup has no omega, or it observes the run (``GuardedLinear``), which a function of t cannot.
        ValueError: beta_2 is outside [0, 1), the warmup never starts at it, on_zero is unknown, the learning rate is no
            number from 0 on, or gradient_accumulation_steps no whole number from 1 on.

    >>> from rectified.warmup import Linear
    >>> schedule = WarmupSchedule(Linear(10), 0.01)
    >>> [round(float(schedule(step)), 4) for step in (0, 4, 9, 100)]
    [0.001, 0.005, 0.01, 0.01]
    >>> optimizer = keras.optimizers.Lion(schedule)

    Reference: arXiv:1908.03265, section 4.2; for the other warmups see :mod:`rectified.warmup`.
    """

    def __init__(
        self,
        warmup: Any,
        learning_rate: Any = 0.001,
        beta_2: float = 0.999,
        *,
        on_zero: OnZero = "skip",
        gradient_accumulation_steps: int | None = None,
    ) -> None:
        if on_zero not in get_args(OnZero):
            raise ValueError(f"on_zero is {on_zero!r}; it must be 'hold' or 'skip'")
        every: Any = gradient_accumulation_steps
        if every is not None and not (isinstance(every, int) and every >= 1):
            raise ValueError(f"gradient_accumulation_steps is {every!r}; it must be a whole number from 1, or None")
        self.warmup, self.beta_2, self.on_zero = warmup_from_config(warmup), beta_2, on_zero
        self.gradient_accumulation_steps = gradient_accumulation_steps
        if isinstance(learning_rate, dict):
            learning_rate = keras.saving.deserialize_keras_object(learning_rate)
        self.learning_rate = check_learning_rate(learning_rate, "or a schedule")
        self._omega = omega_in_keras(self.warmup, beta_2)
        self._skipped = first_steps(as_warmup(self.warmup), beta_2) if on_zero == "skip" else 0

    def __call__(self, step: Any) -> Any:
        """The learning rate of the step that follows this number of batches."""
        lr = self.learning_rate(step) if callable(self.learning_rate) else self.learning_rate
        count = int(step) if is_eager_torch() and is_one(step) else ops.convert_to_tensor(step)
        t = count // (self.gradient_accumulation_steps or 1) + 1 + self._skipped
        return KERAS.floats(lr * self._omega(t))

    def __getstate__(self) -> dict[str, Any]:
        return {name: x for name, x in self.__dict__.items() if name != "_omega"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _omega=omega_in_keras(state["warmup"], state["beta_2"]))

    def get_config(self) -> dict[str, Any]:
        """The arguments as plain values, from which ``from_config`` makes the schedule."""
        lr = self.learning_rate
        return {
            "warmup": warmup_config(self.warmup),
            "learning_rate": keras.saving.serialize_keras_object(lr) if callable(lr) else lr,
            "beta_2": self.beta_2,
            "on_zero": self.on_zero,
            "gradient_accumulation_steps": self.gradient_accumulation_steps,
        }
