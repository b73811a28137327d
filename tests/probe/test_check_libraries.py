"""check takes the optimizers of any library: their options never stop it, and their own warmups are known."""

import pytest
import torch
from torch import nn

from rectified import check


def weights():
    return [nn.Parameter(torch.randn(4, 4))]


class SignDescent(torch.optim.Optimizer):
    def __init__(self, params, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": 1e-3, "betas": betas})


# Other libraries' options: pairs, None, words, tensors. No option may stop a check.

OPTIONS = {
    "eps": [(1e-30, 1e-3), None, "auto", torch.tensor(1e-8), torch.ones(2)],
    "betas": [None, (0.9, 0.999, 0.9999), (None, 0.999), (torch.tensor(0.9), torch.tensor(0.999)), "auto", 0.9],
    "weight_decay": [None, "auto", (0.1, 0.2), torch.tensor(0.1)],
    "lr": [None, "auto", torch.tensor(0.1), torch.ones(2)],
    "initial_lr": [None, torch.tensor(0.1)],
    "decoupled_weight_decay": [None, "yes"],
    "warmup": [None, "cosine", 100],
    "warmup_steps": [None, 100, "auto"],
    "step": [None, 5, "auto", torch.tensor(5.0)],
    "k": [None, 5, int],
    "rectify": [True, None],
}


@pytest.mark.parametrize(("name", "value"), [(name, x) for name, xs in OPTIONS.items() for x in xs], ids=str)
@pytest.mark.parametrize("kind", ["Adamish", "RAdamish", "ScheduleFreeish"])
def test_no_option_of_another_library_stops_a_check(kind, name, value):
    options = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1, name: value}
    optimizer = type(kind, (torch.optim.Optimizer,), {})(weights(), options)
    optimizer.param_groups[0]["params"][0].grad = torch.randn(4, 4)
    for scheduler in (None, lambda t: 1 / (t + 1)):
        for finding in check(optimizer, scheduler, steps=50, accumulation=2, batches_per_epoch=10):
            assert str(finding)
    for missing in ("lr", "betas", "eps", "weight_decay"):
        other = type(kind, (torch.optim.Optimizer,), {})(weights(), {k: x for k, x in options.items() if k != missing})
        assert isinstance(check(other, steps=50), list)


@pytest.mark.parametrize("name", sorted(n for n, x in vars(torch.optim).items() if isinstance(x, type)))
def test_every_optimizer_of_torch_can_be_checked(name):
    kind = getattr(torch.optim, name)
    if kind is torch.optim.Optimizer:
        pytest.skip("abstract")
    optimizer = kind(weights(), lr=1e-2)
    assert not [str(f) for f in check(optimizer, steps=10_000) if f.severity == "error"]


# Optimizers that are not Adam, or that warm up by themselves, start at their full lr without a finding.


def no_finding(optimizer, steps=5000):
    return [f.rule for f in check(optimizer, steps=steps) if f.rule != "warmup-is-most-of-run"]


def test_steps_by_signs_need_no_warmup():
    assert not no_finding(SignDescent(weights()))


@pytest.mark.parametrize("name", ["Lion", "RAdam", "ScheduleFreeRAdam", "Tiger", "Adan", "AdEMAMix"])
def test_an_optimizer_of_pytorch_optimizer(name):
    library = pytest.importorskip("pytorch_optimizer")
    assert not no_finding(library.load_optimizer(name.lower())(weights(), lr=1e-3))


def test_a_radam_of_pytorch_optimizer_that_stays_in_its_start():
    library = pytest.importorskip("pytorch_optimizer")
    assert "never-leaves-start" in no_finding(library.RAdam(weights(), betas=(0.5, 0.6)))


@pytest.mark.parametrize("taken", [0, 20])
@pytest.mark.parametrize("warmup", [10, 500])
def test_the_warmup_of_a_schedule_free_optimizer(warmup, taken):
    schedulefree = pytest.importorskip("schedulefree")
    optimizer = schedulefree.AdamWScheduleFree(weights(), warmup_steps=warmup)
    optimizer.train()
    (p,) = optimizer.param_groups[0]["params"]
    p.grad = torch.randn_like(p)
    for _ in range(taken):
        optimizer.step()
    p.grad = None
    assert not set(no_finding(optimizer)) - {"warmup-shorter-than-memory"}
    assert not no_finding(schedulefree.RAdamScheduleFree(weights()))


@pytest.mark.parametrize("relative", [False, True])
def test_adafactor_of_transformers(relative):
    transformers = pytest.importorskip("transformers")
    from transformers.optimization import AdafactorSchedule

    lr = None if relative else 1e-3
    optimizer = transformers.Adafactor(weights(), lr=lr, relative_step=relative)
    assert not check(optimizer, AdafactorSchedule(optimizer) if relative else None, steps=1000)
