"""A task of one's own, for a study: a model, data, a loss and what is measured. The two files beside it use it.

rectified study examples/my_task.py --plan       (needs: pip install 'rectified[study]')
"""

import torch
from torch import nn
from torch.nn import functional as F

from rectified.study import Task

# On which of three spiral arms is a point? Fixed data: what differs between runs is the seed of the weights.
generator = torch.Generator().manual_seed(0)
arms = torch.randint(3, (1500,), generator=generator)
radius = torch.rand(1500, generator=generator)
angle = 4 * radius + 2.1 * arms + 0.3 * torch.randn(1500, generator=generator)
points = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=1)


def model():  # called once for every run, so that its weights come from the run's seed
    return nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 3))


def loss(model, batch):
    inputs, targets = batch
    return F.cross_entropy(model(inputs), targets)


task = Task(
    "three-arms",
    model=model,
    train=(points[500:], arms[500:]),
    valid=(points[:500], arms[:500]),
    loss=loss,
    metric="valid_loss",
    chance=torch.log(torch.tensor(3.0)).item(),  # the loss of a guess: a run that diverges counts as that
    margin=0.02,  # nats that do not matter
    batch_size=50,
    epochs=6,  # 120 steps, so that linear-10% warms up for 12 of them
)
