"""A whole configuration, played over the steps of a run."""

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from ...messages import shown
from ...optim.step.options import Group
from ...optim.wrap.compat import unwrapped
from .curve import NEARLY, as_tensor, omega_length, warmup_length
from .own_warmup import adam_betas, number_of, omega_function, taken_by
from .player import Far, Player, player_of
from .schedule_tree import FunctionSchedule, can_be_played, fits, given_schedulers, is_function

Interval = Literal["step", "epoch"]
_SAMPLES = 20_000  # steps that are looked at to find a schedule's end, if any step can be computed by itself
_FURTHEST = 300_000  # steps that are played one by one for that
_LR_OPTIONS = ("params", "param_names", "lr", "initial_lr", "max_lr", "min_lr", "lr_scale", "weight_decay")
_SAME_SHAPE = 1e-9


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
        betas: beta1 and beta2 of an optimizer that averages squared gradients; None for others.
        omega_length: the steps until omega is 1, or 0.9 if it only approaches 1, even beyond the run; 0 without one.
    """

    index: int
    same: tuple[int, ...]
    options: Group
    taken: int
    lr: Sequence[float]
    omega: Sequence[float]
    base: float
    betas: tuple[float, float] | None
    omega_length: int

    @property
    def indexes(self) -> tuple[int, ...]:
        """The groups with this plan."""
        return tuple(sorted((self.index, *self.same)))

    def effective(self, t: int) -> float:
        """lr * omega of step t, from 1."""
        return self.lr[t - 1] * self.omega[t - 1]

    @cached_property
    def curve(self) -> Tensor:
        """lr * omega of all steps."""
        return as_tensor(self.lr) * as_tensor(self.omega)

    @cached_property
    def peak(self) -> float:
        """The largest lr * omega of the run."""
        return float(self.curve.max())

    @cached_property
    def largest_lr(self) -> float:
        """The largest lr of the run, without omega."""
        return float(as_tensor(self.lr).max())

    @cached_property
    def lr_length(self) -> int:
        """The length that the schedule's warmup was set to; 0 without one."""
        return warmup_length(self.lr)

    @property
    def warmup(self) -> int:
        """The length of the longer one of the two warmups."""
        return max(self.lr_length, self.omega_length)

    @cached_property
    def is_sound(self) -> bool:
        """Whether every lr is a finite number of 0 or more; rounding below 0 does not count."""
        lr = as_tensor(self.lr)
        return bool(lr.isfinite().all() and lr.min() >= -1e-9 * lr.abs().max())


