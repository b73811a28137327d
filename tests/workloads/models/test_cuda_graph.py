"""Which forward passes are captured in a CUDA graph, with a stand-in for the capture; tests/cuda has the real one."""

import pytest
import torch
from torch import nn

from picture_files import by_brightness
from rectified.study.execution.training import Training
from rectified.workloads.models import cuda_graph
from rectified.workloads.models.cuda_graph import graphed
from rectified.workloads.models.resnet import resnet20
from rectified.workloads.tasks import TASKS, parse_task
from rectified.workloads.tasks.classification import Classification
from run_to_end import run_of

NAMES = [name for name, task in TASKS.items() if isinstance(task, Classification)]


class Capture:
    """Like torch.cuda.make_graphed_callables: runs the model a few times, then replaces its forward method."""

    def __init__(self):
        self.captured, self.replayed = [], []

    def __call__(self, model, samples):
        (sample,) = samples
        assert not torch.is_autocast_enabled("cpu") or not torch.is_autocast_cache_enabled()
        for _ in range(3):
            torch.autograd.grad(model(sample).sum(), list(model.parameters()))
        self.captured.append(tuple(sample.shape))
        plain = model.forward

        def replay(x):
            self.replayed.append(tuple(x.shape))
            return plain(sample.copy_(x))

        model.forward = replay


def models():
    """The same network twice, the second with graphs on the CPU, and their capture."""
    capture, made = Capture(), []
    for _ in range(2):
        torch.manual_seed(0)
        made.append(resnet20())
    return made[0], graphed(made[1], "cpu", capture), capture


def images(count):
    return torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(count))


def test_training_replays_graphs_of_its_shapes_and_evaluation_does_not():
    plain, model, capture = models()
    given = [images(6), images(6) + 1, images(4), images(6)]
    for x in given:
        before = x.clone()
        plain.train()(x).square().sum().backward()
        model.train()(x).square().sum().backward()
        assert torch.equal(x, before), "the batch is the caller's"
        with torch.inference_mode():
            assert torch.equal(plain.eval()(x), model.eval()(x))
    with torch.no_grad():
        plain.train()(given[0])
        model.train()(given[0])
    assert capture.captured == [(6, 3, 8, 8), (4, 3, 8, 8)]
    assert capture.replayed == [tuple(x.shape) for x in given]
    for (name, mine), (other, theirs) in zip(plain.state_dict().items(), model.state_dict().items(), strict=True):
        assert name == other
        assert torch.equal(mine, theirs), f"{name}: batch norms count what is trained on, and no capture"
    for p, q in zip(plain.parameters(), model.parameters(), strict=True):
        assert torch.equal(p.grad, q.grad)


def test_another_device_and_several_ranks_take_the_plain_pass(monkeypatch):
    capture = Capture()
    x = images(2)
    graphed(resnet20(), "cuda", capture)(x)
    monkeypatch.setattr(cuda_graph.dist, "is_initialized", lambda: True)
    graphed(resnet20(), "cpu", capture)(x)
    assert capture.captured == []


@pytest.mark.parametrize("name", NAMES)
def test_it_is_an_option_of_every_image_task_off_by_default(name):
    task = parse_task(f"{name}(cuda_graph=True)")
    assert (TASKS[name].cuda_graph, task.cuda_graph) == (False, True)
    assert task.title == f"{TASKS[name].title}, cuda graph"


@pytest.mark.parametrize("options", ["", "autocast=bfloat16,"])
def test_a_run_with_graphs_is_the_run_without_them(options, monkeypatch):
    """Its losses and weights, over epochs whose last batch is smaller."""
    capture, ends = Capture(), []
    data = by_brightness("fashion-mnist-resnet20", 20)
    real = cuda_graph.graphed
    monkeypatch.setattr(cuda_graph, "graphed", lambda model: real(model, "cpu", capture))
    for graph in (False, True):
        task = parse_task(f"fashion-mnist-resnet20({options}cuda_graph={graph})")
        training = Training.begin(run_of(task, "radam", 0.01, batch_size=8), data)
        for epoch in range(2):
            for batch in task.batches(data, 8, torch.Generator().manual_seed(epoch)):
                assert training.take(batch)
        ends.append((training.losses, training.model.state_dict()))
    assert capture.captured == [(8, 1, 28, 28), (4, 1, 28, 28)]
    assert len(capture.replayed) == 6
    assert ends[0][0] == ends[1][0]
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(ends[0][1].values(), ends[1][1].values(), strict=True))


def test_a_state_dict_has_the_names_of_the_plain_model():
    plain, model, _ = models()
    assert list(plain.state_dict()) == list(model.state_dict())
    assert isinstance(model, nn.Module)
