"""Adam's step with a warmup, and omega alone, as transformations of gradients in optax's style."""

from collections.abc import Callable
from typing import Any, get_args

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.typing import ArrayLike, DTypeLike

from ..arrays.adam_step import Numbers, Options, numbers, step
from ..arrays.rho_and_ratio import known
from ..arrays.traced_omega import first_steps
from ..warmup import Constant, Linear, UntunedExponential, UntunedLinear, Warmup
from ..warmup.interface import OnZero, as_warmup
from .mathematics import JAX
from .omega import omega


def scale_by_adam(
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    eps: ArrayLike = 1e-8,
    eps_root: ArrayLike = 0.0,
    mu_dtype: DTypeLike | None = None,
    *,
    warmup: Warmup | None = None,
    eps_hat: bool = False,
    weight_decay: ArrayLike | Callable[[Array], ArrayLike] = 0.0,
    mask: Any = None,
    per_leaf_count: bool = False,
) -> optax.GradientTransformation:
    r"""Rescale gradients by Adam's moments and a warmup; to be followed by ``optax.scale_by_learning_rate``.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        u_t &= \omega(t; \beta_2)\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}
            + \lambda\, \theta_{t-1}

    While omega is 0, u is m / (1 - beta1^t) + lambda theta in a ``"momentum"`` start, and 0 in a ``"hold"``, in which
    the moments move. So weight decay is not scaled by omega, and it rests while the parameters do.

    The state is optax's ``ScaleByAdamState``: count, mu (m), nu (v). The moments of 16-bit leaves are float32, and so
    are their updates, which ``optax.apply_updates`` adds in float32 and rounds once.

    Args:
        b1, b2, eps, eps_root, mu_dtype: as in ``optax.scale_by_adam``. If b2 is an array, such as one that
            ``optax.inject_hyperparams`` injects, omega is computed from its rounded value: see :func:`omega`.
        warmup: the factor omega(t; b2), see :mod:`rectified.warmup`; ``None`` is plain Adam.
        eps_hat: add eps to sqrt(v) before its bias correction instead of after.
        weight_decay: lambda, decoupled; a number, an array, or a schedule: a function of the count from 0.
        mask: which leaves decay: a tree of bools, possibly a prefix of the parameters' tree, or a function that makes
            one from the parameters.
        per_leaf_count: give each leaf a count and a warmup of its own. A leaf whose gradient is None, or a
            ``MaskedNode``, then takes no step: its moments and its count stay, and its update is 0. Otherwise one count
            is for all leaves, as in optax, and a missing gradient is an error.

    Raises:
        TypeError: a parameter is complex, or as :func:`omega`.
        ValueError: as :func:`omega`; from ``update``, a gradient or, for weight decay, the parameters are missing.

    >>> from rectified.warmup import Linear
    >>> adam = scale_by_adam(warmup=Linear(10))
    >>> g = jnp.array([0.5, -2.0])
    >>> update, state = adam.update(g, adam.init(g))
    >>> [round(float(x), 4) for x in update], int(state.count)
    ([0.1, -0.1], 1)

    Reference: arXiv:1412.6980, Algorithm 1; arXiv:1711.05101 for the weight decay.
    """
    found = Constant() if warmup is None else as_warmup(warmup)
    options = Options(found, omega(found, b2), b1, b2, eps, eps_hat, weight_decay, eps_root)
    decays = callable(weight_decay) or known(weight_decay) != 0

    def init(params: Any) -> Any:
        jax.tree.map(_refuse_complex, params)
        return optax.ScaleByAdamState(
            count=jax.tree.map(lambda p: _zero(), params) if per_leaf_count else _zero(),
            mu=jax.tree.map(lambda p: jnp.zeros_like(p, dtype=mu_dtype or _dtype(p)), params),
            nu=jax.tree.map(lambda p: jnp.zeros_like(p, dtype=_dtype(p)), params),
        )

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        if decays and params is None:
            raise ValueError("weight decay needs the parameters: call update(gradients, state, params)")
        tree: Any = jax.tree.structure(state.mu)
        mu = jax.tree.leaves(state.mu)
        nu, grads = tree.flatten_up_to(state.nu), tree.flatten_up_to(updates)
        thetas = _decayed(mask, params, tree) if decays else [None] * len(mu)
        missing = [not jax.tree.leaves(g) for g in grads]  # None, or a MaskedNode
        if any(missing) and not per_leaf_count:
            raise ValueError("a parameter has no gradient: with per_leaf_count=True it would rest meanwhile")
        count, of_leaves = _counted(options, state.count, missing, tree if per_leaf_count else None)
        stepped = [
            (jnp.zeros_like(v), m, v) if rests else step(JAX, options, n, g, m, v, theta)[:3]
            for n, g, m, v, theta, rests in zip(of_leaves, grads, mu, nu, thetas, missing, strict=True)
        ]
        us, mu, nu = ([leaf[i] for leaf in stepped] for i in range(3))
        return tree.unflatten(us), optax.ScaleByAdamState(count, tree.unflatten(mu), tree.unflatten(nu))

    return optax.GradientTransformation(init, update)


