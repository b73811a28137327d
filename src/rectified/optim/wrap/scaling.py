"""Scaling the learning rates of any optimizer by omega during each step."""

from typing import Any, get_args
from weakref import ReferenceType, WeakKeyDictionary, WeakMethod, finalize, ref

import torch
from torch import Tensor

from ...warmup import Warmup, steps_until
from ...warmup.interface import OnZero, as_warmup
from ...warmup.plain import to_plain
from .._torch import has_step_hooks, register_first_pre_hook, version_of
from ..base import BaseOptimizer
from ..observe.feedback import Part, Undo, after_closure, observe, undo
from ..observe.foreign import last_steps, refuse_other_steps
from ..observe.remembered import FromMemory, all_over, memories, needs_slopes, observing
from ..step.options import CLOCK, Group, omega_at, undebiased
from .compat import SecondMoment, refuse, second_moment, steps_taken, unwrapped

_BLOCK = 32  # steps whose omegas are computed at once

# The scaling that acts on each optimizer, kept here instead of in attributes of objects that are not ours.
_ACTIVE: "WeakKeyDictionary[torch.optim.Optimizer, ReferenceType[Scaling]]" = WeakKeyDictionary()


class Scaling:
    """The scaling of lr by omega around each step, for :func:`rectified.rectify` and :class:`rectified.WarmupLR`.

    It uses hooks on the innermost optimizer, since the ``step`` of a trainer's wrapper may only accumulate gradients. A
    group's step count is stored in the group, so that the optimizer's own ``state_dict`` includes it. It counts the
    steps in which any parameter of the group had a gradient. An optimizer that has stepped before continues from the
    count in its states.

    It holds no reference to the optimizer, so both are freed as soon as nothing else refers to them.

    Args:
        optimizer: the optimizer, or a wrapper around it.
        taken: the number of steps of a group whose states have no count.
        lasting: whether to act for as long as the optimizer lives; otherwise for as long as this object does.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        warmup: Warmup,
        beta2: float | None,
        on_zero: OnZero,
        taken: int = 0,
        lasting: bool = True,
    ) -> None:
        if not isinstance(unwrapped(optimizer), torch.optim.Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}; it must be a torch.optim.Optimizer")
        as_warmup(warmup)
        if on_zero not in get_args(OnZero):
            raise ValueError(f"on_zero is {on_zero!r}; it must be 'hold' or 'skip'")
        self.__setstate__({"warmup": warmup, "beta2": beta2, "on_zero": on_zero, "lasting": lasting})
        self.attach(optimizer, taken)

    def __getstate__(self) -> dict[str, Any]:
        """The state from which a copy can be attached to a copy of the optimizer."""
        return {name: getattr(self, name) for name in ("warmup", "beta2", "on_zero", "lasting")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.warmup: Warmup = state["warmup"]
        self.beta2: float | None = state["beta2"]
        self.on_zero: OnZero = state["on_zero"]
        self.lasting: bool = state["lasting"]
        self._skipped: dict[float, int] = {}
        self._read: dict[int, tuple[str, Any, SecondMoment]] = {}  # a group's index -> what its beta2 was read from
        self._ahead: dict[SecondMoment, tuple[int, list[float]]] = {}  # the omegas from a step on
        self._foresees = to_plain(self.warmup) is not None  # another's may not be asked before its time
        # group, omega, lr before, lr meanwhile, its version
        self._scaled: list[tuple[Group, float, Any, Any, int]] = []
        self._hooks: list[Any] = []
        self.loss: Any = None  # of the next step, if it is known
        self._observed: Undo = []

    def attach(self, optimizer: torch.optim.Optimizer, taken: int = 0) -> None:
        """Start scaling this optimizer's steps; groups without a known count have taken `taken` steps.

        Raises:
            ValueError: the optimizer cannot be warmed up like this. Nothing is changed then.
        """
        inner = unwrapped(optimizer)
        name = type(inner).__name__
        if isinstance(inner, BaseOptimizer) and any(group.get("warmup") is not None for group in inner.param_groups):
            raise ValueError(f"{name} has its own warmup, which this one would multiply")
        if active(inner) is not None:
            raise ValueError(f"{name} already has a warmup: two warmups would multiply")
        for index, group in enumerate(inner.param_groups):
            self.accept(inner, index, group)
        if not has_step_hooks(inner):
            raise ValueError(
                f"{name} is a wrapper whose steps cannot be observed: warm up the optimizer inside it, before it is "
                "wrapped (with Accelerate, before prepare)"
            )
        before, after, forget = (
            method if self.lasting else _WhileAlive(method) for method in (self.before, self.after, self.forget)
        )
        self._hooks = [
            register_first_pre_hook(inner, before),
            inner.register_step_post_hook(after),
            inner.register_state_dict_pre_hook(forget),
        ]
        _ACTIVE[inner] = ref(self)
        if not self.lasting:
            finalize(self, _remove, self._hooks)
        for group in inner.param_groups:
            if not self.clock(inner, group):
                group[CLOCK] = taken

    def detach(self, optimizer: torch.optim.Optimizer) -> None:
        """Stop scaling, so that another warmup can replace this one."""
        self.forget()
        for hook in self._hooks:
            hook.remove()
        _ACTIVE.pop(unwrapped(optimizer), None)

    def copied(self, optimizer: torch.optim.Optimizer) -> "Scaling":
        """The scaling for a copy of the optimizer: the one that already acts on it, or a new one."""
        return active(optimizer) or Scaling(optimizer, **self.__getstate__())

    def accept(self, optimizer: torch.optim.Optimizer, index: int, group: Group) -> None:
        """Raise if this group cannot be warmed up."""
        if "lr" not in group:
            raise ValueError(f"group {index} of {type(optimizer).__name__} has no lr to scale")
        refuse(optimizer, group, self.warmup)
        if "slopes" in as_warmup(self.warmup).observes:
            refuse_other_steps(optimizer, group)
        self.omega(1, self.moment(optimizer, index, group), group)

    def clock(self, optimizer: torch.optim.Optimizer, group: Group) -> int:
        """The step count of a group; a group that was added or loaded since gets its count here."""
        if CLOCK not in group:
            group[CLOCK] = steps_taken(optimizer, group)
        steps: int = group[CLOCK]
        return steps

    def omegas(self, optimizer: torch.optim.Optimizer) -> list[float]:
        """The factor of each group's next step."""
        optimizer = unwrapped(optimizer)
        return [
            self.omega(self.clock(optimizer, group) + 1, self.moment(optimizer, index, group), group)
            for index, group in enumerate(optimizer.param_groups)
        ]

    def omega(self, t: int, of: SecondMoment, group: Group) -> float:
        """The factor of step t; many are computed at once, since caches are cold between steps."""
        if observing(self.warmup):
            warmup = as_warmup(self.warmup)
            return omega_at(FromMemory(warmup, memories(group, warmup)), t, of.beta2)
        first, known = self._ahead.get(of, (t, []))
        if 0 <= t - first < len(known):
            return known[t - first]
        several = _BLOCK if self._foresees and known and t - first == len(known) else 1
        if len(self._ahead) > 99:  # a beta2 that is never the same
            self._ahead.clear()
        self._ahead[of] = t, [self._omega(t + i, of) for i in range(several)]
        return self._ahead[of][1][0]

    def _omega(self, t: int, of: SecondMoment) -> float:
        """The factor of step t; for a v without bias correction, rectification includes it."""
        later = self._skips(of.beta2) if self.on_zero == "skip" else 0
        omega = omega_at(as_warmup(self.warmup), t + later, of.beta2)
        return omega if of.debiased else omega * undebiased(self.warmup, t, of.beta2)

    def moment(self, optimizer: torch.optim.Optimizer, index: int, group: Group) -> SecondMoment:
        """The group's second moment, read again if its source object changed; a tensor is read at every step."""
        key, value, moment = self._read.get(index, ("", None, None))
        if moment is not None and group.get(key) is value:
            return moment
        key, moment = second_moment(optimizer, group, self.beta2, self.warmup)
        value = group.get(key)
        if not isinstance(value, Tensor | list) and not any(isinstance(x, Tensor) for x in _parts(value)):
            self._read[index] = key, value, moment
        return moment

    def _skips(self, beta2: float) -> int:
        """The number of initial steps with omega = 0."""
        if beta2 not in self._skipped:
            first = steps_until(as_warmup(self.warmup), beta2, level=5e-324)
            if first is None:
                raise ValueError(f"{self.warmup!r} never gives an omega above 0 at beta2 = {beta2!r}")
            self._skipped[beta2] = first - 1
        return self._skipped[beta2]

    def before(self, optimizer: torch.optim.Optimizer, args: Any = (), kwargs: Any = None) -> Any:
        """Pre-step hook: scale the lrs. A tensor lr is replaced temporarily, since it may be shared."""
        self.forget()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            _refuse_capture()
        if not observing(self.warmup):
            self._scale(optimizer)
            return None

        def observed(loss: Any) -> None:
            self._restore_lrs()
            self.loss = self.loss if loss is None else loss
            self._observe(optimizer)
            self._scale(optimizer)

        # A closure makes the gradients that the warmup observes.
        replaced = after_closure(optimizer, args, kwargs or {}, observed)
        if replaced is None:
            observed(None)
        else:
            self._scale(optimizer)
        return replaced

    def _scale(self, optimizer: torch.optim.Optimizer) -> None:
        for group, omega in zip(optimizer.param_groups, self.omegas(optimizer), strict=True):  # may raise
            before = group["lr"]
            group["lr"] = meanwhile = before.detach() * omega if isinstance(before, Tensor) else before * omega
            self._scaled.append((group, omega, before, meanwhile, _version(meanwhile)))

    def _observe(self, optimizer: torch.optim.Optimizer) -> None:
        """Pass what the last step did to a warmup that observes the run."""
        warmup, loss = as_warmup(self.warmup), self.loss
        self.loss = None
        if _is_skipped(optimizer):
            return
        parts = []
        for index, group in enumerate(optimizer.param_groups):
            t = self.clock(optimizer, group) + 1
            is_over = t > 1 and all_over(memories(group, warmup))
            if not is_over and any(p.grad is not None for p in group["params"]):
                last = last_steps(optimizer, group, t - 1) if t > 1 and needs_slopes(warmup, t) else ()
                beta2 = self.moment(optimizer, index, group).beta2
                parts.append(Part(group, warmup, t, t - 1, beta2, last))
        self._observed = observe(parts, loss)

    def after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Post-step hook: restore the lrs, and count the step for the groups that had a gradient."""
        skipped = _is_skipped(optimizer)
        for group, omega, before, meanwhile, version in self._scaled:
            _restore(group, omega, before, meanwhile, version)
            if skipped:
                continue
            for p in group["params"]:
                if p.grad is not None:
                    group[CLOCK] += 1
                    group["omega"] = omega
                    break
        self._scaled.clear()
        self._observed = []

    def lr_before(self, group: Group) -> Any:
        """The lr of a group without omega, also during a step."""
        return next((before for scaled, _, before, _, _ in self._scaled if scaled is group), group["lr"])

    def forget(self, *_: Any) -> None:
        """Restore the lrs and what the warmup remembers, after a step that was not taken."""
        self._restore_lrs()
        undo(self._observed)
        self._observed = []

    def _restore_lrs(self) -> None:
        for scaled in self._scaled:
            _restore(*scaled)
        self._scaled.clear()


class _WhileAlive:
    """A weak reference to a method, which does nothing once its object is gone."""

    def __init__(self, method: Any) -> None:
        self._method = WeakMethod(method)

    def __call__(self, *args: Any) -> Any:
        method = self._method()
        return None if method is None else method(*args)


def _remove(hooks: list[Any]) -> None:
    for hook in hooks:
        hook.remove()


def active(optimizer: torch.optim.Optimizer) -> Scaling | None:
    """The scaling that acts on an optimizer, or on the optimizer inside a wrapper."""
    inner = unwrapped(optimizer)
    found = _ACTIVE.get(inner) if isinstance(inner, torch.optim.Optimizer) else None
    return None if found is None else found()


def _restore(group: Group, omega: float, before: Any, meanwhile: Any, version: int) -> None:
    """Restore the lr; if the optimizer set its own during the step, divide that one by omega."""
    now = group["lr"]
    untouched = now is meanwhile and _version(now) == version
    group["lr"] = before
    if untouched or not omega or (now is not meanwhile and bool(now == meanwhile)):
        return
    if isinstance(before, Tensor):
        with torch.no_grad():
            before.copy_(torch.as_tensor(now / omega))
    else:
        group["lr"] = now / omega


def _is_skipped(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a GradScaler that leaves unscaling to the optimizer has found an infinite gradient."""
    found_inf = optimizer.__dict__.get("found_inf")
    return isinstance(found_inf, Tensor) and bool(found_inf.item())


def _version(lr: Any) -> int:
    return version_of(lr) if isinstance(lr, Tensor) else 0


def _refuse_capture() -> None:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "a CUDA graph captures a step whose omega is computed on the host, which every replay would repeat. "
            "Use one of rectified's own optimizers with capturable=True"
        )


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()
