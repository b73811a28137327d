"""Which examples of a batch are whose, where several ranks train a run together."""

import torch.distributed as dist


def share(size: int, rank: int, count: int) -> slice:
    """A rank's part of a batch: every example is in one, and one may be empty.

    >>> [share(7, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(size * rank // count, size * (rank + 1) // count)


def needed(own: slice) -> slice:
    """What a rank has to have of a batch: its part, or one example with weight 0, so that it is there as gradients are
    summed.

    >>> needed(share(1, 0, 2)), needed(share(1, 1, 2))
    (slice(0, 1, None), slice(0, 1, None))
    """
    return slice(own.start, max(own.stop, own.start + 1))


def needed_here(size: int) -> slice:
    """That of this process: of a run that it trains alone, everything."""
    if dist.is_available() and dist.is_initialized():
        return needed(share(size, dist.get_rank(), dist.get_world_size()))
    return slice(0, size)
