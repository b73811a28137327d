"""An optimizer that is its equation, for the methods that are not one scalar in front of Adam's step."""

import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor
from torch._compile import _disable_dynamo
from torch.optim.optimizer import ParamsT

from ..warmup import from_plain, to_plain
from ._torch import Optimizer
from .step.dtensor import is_sharded, whole
from .step.kernels import Tensors, Update, kernel_for
from .step.options import Group, check_common

Entry = dict[str, Any]  # one parameter's state


class Bucket(NamedTuple):
    """Parameters that share a count, a device and a dtype: they step together. Complex ones are pairs of reals here."""

    t: int  # the step they take, from 1
    params: list[Tensor]
    grads: list[Tensor]  # the user's: not to be written to
    entries: list[Entry]

    def state(self, name: str) -> list[Tensor]:
        return real([entry[name] for entry in self.entries])


class Plain(Optimizer):
    """Each parameter has its own t, as in torch.optim. A subclass says which tensors its state has, and moves them."""

    STATES: ClassVar[tuple[str, ...]] = ()  # names of tensors like the parameter, 0 at first

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        self.check(defaults)
        super().__init__(params, defaults)

    def check(self, group: Group) -> None:
        """Raise for an option that no step could use."""
        check_common(group)

    def names(self, group: Group) -> Iterable[str]:
        """Of the states that the group's options ask for."""
        return self.STATES

    def move_all(self, group: Group, buckets: list[Bucket]) -> None:
        """Take the step of a group."""
        for bucket in buckets:
            self.move(group, bucket)

    def move(self, group: Group, bucket: Bucket) -> None:
        """Take the step of parameters that share a count."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its missing options are the constructor's. Raises as the constructor does, changing nothing."""
        if isinstance(param_group, dict):
            self.check({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take one step.

        Args:
            closure: reevaluates the model and returns the loss, as in torch.optim.

        Returns:
            The closure's loss, if one was given.

        Raises:
            RuntimeError: a gradient is sparse. Nothing has moved then.
        """
        if torch.compiler.is_compiling():
            return self._untraced_step(closure)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            work = [(group, self._sorted(group)) for group in self.param_groups]
            for group, found in work:
                buckets = [self._bucket(group, params) for params in found]
                if buckets:
                    self.move_all(group, buckets)
                for bucket in buckets:
                    for entry in bucket.entries:
                        entry["step"] += 1
        return loss

    # torch.compile would trace the bookkeeping anew for every count.
    @_disable_dynamo
    def _untraced_step(self, closure: Callable[[], Any] | None = None) -> Any:
        return self.step(closure)

    def _sorted(self, group: Group) -> list[list[Tensor]]:
        """Parameters with a gradient by what they share; those that have taken most steps last."""
        found: dict[Any, list[Tensor]] = {}
        for i, p in enumerate(group["params"]):
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError(
                    f"parameter {i} of shape {tuple(p.shape)} has a sparse gradient. {type(self).__name__} does not "
                    "support sparse gradients: make it dense (for an embedding: sparse=False)"
                )
            found.setdefault((self._taken(p), p.device, p.dtype), []).append(p)
        return [params for _, params in sorted(found.items(), key=lambda item: item[0][0])]

    def _taken(self, p: Tensor) -> int:
        return int(self.state[p]["step"]) if self.state.get(p) else 0

    def _bucket(self, group: Group, params: list[Tensor]) -> Bucket:
        t = self._taken(params[0]) + 1
        for p in params:
            entry = self.state[p]
            if not entry:
                entry["step"] = torch.tensor(0.0, dtype=torch.float32)
            for name in self.names(group):
                if name not in entry:
                    entry[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
        grads = [p.grad for p in params if p.grad is not None]
        return Bucket(t, real(params), real(grads), [self.state[p] for p in params])

    def state_dict(self) -> dict[str, Any]:
        """The state in torch.optim's own format; a warmup of :mod:`rectified.warmup` as plain values."""
        saved = super().state_dict()
        saved["param_groups"] = [save_warmup(group) for group in saved["param_groups"]]
        return saved

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state saved here or by the torch.optim class of the same name, of which it takes copies."""
        own = {
            key: {name: x.clone() if isinstance(x, Tensor) else x for name, x in entry.items()}
            for key, entry in state_dict["state"].items()
        }
        super().load_state_dict({**state_dict, "state": own})
        ids = [i for group in state_dict["param_groups"] for i in group["params"]]
        params = [p for group in self.param_groups for p in group["params"]]
        for i, p in zip(ids, params, strict=True):
            for name, x in own.get(i, {}).items():
                if name not in self.STATES:  # torch has cast numbers to the parameter's dtype
                    self.state[p][name] = x

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a pickled or a loaded state; what it lacks keeps its value. Raises before anything changes."""
        present = self.__dict__.get("param_groups")
        for i, group in enumerate(state["param_groups"]):
            for name, default in (present[i] if present else state["defaults"]).items():
                group.setdefault(name, default)
            if isinstance(group.get("warmup"), dict):
                group["warmup"] = from_plain(group["warmup"])
            self.check(group)
        for p, entry in state["state"].items():
            for name in self.STATES:
                if isinstance(p, Tensor) and name in entry and entry[name].shape != p.shape:
                    raise ValueError(
                        f"the saved {name} has shape {tuple(entry[name].shape)}, but its parameter {tuple(p.shape)}: "
                        "the state is of another model, or its parameters are in another order"
                    )
        super().__setstate__(state)


def save_warmup(group: Group) -> Group:
    """A saved group with its warmup as plain values; without it if it is not ours, which no checkpoint can hold."""
    warmup = group.get("warmup")
    if warmup is None:
        return group
    plain = to_plain(warmup)
    rest = {name: x for name, x in group.items() if name != "warmup"}
    return rest if plain is None else {**rest, "warmup": plain}


def real(xs: list[Tensor]) -> list[Tensor]:
    """Views of complex tensors as pairs of reals; others as they are."""
    return [torch.view_as_real(x) if x.is_complex() else x for x in xs]


def gradients(group: Group, bucket: Bucket) -> list[Tensor]:
    """What the moments take in: with the sign of `maximize`, and with L2 decay unless that is decoupled."""
    grads = bucket.grads
    if group.get("maximize"):
        grads = list(torch._foreach_neg(grads))
    if group["weight_decay"] and not group.get("decoupled_weight_decay"):
        grads = list(torch._foreach_add(grads, bucket.params, alpha=group["weight_decay"]))
    return grads


def decay(group: Group, bucket: Bucket) -> None:
    """theta *= 1 - lr * weight_decay, where that is decoupled."""
    if group["weight_decay"] and group.get("decoupled_weight_decay", True):
        torch._foreach_mul_(bucket.params, 1 - float(group["lr"]) * group["weight_decay"])


def adam_directions(group: Group, bucket: Bucket, grads: list[Tensor]) -> list[Tensor]:
    """Adam's moments take in the gradients; m_hat / (sqrt(v_hat) + eps), new tensors, by Adam's own kernels."""
    beta1, beta2 = map(float, group["betas"])
    found = [torch.zeros_like(m) for m in bucket.state("exp_avg")]
    root_c2 = math.sqrt(1 - beta2**bucket.t)
    adam_step(
        Tensors(found, bucket.state("exp_avg"), bucket.state("exp_avg_sq"), [], []),
        grads,
        scale=-root_c2 / (1 - beta1**bucket.t),
        betas=(beta1, beta2),
        eps=group["eps"] * root_c2,
    )
    return found


def adam_step(tensors: Tensors, grads: list[Tensor], scale: float, betas: tuple[float, float], eps: float) -> None:
    """theta -= scale * m / (sqrt(v) + eps), once m and v have taken in the gradients."""
    update = Update(scale, 0.0, *betas, eps, l2=0.0, decay=0.0, maximize=False, m_moves=True, grad_scale=None)
    kernel_for(tensors, grads)(tensors, grads, update)


def average(moments: list[Tensor], grads: list[Tensor], beta: float) -> None:
    """moment = beta moment + (1 - beta) g."""
    torch._foreach_lerp_(moments, grads, 1 - beta)


def average_squares(moments: list[Tensor], grads: list[Tensor], beta: float) -> None:
    """moment = beta moment + (1 - beta) g^2."""
    torch._foreach_mul_(moments, beta)
    torch._foreach_addcmul_(moments, grads, grads, 1 - beta)


def root(second: list[Tensor], eps: float) -> list[Tensor]:
    """sqrt(v) + eps, new tensors; above 0 where v is 0 and eps is too."""
    found = list(torch._foreach_sqrt(second))
    torch._foreach_add_(found, eps or torch.finfo(second[0].dtype).tiny)
    return found


def total(tensors: Iterable[Tensor]) -> float:
    """The sum of all their elements, of DTensors over all shards."""
    sums = (x.sum(dtype=torch.float64) for x in tensors)
    return sum(float(whole(x) if is_sharded(x) else x) for x in sums)


def subtract(params: list[Tensor], steps: list[Tensor], lr: float | Tensor) -> None:
    """theta -= lr * step, where lr may be a tensor on another device."""
    torch._foreach_add_(params, steps, alpha=-float(lr))
