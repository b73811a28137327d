"""Steps in parts that fit the cache: no bit changes, and each element is stepped once."""

import pytest
import torch

from rectified.optim.step import chunking, kernels
from roster import representatives
from trajectories import parameters, train


@representatives
@pytest.mark.parametrize("kind", ["bfloat16", "complex", "contiguous gradient", "slice", "foreach"])
def test_parts_change_no_bit(method, kind, monkeypatch):
    """Cut or taken together, in one row or many."""
    dtype = {"bfloat16": torch.bfloat16, "complex": torch.complex64}.get(kind, torch.float32)
    lay = {
        "contiguous gradient": lambda x: x.movedim(-1, 0).contiguous().movedim(0, -1) if x.dim() else x,
        "slice": lambda x: torch.stack([x, x], -1)[..., 0],
    }.get(kind, torch.clone)
    path = {"foreach": True} if kind == "foreach" else {}

    def end():
        params = [
            torch.nn.Parameter(lay(p.detach()))
            for p in parameters(dtype, shapes=((20,), (40, 2, 3, 3), (2, 320), (64, 5, 7), (), (0,), (333,), (3,)))
        ]
        optimizer = method.optimizer(params, weight_decay=0.1, **path)
        before = len(parts)
        train(optimizer, params, range(1, 9))
        return [p.detach() for p in params], len(parts) - before

    parts, cut_into_parts = [], chunking._parts

    def counted(*args):
        for part in cut_into_parts(*args):
            parts.append(None)
            yield part

    monkeypatch.setattr(chunking, "_parts", counted)
    whole, few = end()
    monkeypatch.setattr(chunking, "_PART", 100)
    monkeypatch.setattr(chunking, "_OF_A_THREAD", 0)
    cut, many = end()
    assert all(torch.equal(x, y) for x, y in zip(whole, cut, strict=True))
    assert few == 8
    assert many >= 5 * few


def test_parts_hold_what_fits_and_each_element_once(monkeypatch):
    monkeypatch.setattr(chunking, "_PART", 50)
    monkeypatch.setattr(chunking, "_OF_A_THREAD", 0)
    shapes = ((20,), (20,), (20,), (4, 60), (3, 96), (), (0,), (9, 8, 3, 3), (7, 3))
    m = [torch.zeros(shape) for shape in shapes]
    m[7] = m[7].to(memory_format=torch.channels_last)
    sizes = []
    for part, grads in chunking._parts(kernels.Tensors(m, m, m, [], []), m):
        assert not part.v_max
        assert all(kernels.is_dense(x) for x in part.m)
        for x in grads:
            x += 1
        sizes.append([x.numel() for x in grads])
    # Cuts are at multiples of 32 elements: nowhere in 4 rows of 60, after each 32 of 96, after 4 of 9 rows of 72.
    assert sizes == [[20, 20], [20], [240], *[[32]] * 8, [32, 1, 0], [288], [288], [72], [21]]
    assert all((x == 1).all() for x in m)
