"""Sharded tensors (DTensor, as in FSDP2), on whose local shards each rank takes the elementwise step."""

import sys
from collections.abc import Iterable

from torch import Tensor


def is_sharded(x: Tensor) -> bool:
    """Whether a tensor is a DTensor."""
    module = sys.modules.get("torch.distributed.tensor")  # a DTensor exists only if this was imported
    return module is not None and isinstance(x, module.DTensor)


def shards_alike(param: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether all tensors are DTensors with the same mesh and placements, so that their shards match."""
    return is_sharded(param) and all(
        is_sharded(x)
        and x.device_mesh == param.device_mesh  # type: ignore[attr-defined]
        and x.placements == param.placements  # type: ignore[attr-defined]
        and not any(placement.is_partial() for placement in x.placements)  # type: ignore[attr-defined]
        for x in (param, *others)
    )


def has_whole_rows(x: Tensor) -> bool:
    """Whether every rank holds all elements of the rows (first indexes) that it has: always, unless it is a DTensor."""
    return not is_sharded(x) or all(
        placement.is_replicate() or (type(placement).__name__ == "Shard" and placement.dim == 0)
        for placement in x.placements  # type: ignore[attr-defined]
    )


def local(x: Tensor) -> Tensor:
    """This rank's shard of a DTensor."""
    shard: Tensor = x.to_local()  # type: ignore[attr-defined]
    return shard


def local_of(x: Tensor) -> Tensor:
    """This rank's part of a tensor."""
    return local(x) if is_sharded(x) else x


def sharded_like(x: Tensor, shard: Tensor) -> Tensor:
    """The DTensor whose shard on this rank is given, laid out as another one."""
    from torch.distributed.tensor import DTensor

    mesh, placements = x.device_mesh, x.placements  # type: ignore[attr-defined]
    return DTensor.from_local(shard, mesh, placements, run_check=False, shape=x.shape, stride=x.stride())


def whole(x: Tensor) -> Tensor:
    """The full tensor of a DTensor, gathered on every rank."""
    full: Tensor = x.full_tensor()  # type: ignore[attr-defined]
    return full
