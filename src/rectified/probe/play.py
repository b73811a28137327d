"""Playing a training configuration without training: lr, omega and betas of every step, on copies."""

import copy
import inspect
import warnings
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..messages import shown
from ..optim.step.options import Group, value_of
from ..optim.wrap.compat import steps_taken, unwrapped
from ..optim.wrap.schedule import WarmupLR
from .adam_state import omega_function

Interval = Literal["step", "epoch"]
FULL = 0.999  # of the peak: a ramp has ended
NEARLY = 0.9  # of the peak: no warmup, or one that only approaches its end has ended


@dataclass(frozen=True)
class PlayedGroup:
    """The plan of one parameter group: what each step will use.

    Attributes:
        index: in ``param_groups``; ``same`` lists the other groups with the same plan.
        options: the group's options.
        taken: the number of steps that it has taken before.
        lr: of step 1, 2, ..., as the schedule sets it, without omega.
        omega: the warmup's factor of the same steps.
        base: the lr that the schedule multiplies.
    """

    index: int
    same: tuple[int, ...]
    options: Group
    taken: int
    lr: Sequence[float]
    omega: Sequence[float]
    base: float

    @property
    def indexes(self) -> tuple[int, ...]:
        return (self.index, *self.same)

    def effective(self, t: int) -> float:
        """lr * omega of step t, from 1."""
        return self.lr[t - 1] * self.omega[t - 1]

    @cached_property
    def peak(self) -> float:
        """The largest lr * omega of the run."""
        return max(map(float.__mul__, self.lr, self.omega), default=0.0)

    @cached_property
    def lr_ramp(self) -> int:
        """The number of steps before the schedule's lr first reaches its maximum; 0 if it starts near it."""
        return _ramp(self.lr)

    @cached_property
    def omega_ramp(self) -> int:
        """The number of steps before omega reaches 0.9; all steps if it does not; 0 if it starts there."""
        return next((t for t, omega in enumerate(self.omega) if omega >= NEARLY), len(self.omega))

    @property
    def omega_length(self) -> int:
        """The number of steps before omega reaches 1, or 0.9 if it only approaches 1."""
        return next((t for t, omega in enumerate(self.omega, 1) if omega >= FULL), self.omega_ramp)

    @cached_property
    def betas(self) -> tuple[float, float] | None:
        """beta1 and beta2; None without them."""
        betas = self.options.get("betas")
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            return None
        return value_of(betas[0]), value_of(betas[1])


def _ramp(values: Sequence[float]) -> int:
    peak = max(values, default=0.0)
    if not peak or values[0] >= NEARLY * peak:
        return 0
    return next(t for t, x in enumerate(values) if x >= FULL * peak)


