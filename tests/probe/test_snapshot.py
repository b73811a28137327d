"""Snapshot: a training that goes back to it repeats itself bit for bit."""

import random

import numpy
import pytest
import torch
from torch import nn

import rectified
from rectified.probe.snapshot import Snapshot
from rectified.warmup import Linear


class Net(nn.Module):
    """With dropout, batch norm, a buffer that is not saved, extra state, and draws from every generator."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 2))
        self.register_buffer("mean", torch.zeros(()), persistent=False)
        self.calls = 0

    def get_extra_state(self):
        return {"calls": self.calls}

    def set_extra_state(self, state):
        self.calls = state["calls"]

    def forward(self, x):
        self.calls += 1
        y = self.layers(x)
        self.mean.lerp_(y.mean().detach(), 0.1)
        return y * (1 + 0.01 * random.random() + 0.01 * numpy.random.rand()) + 0.001 * self.calls + self.mean


OPTIMIZERS = {
    "torch.optim.AdamW": lambda params: torch.optim.AdamW(params, lr=torch.tensor(0.01)),
    "torch.optim.SGD": lambda params: torch.optim.SGD(params, lr=0.01, momentum=0.9),
    "rectified.RAdam": lambda params: rectified.RAdam(params, lr=0.01),
    "rectified.AdamW": lambda params: rectified.AdamW(params, lr=0.01, warmup=Linear(20)),
    "capturable": lambda params: rectified.AdamW(params, lr=0.01, warmup=Linear(20), capturable=True),
    "rectify": lambda params: rectified.rectify(torch.optim.NAdam(params, lr=0.01), Linear(20)),
    "rectified.NAdam": lambda params: rectified.NAdam(params, lr=0.01),
}


def train(model, optimizer, scheduler, scaler, steps):
    losses = []
    for _ in range(steps):
        loss = model(torch.randn(16, 5)).square().mean()
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(getattr(optimizer, "optimizer", optimizer))
        scaler.update()
        scheduler.step()
        losses.append(loss.item())
    return losses, [p.detach().clone() for p in (*model.parameters(), *model.buffers())]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("taken", [0, 5])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_everything_is_repeated(name, taken, dtype):
    torch.manual_seed(0)
    model = Net()
    if dtype is torch.bfloat16:
        model.layers[0].weight.data = model.layers[0].weight.data.bfloat16().float()  # as a loaded checkpoint may be
    optimizer = OPTIMIZERS[name](model.parameters())
    scheduler = torch.optim.lr_scheduler.OneCycleLR(getattr(optimizer, "optimizer", optimizer), 0.1, 40)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0, growth_interval=3)
    train(model, optimizer, scheduler, scaler, taken)
    start = Snapshot(model, optimizer, [scheduler, scaler])
    first = train(model, optimizer, scheduler, scaler, 9)
    for _ in range(2):
        start.restore()
        model.eval()
        start.restore()
        again = train(model, optimizer, scheduler, scaler, 9)
        assert again[0] == first[0]
        assert all(map(torch.equal, first[1], again[1]))


def test_moments_keep_their_dtype():
    model = nn.Linear(3, 3).bfloat16()
    optimizer = rectified.AdamW(model.parameters(), lr=0.1)
    model(torch.ones(1, 3).bfloat16()).sum().backward()
    optimizer.step()
    start = Snapshot(model, optimizer)
    start.restore()
    assert {x.dtype for s in optimizer.state.values() for n, x in s.items() if n != "step"} == {torch.float32}


def test_gradients_come_back():
    model = nn.Linear(3, 3)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    start, before = Snapshot(model, optimizer), model.weight.grad.clone()
    optimizer.zero_grad()
    start.restore()
    assert torch.equal(model.weight.grad, before)