def scale_by_warmup(warmup: Any, b2: ArrayLike = 0.999, *, on_zero: OnZero = "skip") -> optax.GradientTransformation:
    r"""Multiply updates by a warmup's omega: a warmup after any transformation, as :func:`rectified.rectify` in torch.

    .. math:: u_t \leftarrow \omega(t; \beta_2)\, u_t

    Put it after the transformation that is to be warmed up, and before weight decay that is not to be scaled.

    Args:
        warmup: the factor omega(t; b2), see :mod:`rectified.warmup`.
        b2: decay rate of the second moment; Linear, SecondMomentOnly and Constant need none.
        on_zero: what happens in the first steps, in which omega is 0. ``"skip"``: they are left out, and the warmup
            starts with its first positive omega (RAdam's r_6 at t = 1). ``"hold"``: updates are 0 in them.

    Raises:
        TypeError: as :func:`omega`; or on_zero is ``"skip"`` and b2 an array.
        ValueError: as :func:`omega`, or on_zero is unknown.

    >>> from rectified.warmup import Linear
    >>> optimizer = optax.chain(optax.scale_by_lion(), scale_by_warmup(Linear(10)), optax.scale_by_learning_rate(1.0))
    >>> g = jnp.array([0.5, -2.0])
    >>> update, state = optimizer.update(g, optimizer.init(g))
    >>> [round(float(x), 4) for x in update]
    [-0.1, 0.1]

    Reference: arXiv:1908.03265, section 4.2.
    """
    if on_zero not in get_args(OnZero):
        raise ValueError(f"on_zero is {on_zero!r}; it must be 'hold' or 'skip'")
    factor = omega(warmup, b2)
    skipped = _first_steps(as_warmup(warmup), b2) if on_zero == "skip" else 0

    def init(params: Any) -> Any:
        return optax.ScaleByScheduleState(count=_zero())

    def update(updates: Any, state: Any, params: Any = None) -> Any:
        count = optax.safe_increment(state.count)
        now = factor(count + skipped)
        return jax.tree.map(lambda u: u * now.astype(u.dtype), updates), optax.ScaleByScheduleState(count)

    return optax.GradientTransformation(init, update)


def _first_steps(warmup: Warmup, b2: ArrayLike) -> int:
    """The number of first steps in which omega is 0."""
    if isinstance(warmup, Constant | Linear | UntunedLinear | UntunedExponential):
        return 0
    if (beta2 := known(b2)) is None:
        raise TypeError(
            f"b2 is an array, and the first positive omega of {warmup!r} is found on the host from a number. Use "
            "on_zero='hold', or with optax.inject_hyperparams static_args=('b2',)"
        )
    return first_steps(warmup, beta2)


def _counted(options: Options, count: Any, missing: list[bool], tree: Any) -> tuple[Any, list[Numbers]]:
    """The next count and each leaf's numbers; with a tree, each leaf that has a gradient counts for itself."""
    if tree is None:
        count = optax.safe_increment(count)
        return count, [numbers(JAX, options, count)] * len(missing)
    pairs = zip(tree.flatten_up_to(count), missing, strict=True)
    counts = [t if rests else optax.safe_increment(t) for t, rests in pairs]
    if not counts:
        return count, []
    together = numbers(JAX, options, jnp.stack(counts))
    return tree.unflatten(counts), [Numbers(*(x[i] for x in together)) for i in range(len(counts))]


def _decayed(mask: Any, params: Any, tree: Any) -> list[Array | None]:
    """The parameters that decay, and None for each of the others."""
    flags = mask(params) if callable(mask) else True if mask is None else mask
    flags = jax.tree.map(lambda flag, part: jax.tree.map(lambda _: flag, part), flags, params)
    pairs = zip(tree.flatten_up_to(params), tree.flatten_up_to(flags), strict=True)
    return [theta if flag else None for theta, flag in pairs]


def _zero() -> Array:
    return jnp.zeros([], jnp.int32)


def _dtype(p: ArrayLike) -> Any:
    """The dtype in which a leaf steps: its own, or float32 if that is shorter."""
    return jnp.promote_types(jnp.asarray(p).dtype, jnp.float32)


def _refuse_complex(p: ArrayLike) -> None:
    if jnp.iscomplexobj(p):
        raise TypeError(
            "a parameter is complex: wrap the optimizer in optax.contrib.split_real_and_imaginary, which steps both "
            "parts as real numbers, as torch does"
        )