@dataclass(frozen=True)
class Played:
    """A whole configuration, played over the steps of a run.

    Attributes:
        optimizer: the innermost optimizer.
        schedulers: the schedulers as they were given, without wrappers.
        steps: N, the number of optimizer steps.
        accumulation, processes, batches_per_epoch: as in :func:`rectified.check`; the last one may be unknown.
        interval: how often a scheduler steps.
        groups: one entry per distinct plan with a sound lr.
        unsound: one entry per distinct plan whose lr is negative or not finite at some step; only one rule reads them.
        model: the model, if known.
        scheduler_steps: how often a scheduler is stepped there.
        beyond: plays a number of further steps and returns the lr of a group in all of them.
        far: the lr of every group in that many optimizer steps, sampled; None if it takes too long.
        calls: the lr of every group after each of that many calls of the schedulers' step, sampled.
        alone: the lr of a group if a single scheduler steps.
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
    unsound: tuple[PlayedGroup, ...]
    model: torch.nn.Module | None
    scheduler_steps: int
    beyond: Callable[[int, int], Sequence[float]] = field(repr=False)
    far: Callable[[int], Far | None] = field(repr=False)
    calls: Callable[[int], Far | None] = field(repr=False)
    alone: Callable[[Any, int], Sequence[float]] = field(repr=False)
    refusal: tuple[int, str] | None = None

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps per epoch; a last, incomplete accumulation takes one, too."""
        return None if self.batches_per_epoch is None else -(-self.batches_per_epoch // self.accumulation)

    @property
    def is_incomplete(self) -> bool:
        """Whether a scheduler belongs to other groups or another optimizer, so that the lr that was played lacks it."""
        return not all(fits(scheduler, self.optimizer) for scheduler in self.schedulers)

    @cached_property
    def shapes(self) -> tuple[PlayedGroup, ...]:
        """One entry for all groups whose lr differs by a factor only: the one with the largest lr."""
        found: list[list[PlayedGroup]] = []
        for group in sorted(self.groups, key=lambda group: -group.largest_lr):
            alike = next((several for several in found if _same_shape(several[0], group)), None)
            if alike is None:
                found.append([group])
            else:
                alike.append(group)
        merged = [
            replace(first, same=(*first.same, *(i for group in rest for i in group.indexes))) for first, *rest in found
        ]
        return tuple(sorted(merged, key=lambda group: group.indexes))


def _same_shape(a: PlayedGroup, b: PlayedGroup) -> bool:
    if a.omega is not b.omega or (a.taken, a.betas) != (b.taken, b.betas) or not a.base * b.largest_lr:
        return a.omega is b.omega and not a.largest_lr and not b.largest_lr
    x, y = (as_tensor(group.lr) / group.largest_lr for group in (a, b))
    share = b.largest_lr / a.largest_lr
    return abs(share * a.base - b.base) <= _SAME_SHAPE * b.base and bool(((x - y).abs() <= _SAME_SHAPE).all())


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
    given = given_schedulers(scheduler)
    if not inner.param_groups:
        raise ValueError(f"{type(inner).__name__} has no parameter groups, so there is nothing to check")
    every = 1
    if interval == "epoch":
        if batches_per_epoch is None:
            raise ValueError("interval is 'epoch', and batches_per_epoch is unknown: pass batches_per_epoch=")
        every = -(-batches_per_epoch // accumulation)
    schedulers = [FunctionSchedule(inner, one) if is_function(one) else one for one in given]

    def player(some: Iterable[Any], every: int, repeats: int) -> Player:
        return player_of(inner, [one for one in some if can_be_played(one, inner)], every, repeats, model)

    whole = player(schedulers, every, scheduler_steps)
    whole.play(steps)

    def beyond(further: int, index: int) -> Sequence[float]:
        whole.play(max(0, steps + further - len(whole.lrs[0])))
        return whole.lrs[index][: steps + further]

    def sampled(count: int, repeats: int) -> Far | None:
        found = player(schedulers, 1, repeats).sample(count, _SAMPLES)
        return found if found or count > _FURTHEST else player(schedulers, 1, repeats).sample(count, _FURTHEST)

    def alone(one: Any, index: int) -> Sequence[float]:
        single = player([one], every, scheduler_steps)
        single.play(steps)
        return single.lrs[index]

    groups = _distinct(inner, [lrs[:steps] for lrs in whole.lrs], steps)
    return Played(
        optimizer=inner,
        schedulers=given,
        steps=steps,
        accumulation=accumulation,
        processes=processes,
        batches_per_epoch=batches_per_epoch,
        interval=interval,
        groups=tuple(group for group in groups if group.is_sound),
        unsound=tuple(group for group in groups if not group.is_sound),
        model=model,
        scheduler_steps=scheduler_steps,
        beyond=beyond,
        far=lambda count: sampled(count, scheduler_steps),
        calls=lambda count: sampled(count, 1),
        alone=alone,
        refusal=whole.refusal,
    )


def _distinct(optimizer: torch.optim.Optimizer, lrs: "Sequence[array[float]]", steps: int) -> list[PlayedGroup]:
    """One entry for all groups that have the same plan."""
    found: dict[Any, list[int]] = {}
    for index, group in enumerate(optimizer.param_groups):
        options = _options_but(group, ("params", "param_names"))
        found.setdefault((bytes(lrs[index]), options, taken_by(optimizer, group)), []).append(index)
    entries = []
    omegas: dict[Any, tuple[Sequence[float], int]] = {}
    for first, *same in found.values():
        group = optimizer.param_groups[first]
        taken = taken_by(optimizer, group)
        key = (_options_but(group, _LR_OPTIONS), taken)
        if key not in omegas:
            omegas[key] = _omegas(optimizer, first, taken, steps)
        omega, length = omegas[key]
        entries.append(
            PlayedGroup(
                index=first,
                same=tuple(same),
                options=group,
                taken=taken,
                lr=lrs[first],
                omega=omega,
                base=number_of(group.get("initial_lr", group.get("lr"))),
                betas=adam_betas(optimizer, group),
                omega_length=length,
            )
        )
    return entries


def _options_but(group: Group, without: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{name}={x!r}" for name, x in group.items() if name not in without)


def _omegas(optimizer: torch.optim.Optimizer, index: int, taken: int, steps: int) -> tuple[Sequence[float], int]:
    """omega of the next steps, and the warmup's length."""
    omega = omega_function(optimizer, index)
    values = array("d", map(omega, range(taken + 1, taken + steps + 1)))
    return values, 0 if min(values) >= NEARLY else omega_length(omega, taken, steps)
