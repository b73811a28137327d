"""The slope of the loss along Adam's last step, before and after it, from moments and gradients alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .._torch import TensorList, has_values
from ..states.dtensor import is_sharded, local_of
from ..states.eight_bit import decoded
from ..step.options import value_of
from .packs import packs

Sharing = tuple[Any, tuple[int, ...]]  # a mesh and the dimensions of it over which a tensor is sharded


class LastStep(NamedTuple):
    """Parameters that took their last step with the same numbers, and their gradients after it.

    Attributes:
        owners: the parameters.
        grads, m, v: the gradients, and the moments that the step used.
        c1, root_c2, eps: m_hat = m / c1, and d = (root_c2 / c1) m / (sqrt(v) + eps).
        maximize: whether the step went along the gradient instead of against it.
        grad_scale: the factor on the gradients; None for 1.
        l2: the decay lambda that is part of the gradient, as lambda theta.
        scales: of v and of m, if these are codes of 8 bits.
    """

    owners: TensorList
    grads: TensorList
    m: TensorList
    v: TensorList
    c1: float
    root_c2: float
    eps: float
    maximize: bool = False
    grad_scale: Tensor | None = None
    l2: float = 0.0
    scales: tuple[TensorList, ...] = ()


@torch.no_grad()
def slopes(weighted: Iterable[tuple[float, LastStep]]) -> tuple[float, float] | tuple[None, None]:
    """The weighted sums of ``<m_hat, d>`` and ``<g, d>`` over parameters and the ranks that share them.

    Products stay on their devices until all of them are there. None for parameters without values, on ``meta``.
    """
    factors: list[tuple[float, ...]] = []
    products: list[Tensor] = []
    for weight, step in weighted:
        scale = weight * step.root_c2 / step.c1
        sign = -1.0 if step.maximize else 1.0
        after = sign * scale / (1.0 if step.grad_scale is None else value_of(step.grad_scale))
        for (mesh, dims), columns in _by_sharing(step):
            found = _products(columns, step.eps, coded=bool(step.scales))
            factors.append((scale / step.c1, after, scale * step.l2))
            products.append(_over_ranks(found, mesh, dims) if dims else found)
    if not all(map(has_values, products)):
        return None, None
    rows = [(factor, *x.tolist()) for factor, x in zip(factors, products, strict=True)]
    return (
        math.fsum(factor[0] * before for factor, before, *_ in rows),
        math.fsum(factor[i] * x for factor, _, *others in rows for i, x in enumerate(others, 1)),
    )


def _products(columns: Sequence[TensorList], eps: float, coded: bool) -> Tensor:
    """``<m, q>``, ``<g, q>`` and, with decay in the gradient, ``<theta, q>``, for q = m / (sqrt(v) + eps)."""
    products: list[Tensor] = []
    for v, m, *others in decoded(columns) if coded else (chunks for *_, chunks in packs(columns)):
        # torch's CPU kernel takes the root of a 0 ten times as long as any other, and v of a dead unit is 0.
        q = v.clamp(min=torch.finfo(v.dtype).tiny).sqrt_().add_(eps)
        torch.div(m, q, out=q)
        products += (x.dot(q) for x in (m, *others))
    width = len(columns) - (3 if coded else 1)
    if not products:
        return columns[0][0].new_zeros(width, dtype=torch.float64)
    return torch.stack(products).double().view(-1, width).sum(0)


def _over_ranks(products: Tensor, mesh: Any, dims: tuple[int, ...]) -> Tensor:
    """The sums over all ranks that share the parameters."""
    import torch.distributed as dist

    for dim in dims:
        dist.all_reduce(products, group=mesh.get_group(dim))
    return products


def _by_sharing(step: LastStep) -> Iterator[tuple[Sharing, Sequence[TensorList]]]:
    """Moments, gradients and what else is summed of the parameters that the same ranks share: of DTensors, shards."""
    columns = (step.v, step.m, step.grads, *([step.owners] if step.l2 else []), *step.scales)
    if not any(map(is_sharded, step.owners)):
        yield (None, ()), columns
        return
    found: dict[Sharing, list[tuple[Tensor, ...]]] = {}
    for owner, *row in zip(step.owners, *columns, strict=True):
        found.setdefault(_sharing(owner), []).append(tuple(map(local_of, row)))
    for sharing, rows in found.items():
        yield sharing, [list(column) for column in zip(*rows, strict=True)]


def refuse_flattened(p: Tensor, whose: str) -> None:
    """Raise for a parameter of the first FSDP, whose ranks hold parts of it that do not know of each other.

    Raises:
        RuntimeError: it is one.
    """
    if getattr(p, "_fsdp_flattened", False):
        raise RuntimeError(
            f"{whose} is flattened by FullyShardedDataParallel, and a warmup that observes the run would see another "
            "part of it on each rank: shard the model with fully_shard (FSDP2), or use a warmup that is a function of "
            "t, such as Linear"
        )


def _sharing(p: Tensor) -> Sharing:
    if not is_sharded(p):
        return None, ()
    placements = p.placements  # type: ignore[attr-defined]
    return p.device_mesh, tuple(i for i, placement in enumerate(placements) if not placement.is_replicate())  # type: ignore[attr-defined]
