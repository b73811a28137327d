"""A plain training loop. Only the optimizer's line differs from torch's: the warmup is an argument, not a scheduler.

python examples/minimal.py
"""

import torch
from torch import nn
from torch.nn import functional as F

import rectified
from rectified.warmup import Linear

torch.manual_seed(0)
x = torch.randn(2000, 2)
y = (x.norm(dim=1) > 1.2).long()  # inside or outside of a circle
model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 2))

# A tenth of the run is a common length. Pick it by the run: 300 steps here, so 30.
optimizer = rectified.AdamW(model.parameters(), lr=1e-2, warmup=Linear(30))
print("before:", *rectified.explain(optimizer))

for step in range(1, 301):
    batch = torch.randint(len(x), (64,))
    loss = F.cross_entropy(model(x[batch]), y[batch])
    loss.backward()
    optimizer.step()  # this also advances the warmup: there is no scheduler to step, save or restore
    optimizer.zero_grad()
    if step in (1, 10, 30, 100, 300):
        # explain() describes the step that comes next.
        print(f"step {step:3}  loss {loss.item():.3f}  next omega {rectified.explain(optimizer)[0].omega:.2f}")

print("after: ", *rectified.explain(optimizer))
accuracy = (model(x).argmax(1) == y).float().mean()
print(f"accuracy {100 * accuracy:.1f} %")
