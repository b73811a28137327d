"""What the trainers' tests train, and the plain loop that their runs are compared with."""

import torch
from torch import nn
from torch.nn import functional as F

import rectified
from rectified.warmup import Linear
from rectified.workloads.data.images import fashion_mnist_files

BATCH = 16

# Of its own calls, of devices that are not used, of data loaded without worker processes.
LIGHTNING_WARNS = [
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
    r"ignore:.* available but not used:UserWarning",
    r"ignore:.*does not have many workers:UserWarning",
]


class SquareRoot:
    """A warmup of a user's own: no checkpoint can hold it, so that the constructor's must stay."""

    def omega(self, t, beta2):
        return min(1.0, (t / 30) ** 0.5)


# Each is in the middle of its warmup when a run of these tests is stopped and resumed.
OPTIMIZERS = {
    "radam": lambda params: rectified.RAdam(params, lr=0.05),
    "adamw-linear": lambda params: rectified.AdamW(params, lr=0.005, warmup=Linear(30)),
    "adamw-own-warmup": lambda params: rectified.AdamW(params, lr=0.005, warmup=SquareRoot()),
}


def pictures(count):
    """The first pictures of Fashion-MNIST, and their labels."""
    images = fashion_mnist_files.load(fashion_mnist_files.mini())
    return images.train_images[:count].float() / 255 - 0.3, images.train_labels[:count].long()


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 16), nn.ReLU(), nn.Linear(16, 10))


def halving(optimizer):
    """A schedule of the user's on top of the warmup: half the lr after every tenth step."""
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=10, gamma=0.5)


def plain_loop(model, optimizer, batches, *, loss=None, accumulate=1, clip=None, scheduler=None, precede=None):
    """Train without a framework.

    Args:
        batches: one a forward pass.
        loss: of (model, batch); the cross-entropy by default.
        accumulate: batches a step; the losses are averaged.
        clip: largest norm of the gradients.
        precede: called before every step.
    """
    for index, batch in enumerate(batches):
        value = F.cross_entropy(model(batch[0]), batch[1]) if loss is None else loss(model, batch)
        (value / accumulate).backward()
        if (index + 1) % accumulate:
            continue
        if clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        if precede is not None:
            precede()
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        optimizer.zero_grad()


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def same_bits(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
