"""Image tasks on an NVIDIA GPU: batches made there, channels_last, bfloat16, CUDA graphs, runs that are resumed."""

from itertools import islice

import pytest
import torch
from cuda_device import DEVICE, needs_gpu, never_waiting, warnings_of_any_torch
from torch import nn

from rectified.study.config.methods import parse
from rectified.study.config.runs import Run
from rectified.study.execution.training import Training
from rectified.workloads.data.images.pictures import Pictures
from rectified.workloads.tasks import parse_task
from rectified.workloads.tasks.cifar10 import augmented

pytestmark = warnings_of_any_torch

TASKS = ("fashion-mnist-mini", "fashion-mnist-resnet20", "cifar10")
COUNT, BATCH = 40, 16


def pictures(name):
    """Four classes, as bright as their number, with noise."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(COUNT) % 4
    shape = (3, 32, 32) if name.startswith("cifar10") else (28, 28)
    noise = torch.randint(60, (COUNT, *shape), generator=generator)
    images = (60 * labels.reshape(-1, *[1] * len(shape)) + noise).to(torch.uint8)
    return Pictures(images, labels.to(torch.uint8), images, labels.to(torch.uint8))


def begun(task, data):
    return Training.begin(Run(task, parse("adam"), 0.003, 0, 10, BATCH), data, DEVICE)


def batches(task, data):
    """Batches without end, the last one of each epoch a smaller one."""
    generator = torch.Generator().manual_seed(0)
    while True:
        yield from task.batches(data, BATCH, generator)


def trained(name, steps):
    """A task's training after some steps."""
    task, data = parse_task(name), pictures(name)
    training = begun(task, data)
    for batch in islice(batches(task, task.on_device(data, training.device)), steps):
        assert training.take(batch)
    return training


@pytest.fixture
def deterministic():
    """cuDNN's kernels add in a fixed order, and their choice does not depend on the time that they take."""
    before = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    yield
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = before


@pytest.mark.parametrize("name", TASKS)
def test_an_epoch_is_made_on_the_device_and_is_that_of_the_cpu(name):
    task, data = parse_task(name), pictures(name)
    moved = task.on_device(data, torch.device(DEVICE))
    assert {part.device.type for part in moved} == {DEVICE}
    here, there = (list(task.batches(each, BATCH, torch.Generator().manual_seed(1), skip=1)) for each in (data, moved))
    assert [len(labels) for _, labels in there] == [16, 8]
    for (images, labels), (others, same) in zip(here, there, strict=True):
        assert others.device.type == same.device.type == DEVICE
        assert torch.equal(labels, same.cpu())
        torch.testing.assert_close(others.cpu(), images, rtol=0, atol=1e-6)


def test_augmented_bytes_are_those_of_the_cpu():
    generator = torch.Generator().manual_seed(2)
    images = torch.randint(256, (200, 3, 32, 32), generator=generator, dtype=torch.uint8)
    moves = torch.randint(9, (2, 200), generator=generator)
    flips = torch.randint(2, (200,), generator=generator).bool()
    found = augmented(images.to(DEVICE), moves.to(DEVICE), flips.to(DEVICE), 4)
    assert torch.equal(found.cpu(), augmented(images, moves, flips, 4))


@needs_gpu
@pytest.mark.parametrize("name", TASKS)
def test_a_batch_is_made_without_waiting_for_the_device(name):
    task = parse_task(name)
    drawn = task.batches(task.on_device(pictures(name), torch.device(DEVICE)), BATCH, torch.Generator().manual_seed(0))
    next(drawn)  # the first moves the epoch's draws
    with never_waiting():
        list(drawn)


@pytest.mark.parametrize("name", ["fashion-mnist-resnet20", "cifar10"])
def test_a_resnet_stays_in_channels_last_and_the_plain_model_does_not(name):
    for options, last in (("", True), ("(cpu_tuning=False)", False)):
        task, data, found = parse_task(name + options), pictures(name), []
        training = begun(task, data)
        for module in training.model.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(lambda module, given, out, found=found: found.append(out))
        training.take(next(batches(task, task.on_device(data, training.device))))
        assert len(found) == 19
        assert all(out.is_contiguous(memory_format=torch.channels_last) == last for out in found)


@pytest.mark.parametrize("name", TASKS)
@pytest.mark.parametrize("options", ["autocast=bfloat16", "cuda_graph=True", "autocast=bfloat16,cuda_graph=True"])
def test_each_option_learns_like_plain_float32(name, options):
    plain, other = (trained(each, 30).losses for each in (name, f"{name}({options})"))
    assert plain[-1] < 0.8 * plain[0]
    assert other[-1] < 0.8 * other[0]
    # bfloat16 has 8 bits, and a step of Adam makes of the smallest gradients as much as of the largest.
    assert other[0] == pytest.approx(plain[0], rel=0.02 if "bfloat16" in options else 0.01)
    assert other[:3] == pytest.approx(plain[:3], rel=0.2 if "bfloat16" in options else 0.01)


@pytest.mark.parametrize("name", TASKS)
def test_in_bfloat16_weights_gradients_and_the_loss_are_float32(name):
    task, data = parse_task(f"{name}(autocast=bfloat16)"), pictures(name)
    training, found = begun(task, data), []
    for module in training.model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(lambda module, given, out: found.append(out.dtype))
    batch = next(batches(task, task.on_device(data, training.device)))
    assert task.loss(training.model, batch).dtype == torch.float32
    assert training.take(batch)
    assert set(found) == {torch.bfloat16}
    assert {p.dtype for p in training.model.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in training.model.parameters()} == {torch.float32}


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_cuda_graph_takes_the_steps_of_the_plain_model(precision):
    """Two shapes of batches, evaluations in between; batch norms count no step of a capture."""
    ends = []
    for graph in (False, True):
        name = f"cifar10(autocast={precision},cuda_graph={graph})"
        task, data = parse_task(name), pictures(name)
        training, measured = begun(task, data), []
        data = task.on_device(data, training.device)
        for step, batch in zip(range(7), batches(task, data), strict=False):
            assert training.take(batch)
            if step % 3 == 2:
                training.switch(training=False)
                with torch.inference_mode():
                    measured.append(task.evaluate(training.model, data)["test_loss"])
                training.switch(training=True)
        ends.append((training.losses, measured, training.model.state_dict()))
    (losses, measured, weights), (others, theirs, graphed) = ends
    rough = 0.02 if precision == "bfloat16" else 1e-3
    assert others == pytest.approx(losses, rel=rough)
    assert theirs == pytest.approx(measured, rel=5 * rough)
    for key, value in weights.items():
        if key.endswith("num_batches_tracked"):
            assert int(value) == int(graphed[key]) == 7
        else:
            torch.testing.assert_close(graphed[key], value, rtol=10 * rough, atol=10 * rough)


@pytest.mark.usefixtures("deterministic")
@pytest.mark.parametrize("options", ["", "(autocast=bfloat16)", "(cuda_graph=True)"])
def test_a_resumed_run_is_the_uninterrupted_one_bit_for_bit(options):
    name = f"cifar10{options}"
    whole, first = trained(name, 5), trained(name, 2)
    task, data = parse_task(name), pictures(name)
    resumed = begun(task, data)
    resumed.load(first.state())
    for batch in islice(batches(task, task.on_device(data, resumed.device)), 2, 5):
        assert resumed.take(batch)
    assert resumed.losses == whole.losses
    for mine, theirs in zip(resumed.model.state_dict().values(), whole.model.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs)
