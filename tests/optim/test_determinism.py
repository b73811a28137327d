"""What docs/determinism.md promises of one machine."""

import pytest
import torch

import rectified
from roster import every_method

SIZE = 70_001  # more than one thread's share, and no multiple of a vector


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def weights(make, cut=SIZE, steps=7):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(x.clone()) for x in torch.randn(SIZE).split(cut)]
    optimizer = make(params)
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        for p, g in zip(params, torch.randn(SIZE, generator=generator).split(cut), strict=True):
            p.grad = g
        optimizer.step()
    return torch.cat([p.detach() for p in params])


@every_method
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"capturable": True}], ids=["fused", "foreach", "capturable"])
def test_bit_equal_over_runs_threads_and_cuts(method, path, threads):
    def make(params):
        return method.optimizer(params, weight_decay=0.1, **path)

    threads(1)
    alone = weights(make)
    threads(2)
    assert torch.equal(weights(make), alone)
    assert torch.equal(weights(make, cut=23_328), alone)  # a multiple of 32
    torch.testing.assert_close(weights(make, cut=23_335), alone, rtol=1e-6, atol=1e-7)


def test_the_paths_differ_by_round_off():
    fused, foreach = (weights(lambda p, f=f: rectified.RAdam(p, lr=0.01, foreach=f)) for f in (None, True))
    assert 0 < (fused - foreach).abs().max() < 1e-6
