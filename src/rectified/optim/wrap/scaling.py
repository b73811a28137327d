"""The learning rates of any optimizer, times omega for as long as a step takes."""

from typing import Any, Literal, get_args
from weakref import ReferenceType, WeakKeyDictionary, WeakMethod, finalize, ref

import torch
from torch import Tensor

from ...warmup import Warmup, as_warmup, steps_until, to_plain
from .._torch import has_step_hooks, register_first_pre_hook, version_of
from ..base import BaseOptimizer
from ..step.options import CLOCK, Group, omega_at, undebiased
from .compat import SecondMoment, refuse, second_moment, steps_taken, unwrapped

OnZero = Literal["hold", "skip"]

_BLOCK = 32  # steps whose omegas are computed in one go

# Which scaling acts on an optimizer: kept here, so that nothing is hidden on objects that are not ours.
_ACTIVE: "WeakKeyDictionary[torch.optim.Optimizer, ReferenceType[Scaling]]" = WeakKeyDictionary()


class Scaling:
    """What :func:`rectified.rectify` and :class:`rectified.WarmupLR` do around a step: lr times omega meanwhile.

    It acts by hooks on the optimizer that really steps: inside the wrapper of a trainer, whose own ``step`` may be a
    call that only accumulates. A group's clock lies in the group, where the optimizer's own ``state_dict`` finds it. It
    counts the steps in which a parameter of the group had a gradient. An optimizer that has stepped before goes on from
    the count in its states.

    It holds no reference to the optimizer, so that both are freed at once when nobody else holds them.

    Args:
        optimizer: the optimizer, or a wrapper around it.
        taken: the steps of a group whose states have no count.
        lasting: act for as long as the optimizer lives; if not, for as long as this object does.
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
        """What a copy needs to be attached to a copy of the optimizer."""
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

    def attach(self, optimizer: torch.optim.Optimizer, taken: int = 0) -> None:
        """Act on this optimizer's steps from now on; groups of which no count is known have taken `taken`.

        Raises:
            ValueError: it cannot be warmed up so. Nothing is changed then.
        """
        inner = unwrapped(optimizer)
        name = type(inner).__name__
        if isinstance(inner, BaseOptimizer) and any(group.get("warmup") is not None for group in inner.param_groups):
            raise ValueError(f"{name} has a warmup of its own, which this would be on top of")
        if active(inner) is not None:
            raise ValueError(f"{name} is warmed up already: two warmups would multiply")
        for index, group in enumerate(inner.param_groups):
            self.accept(inner, index, group)
        if not has_step_hooks(inner):
            raise ValueError(
                f"{name} is a wrapper whose steps cannot be watched: warm up the optimizer inside it, before it is "
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
        """Act no more, so that another warmup may take this one's place."""
        self.forget()
        for hook in self._hooks:
            hook.remove()
        _ACTIVE.pop(unwrapped(optimizer), None)

    def copied(self, optimizer: torch.optim.Optimizer) -> "Scaling":
        """The same for a copy of the optimizer; where the copy is acted upon already, what acts there."""
        return active(optimizer) or Scaling(optimizer, **self.__getstate__())

    def accept(self, optimizer: torch.optim.Optimizer, index: int, group: Group) -> None:
        """Raise where this group's steps cannot be warmed up so."""
        if "lr" not in group:
            raise ValueError(f"group {index} of {type(optimizer).__name__} has no lr that a warmup could scale")
        refuse(optimizer, group, self.warmup)
        self.omega(1, self.moment(optimizer, index, group))

    def clock(self, optimizer: torch.optim.Optimizer, group: Group) -> int:
        """How many steps the group has taken; a group without a clock, added or loaded since, gets it here."""
        if CLOCK not in group:
            group[CLOCK] = steps_taken(optimizer, group)
        steps: int = group[CLOCK]
        return steps

    def omegas(self, optimizer: torch.optim.Optimizer) -> list[float]:
        """For each group the factor of the step that it takes next."""
        optimizer = unwrapped(optimizer)
        return [
            self.omega(self.clock(optimizer, group) + 1, self.moment(optimizer, index, group))
            for index, group in enumerate(optimizer.param_groups)
        ]

    def omega(self, t: int, of: SecondMoment) -> float:
        """The factor of step t. Many are computed in one go: between two steps the caches hold none of it any more."""
        first, known = self._ahead.get(of, (t, []))
        if 0 <= t - first < len(known):
            return known[t - first]
        several = _BLOCK if self._foresees and known and t - first == len(known) else 1
        if len(self._ahead) > 99:  # a beta2 that is never the same
            self._ahead.clear()
        self._ahead[of] = t, [self._omega(t + i, of) for i in range(several)]
        return self._ahead[of][1][0]

    def _omega(self, t: int, of: SecondMoment) -> float:
        """For a v without bias correction the rectification includes it."""
        later = self._skips(of.beta2) if self.on_zero == "skip" else 0
        omega = omega_at(as_warmup(self.warmup), t + later, of.beta2)
        return omega if of.debiased else omega * undebiased(self.warmup, t, of.beta2)

    def moment(self, optimizer: torch.optim.Optimizer, index: int, group: Group) -> SecondMoment:
        """The group's beta2, read anew where what it was read from is another object; a tensor at every step."""
        key, value, moment = self._read.get(index, ("", None, None))
        if moment is not None and group.get(key) is value:
            return moment
        key, moment = second_moment(optimizer, group, self.beta2, self.warmup)
        value = group.get(key)
        if not isinstance(value, Tensor | list) and not any(isinstance(x, Tensor) for x in _parts(value)):
            self._read[index] = key, value, moment
        return moment

    def _skips(self, beta2: float) -> int:
        """The number of first steps with an omega of 0."""
        if beta2 not in self._skipped:
            first = steps_until(as_warmup(self.warmup), beta2, level=5e-324)
            if first is None:
                raise ValueError(f"{self.warmup!r} never gives an omega above 0 at beta2 = {beta2!r}")
            self._skipped[beta2] = first - 1
        return self._skipped[beta2]

    def before(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """Before a step: scale the lrs. A tensor lr is replaced meanwhile, since groups and others may share it."""
        self.forget()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            _refuse_capture()
        for group, omega in zip(optimizer.param_groups, self.omegas(optimizer), strict=True):  # may raise
            before = group["lr"]
            group["lr"] = meanwhile = before.detach() * omega if isinstance(before, Tensor) else before * omega
            self._scaled.append((group, omega, before, meanwhile, _version(meanwhile)))

    def after(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """After a step that was taken: restore, and count it for the groups that had a gradient."""
        found_inf = optimizer.__dict__.get("found_inf")
        skipped = found_inf is not None and isinstance(found_inf, Tensor) and found_inf.item()  # for a GradScaler
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

    def forget(self, *_: Any) -> None:
        """Restore the lrs of a step that was not taken."""
        for scaled in self._scaled:
            _restore(*scaled)
        self._scaled.clear()


class _WhileAlive:
    """A method of an object that this does not keep alive; nothing once the object is gone."""

    def __init__(self, method: Any) -> None:
        self._method = WeakMethod(method)

    def __call__(self, *args: Any) -> None:
        method = self._method()
        if method is not None:
            method(*args)


def _remove(hooks: list[Any]) -> None:
    for hook in hooks:
        hook.remove()


def active(optimizer: torch.optim.Optimizer) -> Scaling | None:
    """The scaling that acts on an optimizer, or inside a wrapper of it."""
    inner = unwrapped(optimizer)
    found = _ACTIVE.get(inner) if isinstance(inner, torch.optim.Optimizer) else None
    return None if found is None else found()


def _restore(group: Group, omega: float, before: Any, meanwhile: Any, version: int) -> None:
    """The lr as it was. Where the optimizer has set its own, that one, over omega."""
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


def _version(lr: Any) -> int:
    return version_of(lr) if isinstance(lr, Tensor) else 0


def _refuse_capture() -> None:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "a CUDA graph is captured of a step whose omega is computed on the host: every replay would repeat it. "
            "rectified's own optimizers have capturable=True for that"
        )


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()
