"""Batches of parallel text in pieces, each of sentences of similar length, since PAD costs time."""

from typing import NamedTuple

import torch
from torch import Tensor

from .pieces import Pieces

Batch = tuple[Tensor, Tensor]

LONGEST = 175  # pieces; longer sentences are not trained on
POOL = 200  # batches whose sentences are sorted by length together
EVALUATED = 4096  # pieces in a batch of an evaluation


class Sides(NamedTuple):
    """Sentences and their translations in pieces."""

    source: Pieces
    target: Pieces


def batch_of(sides: Sides, which: Tensor) -> Batch:
    """The sentences numbered `which`: source int64 [n, s], each with EOS; target [n, t + 1], each with BOS and EOS."""
    return sides.source.padded(which), sides.target.padded(which, begin=True)


def drawn(sides: Sides, updates: int, batch_size: int, tokens: bool, generator: torch.Generator) -> list[Tensor]:
    """Draw the sentences of `updates` batches.

    The sentences of a pool, drawn at random, are sorted by length and cut into batches, whose order is random. When
    all sentences have been in a pool, they are drawn again.

    Args:
        tokens: whether `batch_size` counts pieces of the longer side, with PAD; else it counts sentences.

    Returns:
        For each batch the numbers of its sentences, int64 [n].

    Raises:
        ValueError: every sentence is too long.
    """
    lengths = torch.stack([side.lengths() for side in sides]).add_(1)  # with EOS
    longest = lengths.amax(0)
    most = min(LONGEST + 1, batch_size) if tokens else LONGEST + 1
    usable = (longest <= most).nonzero()[:, 0]
    if not len(usable):
        raise ValueError(
            f"no pair of sentences has at most {most} pieces a side; the shortest has {int(longest.min())}"
        )
    pool = POOL * batch_size
    if tokens:
        pool = max(1, int(pool / longest[usable].double().mean()))
    batches: list[Tensor] = []
    while len(batches) < updates:
        for some in torch.split(usable[torch.randperm(len(usable), generator=generator)], pool):
            source, target = lengths[0, some], lengths[1, some]
            # Back and forth, so that the source length does not jump where the target length grows.
            source = torch.where(target % 2 == 0, source, LONGEST + 1 - source)
            some = some[(target * (LONGEST + 2) + source).argsort(stable=True)]
            sizes = _filled(longest[some].tolist(), batch_size) if tokens else batch_size
            cut = torch.split(some, sizes)
            batches += [cut[i] for i in torch.randperm(len(cut), generator=generator).tolist()]
            if len(batches) >= updates:
                break
    return batches[:updates]


def _filled(sizes: list[int], most: int) -> list[int]:
    """The sizes of batches that sentences of these sizes are cut into, in order: at most `most` pieces each, with PAD.

    >>> _filled([2, 2, 3, 4], most=7)
    [2, 1, 1]
    """
    counts, widest = [0], 0
    for size in sizes:
        widest = max(widest, size)
        if counts[-1] and widest * (counts[-1] + 1) > most:
            counts.append(0)
            widest = size
        counts[-1] += 1
    return counts


def by_length(side: Pieces) -> list[Tensor]:
    """The numbers of all sentences, in batches of at most EVALUATED pieces, with PAD."""
    lengths = side.lengths() + 1
    order = lengths.argsort(stable=True)
    return list(torch.split(order, _filled(lengths[order].tolist(), EVALUATED)))
