"""What docs/determinism.md promises of one machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from roster import BY_NAME, representatives
from trajectories import parameters, train

SIZE = 70_001  # more than one thread's share, and no multiple of a vector


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def weights(make, cut=SIZE, steps=7, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    params = [torch.nn.Parameter(x.clone()) for x in torch.randn(SIZE, generator=generator, dtype=dtype).split(cut)]
    optimizer = make(params)
    for _ in range(steps):
        for p, g in zip(params, torch.randn(SIZE, generator=generator, dtype=dtype).split(cut), strict=True):
            p.grad = g
        optimizer.step()
    return torch.cat([p.detach() for p in params])


@representatives
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


METHODS = ("radam", "radam-exact-hold", "adamw-amsgrad", "adam-2k")
WAYS = {"host": {}, "capturable": {"capturable": True}}


def halves(name, way):
    """Steps 1 to 7 of a run, its save, and what goes on from it with steps 8 to 15."""

    def made(params):
        return BY_NAME[name].optimizer(params, lr=0.01, betas=(0.9, 0.95), weight_decay=0.1, **WAYS[way])

    def first():
        params = parameters(torch.float32)
        optimizer = made(params)
        train(optimizer, params, range(1, 8))
        return {"params": [p.detach().clone() for p in params], "optimizer": optimizer.state_dict()}

    def second(saved):
        params = [torch.nn.Parameter(x.clone()) for x in saved["params"]]
        optimizer = made(params)
        optimizer.load_state_dict(saved["optimizer"])
        train(optimizer, params, range(8, 16))
        return [p.detach() for p in params]

    return first, second


def in_another_process(folder):
    """What that process does: it trains from the beginning, and goes on from what this one saved."""
    torch.set_num_threads(1)
    found = {}
    for name in METHODS:
        for way in WAYS:
            first, second = halves(name, way)
            saved = torch.load(Path(folder, f"{name} {way}.pt"), weights_only=True)
            found[f"{name} {way}"] = {"anew": second(first()), "gone on": second(saved)}
    torch.save(found, Path(folder, "found.pt"))


def test_bit_equal_in_another_process_and_from_a_checkpoint_of_this_one(tmp_path):
    expected = {}
    for name in METHODS:
        for way in WAYS:
            first, second = halves(name, way)
            saved = first()
            torch.save(saved, tmp_path / f"{name} {way}.pt")
            expected[f"{name} {way}"] = second(saved)
    code = f"import test_determinism; test_determinism.in_another_process({str(tmp_path)!r})"
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    assert found.keys() == expected.keys()
    for key, weights_here in expected.items():
        for weights_there in found[key].values():
            assert all(torch.equal(x, y) for x, y in zip(weights_here, weights_there, strict=True)), key


@representatives
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 4e-7), (torch.float64, 8e-16)], ids=str)
def test_the_paths_differ_by_round_off(method, dtype, near):
    """The distances that the page states, after eight steps, relative to 1 + |weight|."""
    options = {"lr": 0.01, "weight_decay": 0.1, "betas": (0.9, 0.95)}
    fused, foreach, capturable = (
        weights(lambda params, path=path: method.optimizer(params, **options, **path), steps=8, dtype=dtype)
        for path in ({}, {"foreach": True}, {"capturable": True})
    )
    assert ((fused - foreach).abs() / (1 + fused.abs())).max() <= near / 2
    assert ((fused - capturable).abs() / (1 + fused.abs())).max() <= near
    assert not torch.equal(fused, foreach), "else the page may promise more"
