"""A small network, its batches, and its training, with a probe or without."""

import torch
from torch import nn


def net(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).to(dtype)


def batches(steps, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(16, 5, generator=generator).to(dtype) for _ in range(steps)]


def train(model, optimizer, data, probe=None, again=False):
    for x in data:
        loss = model(x).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if probe is not None:
            probe.observe(loss, again=(lambda x=x: model(x).square().mean()) if again else None)
