"""From torch's AdamW with a warmup in LambdaLR to rectified: the same learning rate at every step.

python examples/adamw_and_lambdalr.py
"""

import torch
from torch import nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

import rectified
from rectified.warmup import Linear

STEPS, WARMUP, LR = 200, 40, 1e-2
data = torch.Generator().manual_seed(0)
x = torch.randn(1000, 10, generator=data)
y = x.prod(dim=1, keepdim=True).sign() + x[:, :1]


def decay(step):
    return 1 - step / STEPS


def train(optimizer, scheduler, model, lr_of_next_step):
    lrs = []
    for step in range(STEPS):
        lrs.append(lr_of_next_step())
        loss = F.mse_loss(model(x[step::STEPS]), y[step::STEPS])
        loss.backward()
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad()
    return lrs, F.mse_loss(model(x), y).item()


def network():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(10, 64), nn.Tanh(), nn.Linear(64, 1))


# Before: warmup and decay share one lambda, and the checkpoint needs the scheduler to know where the warmup stands.
model = network()
optimizer = torch.optim.AdamW(model.parameters(), lr=LR)
scheduler = LambdaLR(optimizer, lambda step: min(1, (step + 1) / WARMUP) * decay(step))
before, loss_before = train(optimizer, scheduler, model, lambda: optimizer.param_groups[0]["lr"])

# After: the optimizer warms up, the scheduler only decays. Their factors multiply.
model = network()
optimizer = rectified.AdamW(model.parameters(), lr=LR, warmup=Linear(WARMUP))
scheduler = LambdaLR(optimizer, decay)
after, loss_after = train(optimizer, scheduler, model, lambda: rectified.explain(optimizer)[0].effective_lr)

print("step   lr before   lr after")
for step in (1, 20, 40, 41, 100, 200):
    print(f"{step:4}  {before[step - 1]:10.6f} {after[step - 1]:10.6f}")
print(f"largest difference: {max(abs(a - b) for a, b in zip(before, after, strict=True)):.1e}")
# Not to the last digit: omega scales the update and not the weight decay (docs/migration.md has the size of that).
print(f"final loss: {loss_before:.4f} before, {loss_after:.4f} after")
