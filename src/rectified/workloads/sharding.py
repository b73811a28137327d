"""How a batch is divided among several ranks that train a run together."""

import torch.distributed as dist


def share(size: int, rank: int, count: int) -> slice:
    """The part of a batch of `size` examples that a rank trains on; parts are disjoint, complete and may be empty.

    >>> [share(7, rank, 3) for rank in range(3)]
    [slice(0, 2, None), slice(2, 4, None), slice(4, 7, None)]
    """
    return slice(size * rank // count, size * (rank + 1) // count)


def needed(own: slice) -> slice:
    """The examples that a rank must load: its part, or if that is empty, one example with weight 0.

    A rank without any example could not take part in the gradient all-reduce.

    >>> needed(share(1, 0, 2)), needed(share(1, 1, 2))
    (slice(0, 1, None), slice(0, 1, None))
    """
    return slice(own.start, max(own.stop, own.start + 1))


def needed_here(size: int) -> slice:
    """The examples that this process must load: all of them if it trains the run alone."""
    if dist.is_available() and dist.is_initialized():
        return needed(share(size, dist.get_rank(), dist.get_world_size()))
    return slice(0, size)
