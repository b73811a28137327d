"""The option autocast: which parts of a step are in bfloat16, which stay float32, and what is refused."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from picture_files import by_brightness
from rectified.study.execution.training import Training
from rectified.workloads.tasks import TASKS, parse_task
from rectified.workloads.tasks.classification import Classification
from run_to_end import run_of, run_to_end

NAMES = [name for name, task in TASKS.items() if isinstance(task, Classification)]
TRAINED = ["fashion-mnist-mini", "fashion-mnist-resnet20", "cifar10"]


def layers_of(model):
    """The dtypes of what each convolution and matrix product puts out, as they come."""
    found = []
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda module, given, out: found.append(out.dtype))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_it_is_an_option_of_every_image_task_off_by_default(name):
    assert TASKS[name].autocast == "float32"
    assert parse_task(f"{name}(autocast=float32)") is TASKS[name]
    task = parse_task(f"{name}(autocast=bfloat16)")
    assert task.name == f"{name}(autocast=bfloat16)"
    assert task.title == f"{TASKS[name].title}, autocast bfloat16"
    assert parse_task(task.spec) == task


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("float16", "autocast is 'float16'; it must be bfloat16, or float32, which is without autocast"),
        ("'bf16\\n'", r"autocast is 'bf16\\n'; it must be bfloat16"),
        ("True", "autocast is True; it must be a word, such as float32, its default"),
        ("16", "autocast is 16; it must be a word, such as float32"),
    ],
)
def test_any_other_value_is_refused_in_one_line(value, words):
    with pytest.raises(ValueError, match=words) as caught:
        parse_task(f"cifar10(autocast={value})")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_in_bfloat16_learns_and_everything_kept_is_float32(name):
    task, data = parse_task(f"{name}(autocast=bfloat16)"), by_brightness(name)
    training = Training.begin(run_of(task, "adam", 0.003, batch_size=32), data)
    dtypes = layers_of(training.model)
    for epoch in range(6):
        for batch in task.batches(data, 32, torch.Generator().manual_seed(epoch)):
            assert task.loss(training.model, batch).dtype == torch.float32
            assert training.take(batch)
    assert set(dtypes) == {torch.bfloat16}
    assert training.losses[-1] < 0.9 * training.losses[0]
    kept = [*training.model.parameters(), *(p.grad for p in training.model.parameters())]
    kept += [x for entry in training.optimizer.state.values() for x in entry.values() if x.dim()]
    assert {x.dtype for x in kept} == {torch.float32}
    dtypes.clear()
    training.switch(training=False)
    with torch.inference_mode():
        measured = task.evaluate(training.model, data)
    assert set(dtypes) <= {torch.float32}  # oneDNN's form of the small network does not call its first layer
    assert math.isfinite(measured["test_loss"])


@pytest.mark.parametrize("name", TRAINED)
def test_the_loss_is_near_that_of_float32_and_without_the_option_it_is_the_plain_one(name):
    losses, data = {}, by_brightness(name)
    for precision in ("float32", "bfloat16"):
        task = parse_task(f"{name}(autocast={precision})")
        torch.manual_seed(0)
        model, (images, labels) = task.model(data), next(task.batches(data, 32, torch.Generator().manual_seed(0)))
        losses[precision] = task.loss(model, (images, labels)).detach()
        if precision == "float32":
            assert torch.equal(losses[precision], F.cross_entropy(model(images), labels).detach())
    assert losses["bfloat16"] != losses["float32"]
    torch.testing.assert_close(losses["bfloat16"], losses["float32"], rtol=0.02, atol=0)


def test_a_run_in_bfloat16_from_start_to_end(tmp_path):
    task = parse_task("fashion-mnist-resnet20(autocast=bfloat16,subset=32)")
    assert run_to_end(run_of(task, "radam", 0.01, batch_size=16), by_brightness(task.name), tmp_path / "run") == "done"
