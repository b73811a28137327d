"""The plan of a parameter group's step, which is made once and kept until something it depends on changes.

Finding out which tensors have gradients, their counts and their kernels takes longer than the arithmetic of a small
model's step. So the plan is remembered, and every step checks, tensor by tensor, that it is still valid. It consists of
numbers (positions, addresses, strides) and keeps none of the user's tensors alive.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from .._torch import TensorList, has_values
from ..states.clock import Clock
from ..states.dtensor import local, shards_alike
from .kernels import Kernel

State = dict[Tensor, dict[str, Any]]
Columns = list[TensorList]  # by state name, in the order of the optimizer's STATES; empty if absent


class Found(NamedTuple):
    """The tensors of a bucket at the current step."""

    bucket: "Bucket"
    owners: TensorList  # the group's and the state's own tensors
    params: TensorList  # the tensors to step: the same, or this rank's shards
    grads: TensorList  # the user's gradients, which must not be modified
    states: Columns

    @property
    def t(self) -> int:
        """The number of the next step, from 1."""
        return self.bucket.t + 1

    def step_count(self, state: State) -> Tensor:
        """The number of this step as a tensor on the device, valid after the clock has advanced.

        For a parameter that is listed twice, the clock counts both steps at once, so the first of them is one less.
        """
        step: Tensor = state[self.owners[0]]["step"]
        to_come = self.bucket.times - 1 - self.bucket.again
        return step - to_come if to_come else step


def as_real(found: Found) -> Found:
    """Complex tensors as pairs of reals."""
    if not found.params[0].is_complex():
        return found
    return found._replace(params=real(found.params), grads=real(found.grads), states=list(map(real, found.states)))


def real(xs: Iterable[Tensor]) -> list[Tensor]:
    """Views of complex tensors as pairs of reals; real tensors are unchanged."""
    return [torch.view_as_real(x.resolve_conj()) if x.is_complex() else x for x in xs]


# map over C methods: besides the op, this comparison is the main cost of a small model's step.
_strides: Callable[[Tensor], tuple[int, ...]] = Tensor.stride
_places: Callable[[Tensor], int] = Tensor.data_ptr
_sizes: Callable[[Tensor], int] = Tensor.numel


class Bucket:
    """Parameters that share group, count, device, dtype and kernel, and step with one call.

    Args:
        t: the number of steps they have taken.
        kernel: the kernel that steps them.
        indices: their positions in the group; None for all.
        names, positions: the names of the tensors in each state, and their positions in the optimizer's STATES.
        width: the number of STATES.
        sharded: whether they are DTensors, which step shard by shard.
    """

    def __init__(
        self,
        t: int,
        kernel: Kernel,
        indices: list[int] | None,
        names: Sequence[str],
        positions: Sequence[int],
        width: int,
        sharded: bool,
    ) -> None:
        self.t, self.kernel, self.indices, self.sharded = t, kernel, indices, sharded
        self.again = 0  # how often its parameters have been listed in the group before
        self.times = 1  # how often they are listed in all
        self.scalars: list[float] = []  # the further numbers that they share
        self._read: Callable[[Any], tuple[Tensor, ...]] = itemgetter("step", *names)
        self._absent: Columns = [()] * (width - len(positions))
        order = [positions.index(i) if i in positions else -1 for i in range(width)]
        self._order = None if list(positions) == list(range(len(positions))) else order
        self._seen: Any = None

    def gather(self, params: list[Tensor], state: State) -> tuple[Found, TensorList]:
        """The bucket's current tensors, and the counts in their states."""
        owners: TensorList = params if self.indices is None else [params[i] for i in self.indices]
        mine: TensorList = owners
        grads: list[Any] = [p.grad for p in owners]
        read: Any = zip(*map(self._read, map(state.get, owners)))  # noqa: B905  # all are as long as the names
        steps, *columns = read
        if self.sharded:
            mine, grads, *columns = ([local(x) for x in column] for column in (mine, grads, *columns))
        states: Columns = columns + self._absent
        if self._order is not None:
            states = [states[i] for i in self._order]
        return Found(self, owners, mine, grads, states), steps

    def find(self, params: list[Tensor], state: State) -> Found | None:
        """The bucket's current tensors; None if anything has changed since the plan was made."""
        if self._seen is None:
            return None
        try:
            if self.sharded:
                mine = params if self.indices is None else [params[i] for i in self.indices]
                if not all(p.grad is not None and shards_alike(p, [p.grad]) for p in mine):
                    return None
            found, steps = self.gather(params, state)
            holds = _look(found, steps) == self._seen
        except (TypeError, RuntimeError, KeyError, AttributeError):  # no gradient or a sparse one, or a missing state
            return None
        return found if holds else None

    def note(self, params: list[Tensor], state: State) -> Found:
        """The bucket's current tensors, whose properties are remembered."""
        found, steps = self.gather(params, state)
        if all(map(has_values, chain(found.params, steps))):  # other tensors have no address to identify them
            self._seen = _look(found, steps)
        return found


def _look(found: Found, steps: TensorList) -> tuple[list[Any], ...]:
    """The tensor properties that a step depends on; ``x.data = ...`` may change address, layout, dtype or device."""
    moving = [*found.params, *chain(*found.states)]
    return (
        list(map(_strides, moving)),
        list(map(_strides, found.grads)),
        list(map(_places, moving)),
        list(map(_places, steps)),
        list(map(_sizes, found.params)),
    )


class Plan:
    """The buckets of one group, made by :meth:`rectified.optim.base.BaseOptimizer.plan`.

    Args:
        buckets: the buckets, in the order in which they step.
        idle: the positions of parameters without a gradient.
        params: the group's parameters, which are not kept alive.
        options: the group's options that affect kernels.
        clocks: the group's step counts by device.
        reasons: maps each reason for not using the fused op to the position of the first parameter concerned.
    """

    def __init__(
        self,
        buckets: list[Bucket],
        idle: list[int],
        params: list[Tensor],
        options: tuple[Any, ...],
        clocks: dict[torch.device, Clock],
        reasons: dict[str, int],
    ) -> None:
        self.buckets, self.idle, self.size, self.options = buckets, idle, len(params), options
        self.clocks, self.reasons = clocks, reasons
        self._params: list[ReferenceType[Tensor]] = list(map(ref, params))
        self.schedules: dict[torch.device, Any] = {}  # with capturable, the numbers of every count
        self.betas: tuple[float, ...] = ()  # with capturable, the betas when the plan was made

    def is_for(self, params: list[Tensor]) -> bool:
        """Whether the plan was made for exactly these parameters."""
        return len(params) == self.size and all(x() is p for x, p in zip(self._params, params, strict=True))

    def find(self, params: list[Tensor], state: State, options: tuple[Any, ...]) -> list[Found] | None:
        """The tensors of each bucket; None if the plan is no longer valid."""
        if len(params) != self.size or self.options != options:
            return None
        for clock in self.clocks.values():
            if not clock.holds():
                return None
        for i in self.idle:
            if params[i].grad is not None:
                return None
        found = []
        for bucket in self.buckets:
            here = bucket.find(params, state)
            if here is None:
                return None
            found.append(here)
        return found

    def advance(self, go: Tensor | None = None) -> None:
        """Count one step for every parameter that has a gradient, unless `go`, on the device, is 0."""
        for bucket in self.buckets:
            bucket.t += bucket.times
        for clock in self.clocks.values():
            clock.advance(go)
