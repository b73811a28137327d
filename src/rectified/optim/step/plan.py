"""What one parameter group does at a step, decided once and kept while nothing it rests on changes.

Which tensors have gradients, which counts they have, which kernel may take them: finding this out takes longer than the
arithmetic of a small model's step. So it is remembered, and every step checks, tensor by tensor, that it still holds.
What is remembered are numbers (positions, addresses, strides): a plan keeps no tensor of the user's alive.
"""

from collections.abc import Callable, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from .._torch import TensorList, has_values
from .clock import Clock
from .dtensor import local, shards_alike
from .kernels import Kernel

State = dict[Tensor, dict[str, Any]]
Columns = list[TensorList]  # by state name, in the order of the optimizer's STATES; empty where it has none


class Found(NamedTuple):
    """A bucket's tensors at this step."""

    bucket: "Bucket"
    owners: TensorList  # as the group and the state have them
    params: TensorList  # as they are stepped: the same, or a rank's shards of them
    grads: TensorList  # the user's: not to be written to
    states: Columns

    @property
    def t(self) -> int:
        """The step they are about to take, from 1."""
        return self.bucket.t + 1

    def step_count(self, state: State) -> Tensor:
        """The number of this step as a tensor on the device, to be asked for once the clock has advanced.

        The clock counts all steps of a parameter that is listed twice at once: the first of them is one less.
        """
        step: Tensor = state[self.owners[0]]["step"]
        to_come = self.bucket.times - 1 - self.bucket.again
        return step - to_come if to_come else step


# Mapped methods of C: this comparison is what a small model's step costs beside the op.
_strides: Callable[[Tensor], tuple[int, ...]] = Tensor.stride
_places: Callable[[Tensor], int] = Tensor.data_ptr
_sizes: Callable[[Tensor], int] = Tensor.numel


class Bucket:
    """Parameters of one group, count, device, dtype and kernel: they step by one call.

    Args:
        t: steps they have taken.
        kernel: takes their step.
        indices: their positions in the group; None is all of them.
        names, positions: of the tensors in each one's state, and where in the optimizer's STATES these stand.
        width: the number of STATES.
        sharded: they are DTensors, and step shard by shard.
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
        """Its tensors as they are now, and the counts of their states."""
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
        """Its tensors; None where anything is not what it was when the plan was made."""
        if self._seen is None:
            return None
        try:
            if self.sharded:
                mine = params if self.indices is None else [params[i] for i in self.indices]
                if not all(p.grad is not None and shards_alike(p, [p.grad]) for p in mine):
                    return None
            found, steps = self.gather(params, state)
            holds = _look(found, steps) == self._seen
        except (TypeError, RuntimeError, KeyError, AttributeError):  # no gradient, a sparse one; a state is gone
            return None
        return found if holds else None

    def note(self, params: list[Tensor], state: State) -> Found:
        """Its tensors, and remember what they look like."""
        found, steps = self.gather(params, state)
        if all(map(has_values, chain(found.params, steps))):  # others have no place in memory to be known by
            self._seen = _look(found, steps)
        return found


def _look(found: Found, steps: TensorList) -> tuple[list[Any], ...]:
    """What a step rests on; ``x.data = ...`` moves x elsewhere, to another layout, dtype or device."""
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
        buckets: in the order in which they step.
        idle: positions of the parameters without a gradient.
        params: of the group, which are not kept alive.
        options: those of the group's that decide about kernels.
        clocks: the group's counts, by device.
        reasons: why the fused op is not used -> the position of the first parameter that this concerns.
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
        self.betas: tuple[float, ...] = ()  # with capturable, as they were when the plan was made

    def is_for(self, params: list[Tensor]) -> bool:
        """Whether it was made for these very parameters."""
        return len(params) == self.size and all(x() is p for x, p in zip(self._params, params, strict=True))

    def find(self, params: list[Tensor], state: State, options: tuple[Any, ...]) -> list[Found] | None:
        """The tensors of each bucket; None where the plan no longer holds."""
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
        """Count one step for every parameter that has a gradient; none if `go`, on the device, is 0."""
        for bucket in self.buckets:
            bucket.t += bucket.times
        for clock in self.clocks.values():
            clock.advance(go)