@dataclass(frozen=True)
class Played:
    """A whole configuration, played over the steps of a run.

    Attributes:
        optimizer: the innermost optimizer.
        schedulers: the schedulers as they were given, without wrappers.
        steps: N, the number of optimizer steps.
        accumulation, processes, batches_per_epoch: as in :func:`rectified.check`; the last one may be unknown.
        interval: how often a scheduler steps.
        groups: one entry per distinct plan.
        model: the model, if known.
        scheduler_steps: how often a scheduler is stepped there.
        beyond: plays a number of further steps and returns the lr of a group in all of them.
        calls: the lr of group 0 after each of a number of calls of the schedulers' step.
        refusal: the step at which a scheduler raised an error, and the error.
    """

    optimizer: torch.optim.Optimizer
    schedulers: tuple[Any, ...]
    steps: int
    accumulation: int
    processes: int
    batches_per_epoch: int | None
    interval: Interval
    groups: tuple[PlayedGroup, ...]
    model: torch.nn.Module | None
    scheduler_steps: int
    beyond: Callable[[int, int], Sequence[float]] = field(repr=False)
    calls: Callable[[int], Sequence[float]] = field(repr=False)
    refusal: tuple[int, str] | None = None

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps per epoch; a last, incomplete accumulation takes one, too."""
        return None if self.batches_per_epoch is None else -(-self.batches_per_epoch // self.accumulation)


class _StandIn(torch.optim.Optimizer):
    """An optimizer with the same groups and one number for each group's parameters."""

    def __init__(self, groups: Sequence[Group], defaults: dict[str, Any]) -> None:
        super().__init__([{"params": [torch.zeros(1)]} for _ in groups], {"lr": 0.0})
        self.defaults = dict(defaults)
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update({name: _copy(x) for name, x in group.items() if name != "params"})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take no step."""


def _copy(x: Any) -> Any:
    """A copy of an option; schedulers write into a tensor lr."""
    return x.detach().clone() if isinstance(x, Tensor) else copy.copy(x)


class _Player:
    """Steps copies of the schedulers around a stand-in, and records the lr of every group."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, schedulers: Sequence[Any], every: int, repeats: int, model: Any
    ) -> None:
        self.stand_in = _StandIn(optimizer.param_groups, optimizer.defaults)
        memo: dict[int, Any] = {id(optimizer): self.stand_in, id(model): model}
        self.schedulers = []
        for scheduler in schedulers:
            if isinstance(scheduler, WarmupLR) or _needs_a_metric(scheduler) or not _fits(scheduler, optimizer):
                continue  # the first is omega, the second depends on the run; what does not fit is a finding
            memo[id(getattr(scheduler, "optimizer", optimizer))] = self.stand_in
            memo |= {id(owner): owner for owner in _owners(scheduler)}
            try:
                self.schedulers.append(copy.deepcopy(scheduler, dict(memo)))
            except Exception as error:
                raise ValueError(
                    f"the scheduler {type(scheduler).__name__} cannot be copied to play it ({error}); pass a function "
                    "of the step, from 0, to a factor on the lr instead"
                ) from error
        self.every, self.repeats = every, repeats
        self.lrs = [array("d") for _ in self.stand_in.param_groups]
        self.refusal: tuple[int, str] | None = None
        self.due = every
        for one in self.schedulers:
            if isinstance(one, FunctionSchedule):
                one.step()  # as torch's schedulers do when they are made

    def play(self, steps: int) -> None:
        """Play that many further steps."""
        groups = self.stand_in.param_groups
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a stand-in never steps
            for _ in range(steps):
                for group, lrs in zip(groups, self.lrs, strict=True):
                    lr = group["lr"]
                    lrs.append(lr if type(lr) is float else value_of(lr))
                if self.refusal is not None:
                    continue
                t = len(self.lrs[0])
                if t < self.due:
                    continue
                self.due += self.every
                for scheduler in self.schedulers:
                    for _ in range(self.repeats):
                        try:
                            scheduler.step()
                        except Exception as error:
                            self.refusal = (t + 1, str(error))
                            break


def _owners(scheduler: Any) -> Iterator[Any]:
    """The objects whose methods a scheduler calls, which may be whole models: they are not copied."""
    for inner in getattr(scheduler, "_schedulers", ()):
        yield from _owners(inner)
    for function in getattr(scheduler, "lr_lambdas", ()):
        while isinstance(function, partial):
            yield from (x for x in (*function.args, *function.keywords.values()) if isinstance(x, torch.nn.Module))
            function = function.func
        yield getattr(function, "__self__", None)


def _needs_a_metric(scheduler: Any) -> bool:
    """Whether a scheduler's step must be given something, as that of ReduceLROnPlateau."""
    try:
        parameters = inspect.signature(scheduler.step).parameters.values()
    except (TypeError, ValueError):
        return False
    return any(x.default is x.empty and x.kind in (x.POSITIONAL_ONLY, x.POSITIONAL_OR_KEYWORD) for x in parameters)


def _fits(scheduler: Any, optimizer: torch.optim.Optimizer) -> bool:
    """Whether a scheduler belongs to this optimizer and its groups."""
    bases = getattr(scheduler, "base_lrs", None)
    own = unwrapped(getattr(scheduler, "optimizer", optimizer))
    return own is optimizer and (bases is None or len(bases) == len(optimizer.param_groups))


class FunctionSchedule:
    """A function of the step, from 0, to a factor on the lr, with a scheduler's interface."""

    def __init__(self, optimizer: torch.optim.Optimizer, function: Callable[[int], float]) -> None:
        self.optimizer, self.function, self.last_epoch = optimizer, function, -1
        self.base_lrs = [group.get("initial_lr", group["lr"]) for group in optimizer.param_groups]

    def step(self) -> None:
        """Set the lr of the next step."""
        self.last_epoch += 1
        for group, base in zip(self.optimizer.param_groups, self.base_lrs, strict=True):
            group["lr"] = base * self.function(self.last_epoch)


