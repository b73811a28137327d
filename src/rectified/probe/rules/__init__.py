"""The rules of a check. Each file opens with what its rules find and when they are wrong.

A rule is a function of a :class:`~rectified.probe.play.played.Played` that yields findings. `RULES` is the whole list.
"""

from collections.abc import Callable, Iterator

from ..finding import Finding
from ..play.played import Played
from . import (
    clocks,
    end,
    first_step,
    how_many,
    length,
    lr_values,
    memory,
    parameters,
    precision,
    schedulers,
    start,
    units,
    weight_decay,
)

Rule = Callable[[Played], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    schedulers.other_optimizer,
    schedulers.other_groups,
    schedulers.overwritten_lr,
    lr_values.invalid,
    clocks.clocks_differ,
    units.in_micro_batches,
    units.in_epochs,
    length.outlives_run,
    length.large_part_of_run,
    length.peak_not_reached,
    how_many.two_warmups,
    how_many.two_schedulers,
    how_many.no_warmup,
    first_step.zero,
    first_step.spike,
    end.past_its_end,
    end.rises_again,
    start.never_leaves_start,
    start.huge_gradients,
    memory.betas_swapped,
    memory.longer_than_run,
    memory.shorter_warmup,
    weight_decay.l2_in_adam,
    weight_decay.too_large,
    weight_decay.scaling,
    parameters.listed_twice,
    parameters.in_no_group,
    precision.vanishing_updates,
    precision.narrow_moments,
    precision.eps_dominates,
)
