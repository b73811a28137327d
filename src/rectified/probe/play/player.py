"""Stepping copies of schedulers around a stand-in for the optimizer."""

import copy
import math
import warnings
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...optim.step.options import Group
from .own_warmup import number_of
from .schedule_tree import FunctionSchedule, functions_of, is_affine, is_closed_form, members, shared_objects


class _StandIn(torch.optim.Optimizer):
    """An optimizer with the same groups and one number for each group's parameters."""

    def __init__(self, groups: Sequence[Group], defaults: dict[str, Any]) -> None:
        super().__init__([{"params": [torch.zeros(1)]} for _ in groups], {"lr": 0.0})
        self.defaults = dict(defaults)
        for own, group in zip(self.param_groups, groups, strict=True):
            own.update({name: _own(x) for name, x in group.items() if name != "params"})
            own["lr"] = number_of(own["lr"])

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take no step."""


def _own(x: Any) -> Any:
    """An option that schedulers may change: a tensor as a number, a list as a copy."""
    if isinstance(x, Tensor) and x.numel() == 1:
        return number_of(x)
    return copy.copy(x) if isinstance(x, list | dict | Tensor) else x


@dataclass(frozen=True)
class Far:
    """The lr of every group over many steps: of every `stride`-th one, from the first."""

    lrs: Sequence[Sequence[float]]
    stride: int


class Player:
    """Steps copies of the schedulers and records the lr of every group.

    Args:
        optimizer: not changed.
        schedulers: those that fit it.
        every: the number of optimizer steps from one step of the schedulers to the next.
        repeats: how often they step there.
        model: not copied.

    Raises:
        ValueError: a scheduler cannot be copied.
    """

    def __init__(
        self, optimizer: torch.optim.Optimizer, schedulers: Iterable[Any], every: int, repeats: int, model: Any
    ) -> None:
        self.stand_in = _StandIn(optimizer.param_groups, optimizer.defaults)
        self.every, self.repeats, self.due = every, repeats, every
        self.lrs = [array("d") for _ in self.stand_in.param_groups]
        self.refusal: tuple[int, str] | None = None
        memo: dict[int, Any] = {id(optimizer): self.stand_in, id(model): model}
        self.schedulers = [self._copied(one, optimizer, memo) for one in schedulers]

    def _copied(self, scheduler: Any, optimizer: torch.optim.Optimizer, memo: dict[int, Any]) -> Any:
        memo[id(getattr(scheduler, "optimizer", optimizer))] = self.stand_in
        memo |= {id(shared): shared for shared in shared_objects(scheduler)}
        try:
            copied = copy.deepcopy(scheduler, dict(memo))
        except Exception as error:
            raise ValueError(
                f"the scheduler {type(scheduler).__name__} cannot be copied to play it ({error}); pass a function "
                "of the step, from 0, to a factor on the lr instead"
            ) from error
        _without_tensors(copied)
        if isinstance(copied, FunctionSchedule):
            copied.step()  # as torch's schedulers do when they are made
        return copied

    def play(self, steps: int) -> None:
        """Play that many further steps."""
        with _without_warnings():
            for _ in range(steps):
                self._record()
                if self.refusal is None and len(self.lrs[0]) >= self.due:
                    self.due += self.every
                    self._step()

    def sample(self, steps: int, samples: int) -> Far | None:
        """The lr of that many steps, or of fewer at equal distances; None if not every step can be computed alone."""
        if steps > samples:
            return None
        self.play(steps)
        return Far(self.lrs, 1)

    def _record(self) -> None:
        for group, lrs in zip(self.stand_in.param_groups, self.lrs, strict=True):
            lr = group["lr"]
            lrs.append(lr if type(lr) is float else number_of(lr))

    def _step(self) -> None:
        for scheduler in self.schedulers:
            for _ in range(self.repeats):
                try:
                    scheduler.step()
                except Exception as error:
                    self.refusal = (len(self.lrs[0]) + 1, str(error))
                    return


class FactorPlayer(Player):
    """Plays one scheduler that is a function of the step for each group; calls each function once per step."""

    def play(self, steps: int) -> None:
        """Play that many further steps."""
        begin = len(self.lrs[0])
        self._extend([n // self.every * self.repeats for n in range(begin, begin + steps)])

    def sample(self, steps: int, samples: int) -> Far | None:
        """The lr of that many steps, or of fewer at equal distances."""
        stride = -(-steps // samples)
        self._extend([n * self.repeats for n in range(0, steps, stride)])
        return Far(self.lrs, stride)

    def _extend(self, calls: Sequence[int]) -> None:
        """Record the lrs after these numbers of calls of the scheduler's step, which go up from 0."""
        (scheduler,) = self.schedulers
        functions = functions_of(scheduler)
        known = sum(count == 0 for count in calls)  # the lr before the first call is what it is now
        counts = [scheduler.last_epoch + count for count in calls[known:]] if self.refusal is None else []
        with _without_warnings():
            factors = {key: self._factors(f, counts) for key, f in {id(f): f for f in functions}.items()}
        usable = min(map(len, factors.values()))
        if usable < len(counts) and self.refusal is not None:
            self.refusal = (len(self.lrs[0]) + known + usable + 1, self.refusal[1])
        missing = len(calls) - known - usable
        for group, lrs, f, base in zip(
            self.stand_in.param_groups, self.lrs, functions, scheduler.base_lrs, strict=True
        ):
            lrs.extend([number_of(group["lr"])] * known)
            lrs.extend((base * factors[id(f)][:usable]).tolist())
            lrs.extend([lrs[-1]] * missing)

    def _factors(self, function: Callable[[int], float], counts: Sequence[int]) -> Tensor:
        """The function's values at these steps, up to the one at which it raises."""
        values: list[float] = []
        for i, count in enumerate(counts):
            if i and count == counts[i - 1]:
                values.append(values[-1])
                continue
            try:
                factor = function(count)
                values.append(factor if type(factor) is float else number_of(factor, math.nan))
            except Exception as error:
                self.refusal = (0, str(error))
                break
        return torch.tensor(values, dtype=torch.float64)


