"""Adam, AdamW and RAdam with a warmup, as optax has them: names and order of arguments, and states, are optax's."""

from collections.abc import Callable
from typing import Any

import optax
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ..theory.rectification_term import Variance
from ..warmup import Rectified, Start, Warmup
from .transforms import scale_by_adam

Schedule = Callable[[Array], ArrayLike]  # of the count of steps from 0


def adam(
    learning_rate: ArrayLike | Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    warmup: Warmup | None = None,
    eps_hat: bool = False,
    per_leaf_count: bool = False,
) -> optax.GradientTransformation:
    r"""Adam with a built-in warmup, for optax: the steps of :class:`rectified.Adam` in torch.

    .. math::
        \theta_t = \theta_{t-1} - \gamma\,\omega(t; \beta_2)\,
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    L2 decay is a transformation before it: ``optax.chain(optax.add_decayed_weights(1e-4), adam(1e-3))``.

    Args:
        learning_rate: gamma; a number, or a schedule, which omega multiplies.
        b1, b2, eps, eps_root, mu_dtype: as in ``optax.adam``, with its defaults.
        warmup: the factor omega(t; b2), such as ``Linear(500)``, see :mod:`rectified.warmup`; ``None`` is plain Adam.
        eps_hat, per_leaf_count: as in :func:`scale_by_adam`.

    Raises:
        TypeError, ValueError: as :func:`scale_by_adam`.

    >>> import jax.numpy as jnp
    >>> from rectified.warmup import UntunedLinear
    >>> optimizer = adam(0.1, warmup=UntunedLinear())
    >>> theta = jnp.array([1.0, -1.0])
    >>> update, state = optimizer.update(jnp.array([0.5, 2.0]), optimizer.init(theta))
    >>> [round(float(x), 6) for x in optax.apply_updates(theta, update)]
    [0.99995, -1.00005]

    Reference: arXiv:1412.6980; for the warmups see :mod:`rectified.warmup`.
    """
    return optax.chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, warmup=warmup, eps_hat=eps_hat, per_leaf_count=per_leaf_count),
        optax.scale_by_learning_rate(learning_rate),
    )


def adamw(
    learning_rate: ArrayLike | Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    weight_decay: ArrayLike | Schedule = 1e-4,
    mask: Any = None,
    *,
    warmup: Warmup | None = None,
    eps_hat: bool = False,
    per_leaf_count: bool = False,
) -> optax.GradientTransformation:
    r"""Adam with decoupled weight decay and a built-in warmup, for optax: the steps of :class:`rectified.AdamW`.

    .. math::
        \theta_t = (1 - \gamma \lambda)\, \theta_{t-1} - \gamma\,\omega(t; \beta_2)\,
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    The decay is not scaled by omega; it rests in steps that move no parameter.

    Args:
        learning_rate: gamma; a number, or a schedule, which omega multiplies.
        b1, b2, eps, eps_root, mu_dtype: as in ``optax.adamw``, with its defaults.
        weight_decay: lambda; a number or a schedule. The default is optax's 1e-4; torch's is 1e-2.
        mask: which leaves decay, see :func:`scale_by_adam`.
        warmup: the factor omega(t; b2), such as ``Linear(500)``, see :mod:`rectified.warmup`; ``None`` is plain AdamW.
        eps_hat, per_leaf_count: as in :func:`scale_by_adam`.

    Raises:
        TypeError, ValueError: as :func:`scale_by_adam`.

    >>> import jax.numpy as jnp
    >>> from rectified.warmup import Linear
    >>> optimizer = adamw(0.1, weight_decay=0.01, warmup=Linear(10))
    >>> theta = jnp.array([1.0])
    >>> update, state = optimizer.update(jnp.array([0.5]), optimizer.init(theta), theta)
    >>> [round(float(x), 4) for x in optax.apply_updates(theta, update)]
    [0.989]

    Reference: arXiv:1711.05101.
    """
    return optax.chain(
        scale_by_adam(
            b1,
            b2,
            eps,
            eps_root,
            mu_dtype,
            warmup=warmup,
            eps_hat=eps_hat,
            weight_decay=weight_decay,
            mask=mask,
            per_leaf_count=per_leaf_count,
        ),
        optax.scale_by_learning_rate(learning_rate),
    )


def radam(
    learning_rate: ArrayLike | Schedule,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    threshold: float | None = None,
    *,
    variance: Variance = "first-order",
    start: Start = "momentum",
    eps_hat: bool = True,
    mu_dtype: DTypeLike | None = None,
    per_leaf_count: bool = False,
) -> optax.GradientTransformation:
    r"""RAdam, for optax: the steps of :class:`rectified.RAdam` in torch, with r_t exact in float32.

    .. math::
        \theta_t = \theta_{t-1} - \gamma\,r_t\,
            \frac{m_t}{1 - \beta_1^t}\,\frac{\sqrt{1 - \beta_2^t}}{\sqrt{v_t} + \epsilon}
        \quad\text{once } \rho_t > \text{threshold, before that}\quad
        \theta_t = \theta_{t-1} - \gamma\,\frac{m_t}{1 - \beta_1^t}

    It is :func:`adam` with ``warmup=Rectified(variance, threshold, start)`` and ``eps_hat=True``. ``optax.radam``
    computes rho_t by the textbook formula, which cancels in float32, and adds eps after the bias correction. Its saved
    state continues here.

    Args:
        learning_rate: gamma; a number, or a schedule, which r_t multiplies.
        b1, b2, eps, eps_root: as in ``optax.radam``, with its defaults.
        threshold: the rho_t that must be exceeded; ``None`` is 5 for ``"first-order"`` and 2 otherwise.
        variance: ``"first-order"``, the paper's r_t; ``"exact"``, from the closed form of the variance, or ``"ema"``,
            from the EMA's own.
        start: the steps before that. ``"momentum"``: the second equation; ``"hold"``: only m and v change.
        eps_hat, mu_dtype, per_leaf_count: as in :func:`scale_by_adam`.

    Raises:
        TypeError, ValueError: as :func:`scale_by_adam`.

    >>> import jax.numpy as jnp
    >>> optimizer = radam(0.1, start="hold")
    >>> theta = jnp.array([1.0, -1.0])
    >>> state = optimizer.init(theta)
    >>> for _ in range(6):
    ...     update, state = optimizer.update(jnp.array([0.5, 2.0]), state)
    ...     theta = optax.apply_updates(theta, update)
    >>> [round(float(x), 4) for x in theta]
    [0.9974, -1.0026]

    Reference: arXiv:1908.03265, Algorithm 2.
    """
    return adam(
        learning_rate,
        b1,
        b2,
        eps,
        eps_root,
        mu_dtype,
        warmup=Rectified(variance, _host(threshold), start),
        eps_hat=eps_hat,
        per_leaf_count=per_leaf_count,
    )


def _host(threshold: Any) -> Any:
    """Raise for a threshold that was injected as an array."""
    if isinstance(threshold, Array):
        raise TypeError(
            "threshold is an array, and omega needs a number: with optax.inject_hyperparams, name it among the "
            "static_args: static_args=('threshold',)"
        )
    return threshold
