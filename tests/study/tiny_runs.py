"""Runs of a tiny task, and how they are interrupted."""

import dataclasses

import pytest
import torch
from torch import nn

from killed_runs import Killed
from rectified.study.config.methods import parse
from rectified.study.config.runs import Run
from rectified.study.execution import checkpoint
from rectified.study.execution import execute as execute_module
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import ANY, Limits
from rectified.workloads.tasks import BaseTask
from rectified.workloads.tasks.lr_decay import LinearDecay


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny(BaseTask):
    """A task of seven batches, the last one smaller, whose model draws from the generator and remembers statistics.

    Its lr falls from step to step, gradients are clipped, weights decay, and those of the last two epochs are averaged.
    """

    def find(self, folder, say, fetch=True):
        raise NotImplementedError

    def load(self, folder):
        generator = torch.Generator().manual_seed(1)
        return torch.randn(52, 3, 4, 4, generator=generator), torch.randint(0, 3, (52,), generator=generator)

    def steps_per_epoch(self, batch_size):
        return -(-52 // batch_size)

    def model(self, data):
        layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.3), nn.Flatten(), nn.Linear(16, 3)]
        return nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def batches(self, data, batch_size, generator, skip=0):
        order = torch.randperm(52, generator=generator)
        for indices in torch.split(order, batch_size)[skip:]:
            yield data[0][indices], data[1][indices]

    def loss(self, model, batch):
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    def evaluate(self, model, data):
        return {"test_loss": float(self.loss(model, data)), "test_accuracy": 0.0}

    def final(self, model, data):
        return {"averaged_loss": float(self.loss(model, data))}


TINY = Tiny(
    name="tiny",
    title="Tiny",
    metric="test_accuracy",
    metric_label="",
    larger_is_better=True,
    methods=("adam",),
    lrs=(0.1,),
    seeds=(0,),
    epochs=2,
    batch_size=8,
    weight_decay=0.01,
    clip=1.0,
    schedule=LinearDecay(),
    averaged=2,
)
EVERY_STEP = Limits(checkpoint_every=0, gradients=9)
NEVER = Limits(checkpoint_every=1e9, gradients=9)


def a_run(method="radam", lr=0.01, epochs=2, batch_size=8, task=TINY):
    at = parse(method).over(epochs * task.steps_per_epoch(batch_size))
    return Run(task, at, lr, 0, epochs, batch_size)


def run(this, data, folder, limits=ANY):
    """Execute to the end; returns what was reported on the way, without the last, which is that it is done."""
    *told, end = execute(this, data, folder, limits=limits)
    assert end == ("done", None, "")
    return told


def half_a_run(tiny, folder, monkeypatch, steps=9):
    """A folder in which a run was killed after so many steps."""
    write = checkpoint.write_checkpoint

    def write_and_die(folder, state):
        write(folder, state)
        if state["step"] == steps:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(execute_module, "write_checkpoint", write_and_die)
        with pytest.raises(Killed):
            run(a_run(), tiny, folder, limits=EVERY_STEP)
