"""What a model that has learned nothing reaches: of each task, and where it is carried."""

import json
import math

import pytest
import torch

from rectified.workloads.tasks import TASKS, Task, TaskInfo, parse_task
from rectified.workloads.tasks.language_model import LANGUAGE_MODEL

GUESSED = {
    "fashion-mnist": 10.0, "fashion-mnist-mini": 10.0, "fashion-mnist-resnet20": 10.0, "cifar10": 10.0,
    "imagenet": 0.1, "tiny-imagenet": 0.5,
    "translation": math.log(10_000), "translation-iwslt": math.log(10_000), "translation-wmt": math.log(10_000),
    "language-model": math.log(33_278), "language-model-gpt": math.log(33_278),
    "language-model-paper": math.log(793_470),
}  # fmt: skip


@pytest.mark.parametrize("name", list(TASKS))
def test_every_task_has_that_of_a_guess(name):
    assert TASKS[name].chance == pytest.approx(GUESSED[name], rel=1e-12)


@pytest.mark.parametrize(
    ("text", "chance"),
    [
        ("cifar10(subset=500)", 10.0),
        ("fashion-mnist(loss_scale=1e3)", 10.0),
        ("translation(vocabulary=500)", math.log(500)),
        ("language-model(updates=5)", math.log(33_278)),
        # A part of the data may have fewer classes or words, and nobody has counted.
        ("imagenet(images=1000)", None),
        ("tiny-imagenet(images=25000)", None),
        ("language-model-paper(shards=3)", None),
        ("language-model(corpus='ptb_929589_0a1b2c3d4e')", None),
    ],
)
def test_options_that_change_it_do_and_where_it_is_unknown_there_is_none(text, chance):
    assert parse_task(text).chance == (None if chance is None else pytest.approx(chance, rel=1e-12))


def test_a_model_whose_outputs_are_all_alike_has_it():
    """In the unit of what is compared: a loss by the exponential of which a vocabulary is counted."""
    task = TASKS["fashion-mnist-mini"]
    data = task.load(task.find(None, print))
    model = task.model(data)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        assert task.evaluate(model.eval(), data)[task.metric] == task.chance
    assert TaskInfo.of(LANGUAGE_MODEL, ()).comparison[1].endswith("nats")
    assert math.exp(LANGUAGE_MODEL.chance) == pytest.approx(33_278)


def test_what_is_known_of_a_task_holds_it():
    info = TaskInfo.of(TASKS["cifar10"], (128,))
    assert info.chance == 10.0
    assert TaskInfo.from_dict(json.loads(json.dumps(info.as_dict()))) == info
    assert TaskInfo.from_dict({**info.as_dict(), "chance": None}).chance is None
    assert TaskInfo.from_dict({**info.as_dict(), "chance": 10}).chance == 10.0
    old = info.as_dict()
    del old["chance"]
    assert TaskInfo.from_dict(old).chance is None
    with pytest.raises(ValueError, match="could not convert"):
        TaskInfo.from_dict({**info.as_dict(), "chance": "ten"})


def a_task(**more):
    return Task(
        "mine", model=lambda: torch.nn.Linear(2, 3), train=(torch.zeros(9, 2), torch.arange(9) % 3),
        valid=(torch.zeros(9, 2), torch.arange(9) % 3), metric="valid_accuracy", **more,
    )  # fmt: skip


def test_a_users_task_has_the_one_that_is_given():
    assert a_task().chance is None
    assert a_task(chance=100 / 3).chance == 100 / 3
    assert TaskInfo.of(a_task(chance=0), ()).chance == 0.0


@pytest.mark.parametrize("chance", [math.nan, math.inf, -math.inf, "10", True, [10.0]])
def test_one_that_is_no_number_is_refused(chance):
    with pytest.raises(ValueError, match=r"^chance is .*; it must be a finite number"):
        a_task(chance=chance)
