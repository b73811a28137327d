"""The learning rates of any optimizer, times omega for as long as a step takes."""

from typing import Any, Literal, get_args
from weakref import ref

import torch
from torch import Tensor

from ...warmup import Warmup, as_warmup, steps_until, to_plain
from ..adam import Adam
from ..step.options import Group, omega_at, undebiased
from .compat import SecondMoment, refuse, second_moment, steps_taken

OnZero = Literal["hold", "skip"]

_BLOCK = 32  # steps whose omegas are computed in one go
CLOCK = "warmup_steps"  # the key in a group: how many steps it has taken


class Scaling:
    """What :func:`rectified.rectify` and :class:`rectified.WarmupLR` do around a step.

    A group's clock lies in the group, where the optimizer's own ``state_dict`` finds it. It counts the steps in which a
    parameter of the group had a gradient. An optimizer that has stepped before goes on from the count in its states.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup: Warmup, beta2: float | None, on_zero: OnZero, taken: int = 0
    ) -> None:
        if not isinstance(optimizer, torch.optim.Optimizer):
            raise TypeError(f"optimizer is {optimizer!r}; it must be a torch.optim.Optimizer")
        as_warmup(warmup)
        if on_zero not in get_args(OnZero):
            raise ValueError(f"on_zero is {on_zero!r}; it must be 'hold' or 'skip'")
        if isinstance(optimizer, Adam) and any(group["warmup"] is not None for group in optimizer.param_groups):
            raise ValueError(f"{type(optimizer).__name__} has a warmup of its own, which this would be on top of")
        other = getattr(optimizer, "_scaled_by", None)
        if other is not None and other() is not None:
            raise ValueError(f"{type(optimizer).__name__} is warmed up already: two warmups would multiply")
        self.optimizer, self.warmup, self.beta2, self.on_zero = optimizer, warmup, beta2, on_zero
        self._offsets: dict[float, int] = {}
        self._read: dict[int, tuple[str, Any, SecondMoment]] = {}  # a group's index -> what its beta2 was read from
        self._ahead: dict[SecondMoment, tuple[int, list[float]]] = {}  # the omegas from a step on
        self._foresees = to_plain(warmup) is not None  # another's may not be asked before its time
        self._scaled: list[tuple[Group, float, Any, Any]] = []  # group, omega, lr before, lr meanwhile
        for index, group in enumerate(optimizer.param_groups):
            self.accept(index, group)
        optimizer._scaled_by = ref(self)  # type: ignore[attr-defined]
        self.begin(taken)

    def accept(self, index: int, group: Group) -> None:
        """Raise where this group's steps cannot be warmed up so."""
        if "lr" not in group:
            raise ValueError(f"group {index} of {type(self.optimizer).__name__} has no lr that a warmup could scale")
        refuse(self.optimizer, group, self.warmup)
        self.omega(1, self.moment(index, group))

    def begin(self, taken: int = 0) -> None:
        """Give a clock to each group that has none: a new one, or one of a save from before there was a warmup."""
        self._read = {}
        for group in self.optimizer.param_groups:
            if CLOCK not in group:
                group[CLOCK] = steps_taken(self.optimizer, group) or taken

    def omegas(self) -> list[float]:
        """Of each group the factor of the step that it takes next."""
        groups = self.optimizer.param_groups
        if len(groups) == 1:
            return [self.omega(groups[0][CLOCK] + 1, self.moment(0, groups[0]))]
        found: list[float] = []
        known: dict[Any, float] = {}
        for index, group in enumerate(groups):
            at = group[CLOCK] + 1, self.moment(index, group)
            if at not in known:
                known[at] = self.omega(*at)
            found.append(known[at])
        return found

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
        later = self._offset(of.beta2) if self.on_zero == "skip" else 0
        omega = omega_at(self.warmup, t + later, of.beta2)
        return omega if of.debiased else omega * undebiased(self.warmup, t, of.beta2)

    def moment(self, index: int, group: Group) -> SecondMoment:
        """The group's beta2, read anew where what it was read from is another object; a tensor at every step."""
        key, value, moment = self._read.get(index, ("", None, None))
        if moment is not None and group.get(key) is value:
            return moment
        key, moment = second_moment(self.optimizer, group, self.beta2, self.warmup)
        value = group.get(key)
        if not isinstance(value, Tensor | list) and not any(isinstance(x, Tensor) for x in _parts(value)):
            self._read[index] = key, value, moment
        return moment

    def _offset(self, beta2: float) -> int:
        if beta2 not in self._offsets:
            first = steps_until(self.warmup, beta2, level=5e-324)
            if first is None:
                raise ValueError(f"{self.warmup!r} never gives an omega above 0 at beta2 = {beta2!r}")
            self._offsets[beta2] = first - 1
        return self._offsets[beta2]

    def scale(self) -> None:
        """Before the step."""
        if self._scaled:
            self.forget()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            _refuse_capture()
        groups = self.optimizer.param_groups
        for group, omega in zip(groups, self.omegas(), strict=True):  # may raise: nothing is scaled yet
            before = lr = group["lr"]
            if isinstance(lr, Tensor):
                before = lr.detach().clone()
                with torch.no_grad():
                    lr.mul_(omega)  # in place: others may hold this tensor
            else:
                group["lr"] = lr = lr * omega
            self._scaled.append((group, omega, before, lr))

    def finish(self) -> None:
        """After a step that was taken: restore, and count it for the groups that had a gradient."""
        found_inf = self.optimizer.__dict__.get("found_inf")
        skipped = found_inf is not None and isinstance(found_inf, Tensor) and found_inf.item()  # for a GradScaler
        for group, omega, before, meanwhile in self._scaled:
            _restore(group, omega, before, meanwhile)
            if skipped:
                continue
            for p in group["params"]:
                if p.grad is not None:
                    group[CLOCK] += 1
                    group["omega"] = omega
                    break
        self._scaled.clear()

    def forget(self) -> None:
        """Restore the lrs of a step that was not taken."""
        for scaled in self._scaled:
            _restore(*scaled)
        self._scaled.clear()

    def end(self) -> None:
        """Let another warmup take this one's place."""
        self.forget()
        del self.optimizer._scaled_by  # type: ignore[attr-defined]


def _restore(group: Group, omega: float, before: Any, meanwhile: Any) -> None:
    """The lr as it was. Where the optimizer has set its own, that one, over omega."""
    now = group["lr"]
    if now is meanwhile:
        if isinstance(now, Tensor):
            with torch.no_grad():
                now.copy_(before)
        else:
            group["lr"] = before
    elif now == meanwhile or not omega:
        group["lr"] = before
    else:
        group["lr"] = now / omega


def _refuse_capture() -> None:
    if torch.cuda.is_current_stream_capturing():
        raise RuntimeError(
            "a CUDA graph is captured of a step whose omega is computed on the host: every replay would repeat it. "
            "rectified's own optimizers have capturable=True for that"
        )


def _parts(value: Any) -> tuple[Any, ...]:
    return value if isinstance(value, tuple) else ()
