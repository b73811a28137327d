"""The slope of the loss along Adam's last step, before and after it, from moments and gradients alone."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .._torch import TensorList
from ..step.dtensor import is_sharded
from .packs import local_of, packs, real_and_flat

Sharing = tuple[Any, tuple[int, ...]]  # a mesh and the dimensions of it over which a tensor is sharded


@dataclass(frozen=True)
class LastStep:
    """Parameters that took their last step with the same numbers, and their gradients after it.

    Attributes:
        owners: the parameters.
        grads, m, v: the gradients, and the moments that the step used.
        c1, root_c2, eps: m_hat = m / c1, and d = (root_c2 / c1) m / (sqrt(v) + eps).
        maximize: whether the step went along the gradient instead of against it.
        grad_scale: the factor on the gradients; None for 1.
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


@torch.no_grad()
def slopes(weighted: Iterable[tuple[float, LastStep]]) -> tuple[float, float]:
    """The weighted sums of ``<m_hat, d>`` and ``<g, d>`` over parameters and the ranks that share them.

    Sums stay on their devices until they are read, all at once.
    """
    sums: dict[tuple[Any, ...], Tensor] = {}  # by how the parameters are shared, and the device
    for weight, step in weighted:
        scale = weight * step.root_c2 / step.c1
        signed = -scale if step.maximize else scale
        for sharing, rows in _by_sharing(step):
            total = _products(rows, step.eps) * _on(rows, [scale / step.c1, signed])
            if step.grad_scale is not None:
                total[1] /= step.grad_scale.to(total.device)
            key = (*sharing, total.device)
            sums[key] = sums[key] + total if key in sums else total
    for (mesh, dims, _), total in sums.items():
        for dim in dims:
            import torch.distributed as dist

            dist.all_reduce(total, group=mesh.get_group(dim))
    before, after = (sum(column) for column in zip(*(total.tolist() for total in sums.values()), strict=True))
    return before, after


def _products(rows: Sequence[TensorList], eps: float) -> Tensor:
    """``<m, q>`` and ``<g, q>`` with q = m / (sqrt(v) + eps) over rows of g, m and v; float64 [2]."""
    total = _on(rows, [0.0, 0.0])
    for _, _, (g, m, v) in packs([real_and_flat(local_of(x.detach())) for x in row] for row in rows):
        q = m / v.sqrt().add_(eps or torch.finfo(v.dtype).tiny)
        total += torch.stack([m.dot(q), g.dot(q)])
    return total


def _on(rows: Sequence[TensorList], values: list[float]) -> Tensor:
    """Numbers in float64 on the device of the rows."""
    return torch.tensor(values, dtype=torch.float64).to(local_of(rows[0][0]).device)


def _by_sharing(step: LastStep) -> Iterator[tuple[Sharing, list[TensorList]]]:
    """The gradient and moments of each parameter, of those together that the same ranks share."""
    found: dict[Sharing, list[TensorList]] = {}
    for owner, *row in zip(step.owners, step.grads, step.m, step.v, strict=True):
        found.setdefault(_sharing(owner), []).append(row)
    yield from found.items()


def _sharing(p: Tensor) -> Sharing:
    if not is_sharded(p):
        return None, ()
    placements = p.placements  # type: ignore[attr-defined]
    return p.device_mesh, tuple(dim for dim, placement in enumerate(placements) if placement.is_shard())  # type: ignore[attr-defined]
