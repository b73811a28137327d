"""What is wrong with a task of one's own is refused in one line, before anything runs."""

import functools
import math

import pytest
import torch
from own_tasks import INPUTS, LABELS, OWN_ORDER, Endless, Examples, N, a_task, function, net
from torch import nn
from torch.utils.data import DataLoader, WeightedRandomSampler

NET = net()
NO_LOSS = {"valid": None, "evaluate": lambda model: {"valid_loss": 1.0}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": NET}, "model is an existing Linear, but every run needs .* model=lambda: Linear"),
        ({"model": None}, "model is None; it must be a function"),
        ({"loss": 3}, "loss is 3; it must be a function"),
        ({"name": "a,b"}, "name is 'a,b'; it must be one or more words without commas"),
        ({"name": ""}, "name is ''"),
        ({"batch_size": 51}, "batch_size is 51, but train has only 50 examples; use at most that many"),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number, 1 or more"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number"),
        ({"steps_per_epoch": 8}, "steps_per_epoch is 8, and 50 examples in batches of 8 make 7"),
        ({"valid": None}, "evaluate is missing; pass evaluate=.* or valid="),
        ({"evaluate": len}, "evaluate and valid are both given"),
        ({"train": 3}, "train is an int; it must be a Dataset, a tensor, a tuple or dict of tensors, a DataLoader"),
        ({"train": "data"}, "train is a str; it must be a Dataset"),
        ({"train": Examples}, r"train is the class Examples; pass an instance: train=Examples\(...\)"),
        ({"train": iter([1])}, "train is a list_iterator, which is exhausted after one epoch; pass"),
        ({"train": []}, "train has no examples"),
        ({"train": (INPUTS, LABELS[:9])}, "train has tensors of 50 and 9 examples; their first"),
        ({"train": torch.tensor(1.0)}, "train has no examples"),
        ({"train": lambda a: a}, r"train is a function of \(a\); it must take \(batch_size, generator\), or"),
        ({"train": function}, "train has an unknown number of batches; set the number per epoch"),
        ({"train": OWN_ORDER["an iterable loader"]}, "train has an unknown number of batches"),
        ({"train": {INPUTS[:8]}, "batch_size": None}, "train is a set, whose batch size is unknown.* batch_size=32"),
        (
            {"train": DataLoader(Endless(), batch_size=8), "batch_size": 9},
            "batch_size is 9, but the batches of train have 8 examples; leave it out",
        ),
        (
            {"train": DataLoader(Examples(), sampler=WeightedRandomSampler([1.0] * N, N))},
            "train is a DataLoader with a WeightedRandomSampler, but a study draws the order itself; pass its",
        ),
        ({"train": DataLoader(Examples(), batch_size=None)}, "train is a DataLoader with batch_size=None"),
        ({"collate": list}, "collate is given, but train consists of tensors"),
        ({"metric": "valid_f1"}, "metric is 'valid_f1', but valid measures valid_loss, valid_accuracy"),
        ({"metric": "train_loss", **NO_LOSS}, "metric is 'train_loss', which a study records itself"),
        ({"metric": "a b", **NO_LOSS}, "metric is 'a b'; it must be a name of letters"),
        ({"metric": "fun", **NO_LOSS}, "larger_is_better is missing, and cannot be inferred from 'fun'"),
        ({"metric": "accuracy", **NO_LOSS}, "margin is missing: the difference in accuracy that does not matter"),
        ({"margin": -1}, "margin is -1; it must be a positive number"),
        ({"valid": None, "evaluate": lambda model: 3.0}, "evaluate returned one number, and metric is missing"),
        ({"valid": None, "evaluate": lambda model: None}, "evaluate returned None; it must return a float"),
        ({"valid": None, "evaluate": lambda model: {}}, "evaluate returned an empty dict"),
        ({"valid": None, "evaluate": lambda model: {"loss": "low"}}, "evaluate returned 'loss': 'low'; it must"),
        ({"valid": None, "evaluate": lambda model: {"loss": INPUTS}}, r"returned 'loss': a tensor of shape \(50, 2\)"),
        ({"valid": None, "evaluate": lambda model: {"loss": math.nan}}, "loss=nan for an untrained model; it must"),
        (
            {"schedule": torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD(NET.parameters()))},
            "schedule is a ConstantLR, which belongs to one optimizer; pass a function of",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_one_line(changes, says):
    with pytest.raises(ValueError, match=says) as caught:
        a_task(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": lambda: 3}, "model returned an int; it must return a torch.nn.Module"),
        ({"model": nn.ReLU}, "model returned a ReLU without parameters to train"),
        ({"model": functools.partial(nn.Linear, 5, 3)}, "RuntimeError: mat1 and mat2 shapes"),
        ({"loss": lambda model, batch: 3.0}, "loss returned a float; it must return a tensor with one number"),
        ({"loss": lambda model, batch: model(batch[0])}, r"loss returned a tensor of shape \(8, 3\); .* its .mean\(\)"),
        ({"loss": lambda model, batch: {"loss": 1}}, "loss returned a dict; .* such as its .loss"),
        ({"loss": lambda model, batch: model(batch[0]).mean().detach()}, "without a gradient"),
        ({"loss": lambda model, batch: 1 / 0}, r"test_user_task_refusals.py, line \d+: ZeroDivisionError: div"),
        ({"train": (INPUTS, INPUTS)}, "targets are torch.float32, not class numbers; set loss=lambda"),
        ({"train": (INPUTS, LABELS.reshape(25, 2).repeat(2, 1))}, r"targets of shape \(8, 2\) the model returned"),
        ({"train": (INPUTS, LABELS, LABELS)}, "loss is missing, and batches are a tuple, not pairs"),
        ({"train": lambda: Examples(), "steps_per_epoch": 2}, "train returned an Examples, which holds examples"),
        ({"train": lambda: 3, "steps_per_epoch": 2}, "train returned an int; a function must return or yield batches"),
        ({"train": lambda: [], "steps_per_epoch": 2}, "train yielded no batches"),
    ],
)  # fmt: skip
def test_what_does_not_run_is_said_before_anything_does(changes, says):
    task = a_task(**changes)
    with pytest.raises(ValueError, match="task mine does not run: .*" + says) as caught:
        task.find(None, print)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_handed_out_twice_is_refused():
    task = a_task(model=lambda: NET)
    task.find(None, print)
    with pytest.raises(ValueError, match="model returned the same Linear twice; it must make a new one"):
        task.model(None)


def test_a_batch_size_that_a_stream_does_not_have_is_refused():
    task = a_task(train=DataLoader(Endless(), batch_size=8), steps_per_epoch=2)
    with pytest.raises(
        ValueError, match=r"batch_size is 16, but the batches of train have 8 examples; to vary it, let"
    ):
        task.steps_per_epoch(16)


def test_a_metric_that_evaluate_leaves_out_is_said():
    task = a_task(valid=None, evaluate=lambda model: {"loss": 1.0}, metric="valid_loss")
    with pytest.raises(ValueError, match="evaluate returned loss; the metric, valid_loss, must be among them"):
        task.evaluate(net(), None)


def test_a_run_that_diverged_is_no_error_of_evaluate():
    task = a_task(valid=None, evaluate=lambda model: {"valid_loss": math.nan}, metric="valid_loss")
    assert math.isnan(task.evaluate(net(), None)["valid_loss"])


def test_a_folder_of_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="task mine has its own data; --data is for built-in tasks"):
        a_task().find(tmp_path, print)
