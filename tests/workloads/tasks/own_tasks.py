"""A task of one's own, and fifty examples in several forms."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

from rectified.workloads.tasks import Task

N = 50
INPUTS = torch.arange(2.0 * N).reshape(N, 2)
LABELS = torch.arange(N) % 3
PAIRS = TensorDataset(INPUTS, LABELS)


class Examples(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, number):
        return INPUTS[number], LABELS[number]


class Listed(Examples):
    """Gives several at once, as a Hugging Face data set does."""

    def __getitems__(self, numbers):
        return [(INPUTS[number], LABELS[number]) for number in numbers]

    def __getitem__(self, number):
        raise AssertionError("asked one by one")


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            number = int(torch.randint(N, ()))
            yield INPUTS[number], LABELS[number]


def net():
    return nn.Linear(2, 3)


def a_task(**changes):
    return Task(
        **{
            "name": "mine",
            "model": net,
            "train": (INPUTS, LABELS),
            "valid": (INPUTS, LABELS),
            "batch_size": 8,
            **changes,
        }
    )


def function(batch_size, generator):
    for indices in torch.randperm(N, generator=generator).split(batch_size):
        yield INPUTS[indices] + 0 * torch.rand(1), LABELS[indices]


OWN_ORDER = {
    "an iterable loader": DataLoader(Endless(), batch_size=8),
    "a list of batches as a function": lambda: DataLoader(Examples(), batch_size=8, shuffle=True),
}
