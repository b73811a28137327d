"""Adam's state in optax: read from a state of any chain or wrapper, and put into one."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array as JaxArray

from ..messages import shown
from .fitting import Wanted, check_fit, same_count
from .moments import AdamState, Array, listed

_WITH_INNER = (optax.MultiStepsState, optax.InjectHyperparamsState, optax.InjectStatefulHyperparamsState)
_KINDS = (optax.ScaleByAdamState, optax.ScaleByAmsgradState, *_WITH_INNER)
# States with nothing but the count of a schedule: of lr, of weight decay, of a hyperparameter.
_SCHEDULES = ("ScaleByScheduleState", "WeightDecaySchedule", "WrappedScheduleState")

_PER_LEAF = "rectified.jax has per_leaf_count=True; to let all have one count: dataclasses.replace(state, counts=...)"


class _Leaf(NamedTuple):
    """A leaf that an Adam state holds."""

    count: Any
    m: Any
    v: Any


def from_optax(opt_state: Any, params: Any) -> AdamState:
    """Read the Adam state inside the state of an optax optimizer, of ``optax.adam`` or of :mod:`rectified.jax`.

    It is found inside chains and wrappers: ``masked``, ``partition``, ``inject_hyperparams``, ``MultiSteps``. Where
    ``masked`` or ``partition`` give parts of the parameters their own Adam, all are read. The arrays are copies.
    Moments of bfloat16 become float32, which changes no value.

    A parameter is named by its path in the tree: the keys, indices and attributes, with dots between them, such as
    ``layers.0.w``.

    Not in the state: the weights, all options and schedules, and the states of other transformations, such as an EMA of
    the weights. ``scale_by_adamax`` and ``scale_by_yogi`` keep another nu in a state of the same type, which nothing
    distinguishes from Adam's.

    Args:
        opt_state: the state, from ``optimizer.init`` or ``optimizer.update``.
        params: the tree of parameters that it is for.

    Returns:
        The state of every parameter that has one; those that are masked out are left out.

    Raises:
        ValueError: there is no Adam state, or several for the same parameter; a gradient accumulation is not finished;
            two parameters have the same name; or an array is spread over several hosts.

    >>> params = {"layers": [{"w": jnp.ones((2, 3))}]}
    >>> optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 100))
    >>> updates, opt_state = optimizer.update(params, optimizer.init(params))
    >>> state = from_optax(opt_state, params)
    >>> state.counts, state.m["layers.0.w"].shape, round(float(state.m["layers.0.w"][0, 0]), 4)
    ({'layers.0.w': 1}, (2, 3), 0.1)
    """
    leaves = _leaves(opt_state, params)
    for part in _found(opt_state):
        if isinstance(part, optax.MultiStepsState) and int(part.mini_step):
            raise ValueError(
                f"MultiSteps has accumulated {int(part.mini_step)} gradients since the last step, which no AdamState "
                "holds: convert the state right after a step, when mini_step is 0"
            )
    return AdamState(
        m={name: _to_numpy(leaf.m, name) for name, leaf in leaves.items()},
        v={name: _to_numpy(leaf.v, name) for name, leaf in leaves.items()},
        counts={name: int(leaf.count) for name, leaf in leaves.items()},
    )


def to_optax(state: AdamState, opt_state: Any, params: Any, *, schedule_count: int | None = None) -> Any:
    """Put a state into the state of an optax optimizer, of ``optax.adam`` or of :mod:`rectified.jax`.

    Adam's moments and counts are replaced, and so are the counts of schedules, so that the learning rate continues
    where the run was: those of ``scale_by_schedule`` (in ``scale_by_learning_rate`` and in
    :func:`rectified.jax.scale_by_warmup`), of a scheduled weight decay, of ``inject_hyperparams``, and of
    ``MultiSteps``, which starts to accumulate again. The counts of other transformations stay, since they belong to
    averages that the state does not hold.

    These options must agree with the run that the state is from, and nothing checks them: the learning rate and its
    schedule, b1, b2, eps, weight decay, warmup. optax's Adam adds eps after the bias correction and Keras' Adam before
    it, see :mod:`rectified.interchange`.

    Args:
        state: the state of every parameter, in the layout of `params`, under the names that :func:`from_optax` gives.
        opt_state: what ``optimizer.init(params)`` returned, or a later state.
        params: the tree of parameters.
        schedule_count: the count of the schedules; None is the number of steps of the run, the largest count. 0 starts
            them from the beginning.

    Returns:
        A new state of the same structure, shapes, dtypes and shardings as `opt_state`, which is unchanged.

    Raises:
        ValueError: the names or shapes do not fit; the parameters of one Adam state have different counts, unless it
            was made with ``per_leaf_count=True``; the state is one of amsgrad; or as :func:`from_optax`.

    >>> params = {"w": jnp.ones(2)}
    >>> optimizer = optax.adam(optax.cosine_decay_schedule(0.1, 100))
    >>> state = AdamState(m={"w": np.ones(2)}, v={"w": np.ones(2)}, counts={"w": 30})
    >>> adam, schedule = to_optax(state, optimizer.init(params), params)
    >>> int(adam.count), int(schedule.count), adam.mu["w"].tolist()
    (30, 30, [1.0, 1.0])
    """
    leaves = _leaves(opt_state, params)
    wanted = {name: Wanted(jnp.shape(leaf.m), jnp.iscomplexobj(leaf.m)) for name, leaf in leaves.items()}
    check_fit(state, wanted, "the optimizer")
    if state.v_max:
        raise ValueError(
            "the state has the v_max of amsgrad. optax's amsgrad keeps the largest of the bias-corrected v instead, "
            "which cannot be computed from it. To continue without amsgrad: dataclasses.replace(state, v_max={})"
        )
    steps = state.steps if schedule_count is None else schedule_count
    if steps < 0:
        raise ValueError(f"schedule_count is {steps}; it must be 0 or more")

    def moments(tree: Any, new: Any) -> Any:
        return jax.tree_util.tree_map_with_path(lambda path, x: _like(x, new[_name(path)]), tree)

    def rebuilt(part: Any) -> Any:
        if isinstance(part, optax.ScaleByAdamState):
            names = [_name(path) for path, _ in jax.tree_util.tree_leaves_with_path(part.mu)]
            if _counts_once(part):
                count = _like(part.count, same_count(state, names, "optax's Adam", _PER_LEAF))
            else:
                count = moments(part.count, state.counts)
            return optax.ScaleByAdamState(count, moments(part.mu, state.m), moments(part.nu, state.v))
        if isinstance(part, optax.MultiStepsState):
            return part._replace(
                mini_step=_like(part.mini_step, 0),
                gradient_step=_like(part.gradient_step, steps),
                inner_opt_state=everywhere(part.inner_opt_state),
                acc_grads=jax.tree.map(lambda x: _like(x, np.zeros(jnp.shape(x))), part.acc_grads),
            )
        if isinstance(part, _WITH_INNER):
            inner = {name: everywhere(x) for name, x in part._asdict().items() if name.endswith(("_state", "_states"))}
            return part._replace(count=_like(part.count, steps), **inner)
        if _is_schedule(part):
            return part._replace(count=_like(part.count, steps))
        return part

    def everywhere(tree: Any) -> Any:
        return jax.tree.map(rebuilt, tree, is_leaf=lambda x: isinstance(x, _KINDS) or _is_schedule(x))

    return everywhere(opt_state)


def _found(opt_state: Any) -> Iterator[Any]:
    """Every Adam state and every wrapper with a count, the outer ones first."""
    for part in jax.tree.leaves(opt_state, is_leaf=lambda x: isinstance(x, _KINDS)):
        if isinstance(part, _KINDS):
            yield part
            if isinstance(part, _WITH_INNER):
                yield from _found(part.inner_opt_state if isinstance(part, optax.MultiStepsState) else part.inner_state)


def _leaves(opt_state: Any, params: Any) -> dict[str, _Leaf]:
    """The leaves of all Adam states by name, in the order of the parameters."""
    found = list(_found(opt_state))
    adams = [part for part in found if isinstance(part, optax.ScaleByAdamState)]
    if any(isinstance(part, optax.ScaleByAmsgradState) for part in found):
        raise ValueError(
            "this is a state of optax.amsgrad, which keeps the largest of the bias-corrected v. torch and Keras keep "
            "the largest v, and neither can be computed from the other"
        )
    if not adams:
        raise ValueError(
            "there is no Adam state (optax.ScaleByAdamState) in this opt_state: pass what the init or update of an "
            "optimizer with optax.scale_by_adam or rectified.jax.scale_by_adam returned. A checkpoint that was "
            "restored as dicts and lists has lost its types: restore it into the structure of optimizer.init(params)"
        )
    shapes = {}
    for path, p in jax.tree_util.tree_leaves_with_path(params):
        if _name(path) in shapes:
            raise ValueError(f"two parameters have the path {shown(_name(path))}: rename a key that has a dot in it")
        shapes[_name(path)] = jnp.shape(p)
    leaves: dict[str, _Leaf] = {}
    for adam in adams:
        m = {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(adam.mu)}
        v = {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(adam.nu)}
        counts = dict.fromkeys(m, adam.count)
        if not _counts_once(adam):
            counts = {_name(path): x for path, x in jax.tree_util.tree_leaves_with_path(adam.count)}
        if foreign := [name for name, x in m.items() if shapes.get(name) != jnp.shape(x)]:
            raise ValueError(
                f"the Adam state is not of these params: they lack {listed(foreign)}, or have them in another shape"
            )
        if twice := [name for name in m if name in leaves]:
            raise ValueError(
                f"there are {len(adams)} Adam states in this opt_state, and {listed(twice)} is in several of them: "
                "pass the part of it that you mean, such as opt_state[0], instead of all"
            )
        leaves.update({name: _Leaf(counts[name], m[name], v[name]) for name in m})
    return {name: leaves[name] for name in shapes if name in leaves}


def _counts_once(adam: optax.ScaleByAdamState) -> bool:
    """Whether one count serves all leaves."""
    return jax.tree_util.treedef_is_leaf(jax.tree.structure(adam.count))


def _is_schedule(part: Any) -> bool:
    """Whether a state holds the count of a schedule and nothing else."""
    return type(part).__name__ in _SCHEDULES and getattr(part, "_fields", ()) == ("count",)


def _name(path: Any) -> str:
    """A leaf's name: the keys, indices and attributes of its path, with dots between them."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _to_numpy(x: Any, name: str) -> Array:
    """A copy of an array."""
    if isinstance(x, JaxArray) and not x.is_fully_addressable:
        raise ValueError(
            f"the moments of {shown(name)} are spread over several hosts: gather the opt_state first, with "
            "jax.experimental.multihost_utils.process_allgather(opt_state, tiled=True)"
        )
    return np.array(x)


def _like(old: Any, new: Any) -> Any:
    """A new value in the dtype and the sharding of an old one."""
    array = jnp.array(new, dtype=jnp.result_type(old))
    if isinstance(old, JaxArray) and getattr(old, "committed", True):
        return jax.device_put(array, old.sharding)
    return array
