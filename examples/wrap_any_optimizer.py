"""A warmup around an optimizer that is not rectified's. It keeps its own steps and its own checkpoints.

python examples/wrap_any_optimizer.py
"""

import torch
from torch import nn
from torch.nn import functional as F

import rectified
from rectified.warmup import Linear, Rectified

torch.manual_seed(0)
x = torch.randn(512, 8)
y = torch.sin(x.sum(dim=1, keepdim=True))


def train(optimizer, model, steps=150):
    for step in range(1, steps + 1):
        loss = F.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if step in (1, 25, 50, 150):
            print(f"  step {step:3}  loss {loss.item():.3f}  next omega {rectified.explain(optimizer)[0].omega:.2f}")


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 1))


print("torch.optim.Adagrad with 50 steps of linear warmup")
model = network()
adagrad = rectified.rectify(torch.optim.Adagrad(model.parameters(), lr=0.05), Linear(50))
train(adagrad, model)

# A trainer may insist on the bare optimizer and a scheduler. WarmupLR is the same warmup in that shape.
print("torch.optim.NAdam with WarmupLR")
model = network()
nadam = torch.optim.NAdam(model.parameters(), lr=0.01)
warmup = rectified.WarmupLR(nadam, Linear(50))
train(nadam, model)

# Rectification is about the variance of 1 / sqrt(v). SGD has no v, so this is refused instead of silently wrong.
try:
    rectified.rectify(torch.optim.SGD(model.parameters(), lr=0.1), Rectified())
except ValueError as error:
    print("refused:", error)
