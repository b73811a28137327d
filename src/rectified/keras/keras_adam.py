"""Adam, AdamW and RAdam with a built-in warmup, for Keras."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from ..arrays.adam_step import Options, numbers, step
from ..arrays.traced_omega import Omega
from ..theory.checks import check_beta2
from ..theory.rectification_term import Variance
from ..warmup import Constant, Rectified, Start, Warmup
from ..warmup.interface import as_warmup
from .argument_checks import check_learning_rate, check_number
from .arrays import KERAS, is_eager_torch, omega_in_keras
from .warmup_config import warmup_config, warmup_from_config

_NARROW = ("bfloat16", "float16")


@keras.saving.register_keras_serializable("rectified")
class Adam(keras.optimizers.Optimizer):  # type: ignore[misc]
    r"""Adam with a built-in warmup, for Keras: the steps of :class:`rectified.Adam` in torch.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= (1 - \gamma \lambda)\, \theta_{t-1} - \gamma\,\omega(t; \beta_2)\,
            \frac{m_t}{1 - \beta_1^t}\,\frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \hat\epsilon}

    Without a warmup it is ``keras.optimizers.Adam``, which has the same arguments and defaults, and whose saved states
    load here. The moments of bfloat16 and float16 variables are float32.

    t counts the steps of the optimizer, for all variables together; with ``gradient_accumulation_steps``, those that
    move the variables. ``weight_decay`` is not scaled by omega, and it rests in steps that move nothing.

    Args:
        learning_rate: gamma; a number, a schedule, which omega multiplies, or a function without arguments.
        beta_1: decay rate of m, in [0, 1).
        beta_2: decay rate of v, in [0, 1).
        epsilon: added to sqrt(v) before its bias correction; see `eps_hat`.
        amsgrad: use the largest v so far.
        weight_decay: lambda, decoupled as in every optimizer of Keras; ``None`` is none.
        warmup: the factor omega(t; beta_2), such as ``Linear(500)`` or ``UntunedLinear()``, see
            :mod:`rectified.warmup`; ``None`` is plain Adam.
        eps_hat: ``False`` adds epsilon after the bias correction, as torch does.
        options: ``clipnorm``, ``global_clipnorm``, ``clipvalue``, ``use_ema``, ``ema_momentum``,
            ``ema_overwrite_frequency``, ``loss_scale_factor``, ``gradient_accumulation_steps`` and ``name``, as in
            ``keras.optimizers.Optimizer``.

    Raises:
        TypeError: the warmup has no omega, or it observes the run (``GuardedLinear``), which a function of t cannot.
        ValueError: a number is outside its range, or the warmup never starts at this beta_2.

    >>> from rectified.warmup import UntunedLinear
    >>> theta = keras.Variable([1.0, -1.0])
    >>> optimizer = Adam(0.1, warmup=UntunedLinear())
    >>> optimizer.apply([ops.convert_to_tensor([0.5, 2.0])], [theta])
    >>> [round(float(x), 6) for x in ops.convert_to_numpy(theta.value)]
    [0.99995, -1.00005]

    Reference: arXiv:1412.6980; for the warmups see :mod:`rectified.warmup`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        weight_decay: float | None = None,
        *,
        warmup: Any = None,
        eps_hat: bool = True,
        **options: Any,
    ) -> None:
        learning_rate = check_learning_rate(learning_rate, "a schedule or a function")
        check_number("beta_1", beta_1, "a number in [0, 1)", below=1)
        check_beta2(beta_2)
        check_number("epsilon", epsilon, "a number, 0 or more")
        if weight_decay is not None:
            check_number("weight_decay", weight_decay, "a number, 0 or more, or None for none")
        super().__init__(learning_rate=learning_rate, weight_decay=weight_decay, **options)
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.amsgrad, self.eps_hat = amsgrad, eps_hat
        self.warmup = warmup_from_config(warmup)
        self._resolved = self._resolve()

    def build(self, variables: Sequence[Any]) -> None:
        """Create m and v of each variable: names, order and shapes are those of ``keras.optimizers.Adam``."""
        if self.built:
            return
        super().build(variables)
        self._momentums: list[Any] = []
        self._velocities: list[Any] = []
        for variable in variables:
            self._momentums.append(self._moment(variable, "momentum"))
            self._velocities.append(self._moment(variable, "velocity"))
        hats = variables if self.amsgrad else []
        self._velocity_hats = [self._moment(variable, "velocity_hat") for variable in hats]

    def _moment(self, variable: Any, name: str) -> Any:
        """A moment of a variable; None for one that is not stepped, but set to its gradient (as scales of float8)."""
        if getattr(variable, "overwrite_with_gradient", False):
            return None
        if keras.backend.standardize_dtype(variable.dtype) not in _NARROW:
            return self.add_variable_from_reference(variable, name=name)
        layout = getattr(variable, "_layout", None)  # where several devices share it; older versions have none
        placed = {} if layout is None else {"layout": layout}
        path = getattr(variable, "path", variable.name)  # tf.Variable has none
        full_name = f"{path.replace('/', '_').replace(':', '_')}_{name}"
        return self.add_variable(variable.shape, dtype="float32", name=full_name, **placed)

    def _resolve(self) -> tuple[Any, float, Warmup, Omega]:
        """The attributes warmup and beta_2, and what follows from them: a Warmup, and omega as a function of t."""
        warmup = Constant() if self.warmup is None else as_warmup(self.warmup)
        return self.warmup, self.beta_2, warmup, omega_in_keras(warmup, self.beta_2)

    def _warmup_now(self) -> tuple[Warmup, Omega]:
        """The warmup and its omega, also after the attribute warmup or beta_2 was set."""
        if self._resolved[0] is not self.warmup or self._resolved[1] != self.beta_2:
            self._resolved = self._resolve()
        return self._resolved[2], self._resolved[3]

    def _options(self, weight_decay: float) -> Options:
        """The options as they are now: attributes may have been set since."""
        warmup, omega = self._warmup_now()
        return Options(warmup, omega, self.beta_1, self.beta_2, self.epsilon, self.eps_hat, weight_decay)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Step one variable."""
        i = self._get_variable_index(variable)
        m, v = self._momentums[i], self._velocities[i]
        v_max = self._velocity_hats[i] if self.amsgrad else None
        decays = self.weight_decay is not None and self._use_weight_decay(variable)
        options = self._options(self.weight_decay if decays else 0.0)
        count = ops.cast(self.iterations, self._iterations.dtype)  # with a floatx of 16 bits it may be a float
        n = numbers(KERAS, options, count + 1)
        if hasattr(gradient, "dense_shape"):  # an embedding's in tensorflow, which has some rows only
            gradient = ops.add(gradient, ops.zeros_like(variable))
        theta = ops.cast(variable, m.dtype)
        u, m_new, v_new, largest = step(KERAS, options, n, gradient, m, v, theta if decays else None, v_max)
        self.assign(m, m_new)
        self.assign(v, v_new)
        if v_max is not None:
            self.assign(v_max, largest)
        self.assign(variable, ops.cast(theta - ops.cast(learning_rate, m.dtype) * u, variable.dtype))

    # Keras multiplies the variables by 1 - lr * weight_decay before a step, also where the step then moves nothing.
    def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
        """Nothing: the step itself decays."""

    def _backend_update_step(self, grads: Sequence[Any], variables: Sequence[Any], learning_rate: Any) -> None:
        """Step all variables; on the torch backend at once, since its ops are not compiled."""
        if is_eager_torch():
            from .torch_step import step_all

            step_all(self, grads, variables, learning_rate)
        else:
            super()._backend_update_step(grads, variables, learning_rate)

    def get_config(self) -> dict[str, Any]:
        """The arguments as plain values, from which ``from_config`` makes the optimizer."""
        return {
            **super().get_config(),
            "beta_1": self.beta_1,
            "beta_2": self.beta_2,
            "epsilon": self.epsilon,
            "amsgrad": self.amsgrad,
            "warmup": warmup_config(self.warmup),
            "eps_hat": self.eps_hat,
        }


@keras.saving.register_keras_serializable("rectified")
class AdamW(Adam):
    r"""Adam with decoupled weight decay and a built-in warmup, for Keras: the steps of :class:`rectified.AdamW`.

    .. math::
        \theta_t = (1 - \gamma \lambda)\, \theta_{t-1} - \gamma\,\omega(t; \beta_2)\,
            \frac{m_t}{1 - \beta_1^t}\,\frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \hat\epsilon}

    The decay is not scaled by omega; it rests in steps that move nothing.

    Args:
        weight_decay: lambda. The default is Keras's 0.004; torch's is 0.01.
        learning_rate, beta_1, beta_2, epsilon, amsgrad, warmup, eps_hat, options: as in :class:`Adam`, in the order of
            ``keras.optimizers.AdamW``.

    Raises:
        TypeError, ValueError: as :class:`Adam`.

    >>> from rectified.warmup import Linear
    >>> theta = keras.Variable([1.0])
    >>> optimizer = AdamW(0.1, weight_decay=0.01, warmup=Linear(10))
    >>> optimizer.apply([ops.convert_to_tensor([0.5])], [theta])
    >>> round(float(ops.convert_to_numpy(theta.value)[0]), 4)
    0.989

    Reference: arXiv:1711.05101.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        weight_decay: float | None = 0.004,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        amsgrad: bool = False,
        *,
        warmup: Any = None,
        eps_hat: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(
            learning_rate,
            beta_1,
            beta_2,
            epsilon,
            amsgrad,
            weight_decay,
            warmup=warmup,
            eps_hat=eps_hat,
            **options,
        )