class AffinePlayer(Player):
    """Plays the groups with the lowest and the highest base lr only, and interpolates the others between them."""

    def __init__(self, two: Player, places: Sequence[float]) -> None:
        self.two, self.places = two, places
        self.lrs = [array("d") for _ in places]
        self.refusal = None

    def play(self, steps: int) -> None:
        """Play that many further steps."""
        begin = len(self.lrs[0])
        self.two.play(steps)
        self.refusal = self.two.refusal
        low, high = (torch.tensor(lrs[begin:], dtype=torch.float64) for lrs in self.two.lrs)
        for lrs, place in zip(self.lrs, self.places, strict=True):
            lrs.extend(torch.lerp(low, high, place).tolist())


def _only_two_groups(player: Player) -> AffinePlayer | None:
    """A player of two groups of the same; None if the lrs are not affine in the base lrs now, as after an edit."""
    groups = player.stand_in.param_groups
    bases = [number_of(group.get("initial_lr", group["lr"])) for group in groups]
    ends = [bases.index(min(bases)), bases.index(max(bases))]
    span = bases[ends[1]] - bases[ends[0]]
    places = [(base - bases[ends[0]]) / span if span else 0.0 for base in bases]
    for name in ("lr", "max_lr", "min_lr"):  # the latter two are OneCycleLR's
        values = [number_of(group.get(name)) for group in groups]
        low, high = (values[i] for i in ends)
        for value, place in zip(values, places, strict=True):
            if not math.isclose(value, low + place * (high - low), rel_tol=1e-9, abs_tol=1e-12 * abs(high)):
                return None
    groups[:] = [groups[i] for i in ends]
    player.lrs = [array("d"), array("d")]
    for scheduler in player.schedulers:
        _keep(scheduler, ends)
    return AffinePlayer(player, places)


def _keep(scheduler: Any, indexes: Sequence[int]) -> None:
    """Let a copied scheduler set the lr of these groups only."""
    for inner in members(scheduler):
        _keep(inner, indexes)
    for name in ("base_lrs", "_last_lr"):
        if hasattr(scheduler, name):
            setattr(scheduler, name, [getattr(scheduler, name)[i] for i in indexes])


def player_of(
    optimizer: torch.optim.Optimizer, schedulers: Sequence[Any], every: int, repeats: int, model: Any
) -> Player:
    """The fastest player of these schedulers; arguments as for :class:`Player`."""
    if len(schedulers) == 1 and is_closed_form(schedulers[0]):
        return FactorPlayer(optimizer, schedulers, every, repeats, model)
    player = Player(optimizer, schedulers, every, repeats, model)
    if len(optimizer.param_groups) > 2 and all(map(is_affine, schedulers)):
        return _only_two_groups(player) or player
    return player


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence torch's warning that the scheduler steps before the optimizer, since a stand-in never steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _without_tensors(scheduler: Any) -> None:
    """Make the numbers of a copied scheduler plain, since tensors are slow one at a time."""
    for inner in members(scheduler):
        _without_tensors(inner)
    for name in ("base_lrs", "_last_lr", "max_lrs", "eta_mins"):
        values = getattr(scheduler, name, None)
        if isinstance(values, list) and any(isinstance(x, Tensor) for x in values):
            setattr(scheduler, name, [number_of(x) for x in values])
