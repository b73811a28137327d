"""Sharded tensors (DTensor, as FSDP2 makes them): the step is elementwise, so each rank takes it on its own shards."""

import sys
from collections.abc import Iterable

from torch import Tensor


def is_sharded(x: Tensor) -> bool:
    """Whether x is a DTensor."""
    module = sys.modules.get("torch.distributed.tensor")  # whoever has a DTensor has imported it
    return module is not None and isinstance(x, module.DTensor)


def shards_alike(param: Tensor, others: Iterable[Tensor]) -> bool:
    """Whether all are DTensors laid out over the ranks in the same way, so that their shards belong together."""
    return is_sharded(param) and all(
        is_sharded(x)
        and x.device_mesh == param.device_mesh  # type: ignore[attr-defined]
        and x.placements == param.placements  # type: ignore[attr-defined]
        and not any(placement.is_partial() for placement in x.placements)  # type: ignore[attr-defined]
        for x in (param, *others)
    )


def local(x: Tensor) -> Tensor:
    """This rank's shard of a DTensor."""
    shard: Tensor = x.to_local()  # type: ignore[attr-defined]
    return shard


def whole(x: Tensor) -> Tensor:
    """What all ranks' shards of a DTensor amount to, on each of them."""
    full: Tensor = x.full_tensor()  # type: ignore[attr-defined]
    return full