@keras.saving.register_keras_serializable("rectified")
class RAdam(Adam):
    r"""RAdam, for Keras: the steps of :class:`rectified.RAdam` in torch.

    .. math::
        \theta_t = \theta_{t-1} - \gamma\,r_t\,
            \frac{m_t}{1 - \beta_1^t}\,\frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \hat\epsilon}
        \quad\text{once } \rho_t > \text{threshold, before that}\quad
        \theta_t = \theta_{t-1} - \gamma\,\frac{m_t}{1 - \beta_1^t}

    It is :class:`Adam` with ``warmup=Rectified(variance, threshold, start)``. ``weight_decay`` is decoupled, as in
    every optimizer of Keras.

    Args:
        learning_rate, beta_1, beta_2, epsilon, weight_decay, eps_hat, options: as in :class:`Adam`.
        threshold: the rho_t that must be exceeded; ``None`` is 5 for ``"first-order"`` and 2 otherwise.
        variance: ``"first-order"``, the paper's r_t; ``"exact"``, from the closed form of the variance, or ``"ema"``,
            from the EMA's own.
        start: the steps before that. ``"momentum"``: the second equation; ``"hold"``: only m and v change.

    Raises:
        TypeError, ValueError: as :class:`Adam`.

    >>> theta = keras.Variable([1.0, -1.0])
    >>> optimizer = RAdam(0.1, start="hold")
    >>> for _ in range(6):
    ...     optimizer.apply([ops.convert_to_tensor([0.5, 2.0])], [theta])
    >>> [round(float(x), 4) for x in ops.convert_to_numpy(theta.value)]
    [0.9974, -1.0026]

    Reference: arXiv:1908.03265, Algorithm 2.
    """

    def __init__(
        self,
        learning_rate: Any = 0.001,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        weight_decay: float | None = None,
        *,
        threshold: float | None = None,
        variance: Variance = "first-order",
        start: Start = "momentum",
        eps_hat: bool = True,
        **options: Any,
    ) -> None:
        warmup = Rectified(variance, threshold, start)
        if taken := sorted({"amsgrad", "warmup"} & options.keys()):
            raise TypeError(
                f"RAdam has no {' and no '.join(taken)}: its warmup is Rectified. "
                "Use Adam, such as Adam(amsgrad=True, warmup=Rectified())"
            )
        super().__init__(
            learning_rate, beta_1, beta_2, epsilon, False, weight_decay, warmup=warmup, eps_hat=eps_hat, **options
        )

    def get_config(self) -> dict[str, Any]:
        """The arguments as plain values, from which ``from_config`` makes the optimizer."""
        config = super().get_config()
        warmup = config.pop("warmup")
        del config["amsgrad"]
        return {**config, **{name: warmup[name] for name in ("threshold", "variance", "start")}}

    def _resolve(self) -> tuple[Any, float, Warmup, Omega]:
        """The attributes warmup and beta_2, and what follows from them; raises for a warmup other than Rectified."""
        if type(self.warmup) is not Rectified:
            raise TypeError(f"warmup of RAdam is {self.warmup!r}; it must be Rectified. Use Adam for any other")
        return super()._resolve()


# A name for compile(optimizer=...). Not "RAdam": when a model is loaded, Keras would prefer it to a user's own class of
# that name, even to one in custom_objects.
keras.saving.get_custom_objects().setdefault("radam", RAdam)