def inner_schedulers(scheduler: Any) -> tuple[Any, ...]:
    """The schedulers in a list and inside wrappers, such as Accelerate's.

    Raises:
        TypeError: one is neither a scheduler nor a function of the step.
    """
    if scheduler is None:
        return ()
    found = []
    for one in scheduler if isinstance(scheduler, list | tuple) else [scheduler]:
        while not isinstance(one, LRScheduler) and isinstance(getattr(one, "scheduler", None), LRScheduler):
            one = one.scheduler
        if not (isinstance(one, LRScheduler | ReduceLROnPlateau) or callable(one) or callable(getattr(one, "step", 0))):
            raise TypeError(
                f"scheduler is {shown(one)}; it must be a torch LRScheduler, a list of them, or a function of the step "
                "to a factor on the lr"
            )
        found.append(one)
    return tuple(found)


def play(
    optimizer: Any,
    scheduler: Any,
    steps: int,
    accumulation: int = 1,
    processes: int = 1,
    batches_per_epoch: int | None = None,
    interval: Interval = "step",
    scheduler_steps: int = 1,
    model: torch.nn.Module | None = None,
) -> Played:
    """Play a configuration; arguments as in :func:`rectified.check`."""
    inner = unwrapped(optimizer)
    if not isinstance(inner, torch.optim.Optimizer):
        raise TypeError(f"optimizer is {shown(optimizer)}; it must be a torch.optim.Optimizer")
    given = inner_schedulers(scheduler)
    schedulers = [one if hasattr(one, "step") else FunctionSchedule(inner, one) for one in given]
    if not inner.param_groups:
        raise ValueError(f"{type(inner).__name__} has no parameter groups, so there is nothing to check")
    every = 1
    if interval == "epoch":
        if batches_per_epoch is None:
            raise ValueError("interval is 'epoch', and batches_per_epoch is unknown: pass batches_per_epoch=")
        every = -(-batches_per_epoch // accumulation)
    player = _Player(inner, schedulers, every, scheduler_steps, model)
    player.play(steps)

    def beyond(further: int, index: int) -> Sequence[float]:
        player.play(max(0, steps + further - len(player.lrs[0])))
        return player.lrs[index][: steps + further]

    def calls(count: int) -> Sequence[float]:
        single = _Player(inner, schedulers, 1, 1, model)
        single.play(count)
        return single.lrs[0]

    return Played(
        optimizer=inner,
        schedulers=given,
        steps=steps,
        accumulation=accumulation,
        processes=processes,
        batches_per_epoch=batches_per_epoch,
        interval=interval,
        groups=_distinct(inner, [lrs[:steps] for lrs in player.lrs], steps),
        model=model,
        scheduler_steps=scheduler_steps,
        beyond=beyond,
        calls=calls,
        refusal=player.refusal,
    )


def _distinct(optimizer: torch.optim.Optimizer, lrs: Sequence[Sequence[float]], steps: int) -> tuple[PlayedGroup, ...]:
    """One entry for all groups that have the same plan."""
    found: dict[Any, list[int]] = {}
    for index, group in enumerate(optimizer.param_groups):
        options = tuple(f"{name}={x!r}" for name, x in group.items() if name not in ("params", "param_names"))
        found.setdefault((bytes(lrs[index]), options, steps_taken(optimizer, group)), []).append(index)  # type: ignore[arg-type]
    entries = []
    for first, *same in found.values():
        group = optimizer.param_groups[first]
        taken = steps_taken(optimizer, group)
        entries.append(
            PlayedGroup(
                index=first,
                same=tuple(same),
                options=group,
                taken=taken,
                lr=lrs[first],
                omega=_omegas(optimizer, first, taken, steps),
                base=value_of(group.get("initial_lr", group["lr"])),
            )
        )
    return tuple(entries)


def _omegas(optimizer: torch.optim.Optimizer, index: int, taken: int, steps: int) -> Sequence[float]:
    """omega of the next steps; 0 for a RAdam of torch's that never leaves its start."""
    try:
        omega = omega_function(optimizer, index)
        return array("d", map(omega, range(taken + 1, taken + steps + 1)))
    except ValueError:
        return array("d", bytes(8 * steps))
