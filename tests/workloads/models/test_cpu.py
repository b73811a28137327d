"""What is tuned for a CPU computes what the reference models compute: same weights, same function, same gradients."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rectified.workloads.data.text.pieces import BOS, EOS, PAD
from rectified.workloads.models import cpu
from rectified.workloads.models.resnet import ResNet, resnet18, resnet20
from rectified.workloads.models.small_cnn import SmallCNN
from rectified.workloads.tasks import TASKS, parse_task
from rectified.workloads.tasks.classification import Classification

IMAGES = torch.randint(256, (8, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
GRAY = IMAGES[:, 0, :28, :28]
LABELS = torch.arange(8)
WORDS = torch.randint(50, (3, 9), generator=torch.Generator().manual_seed(2))
SOURCE = torch.tensor([[5, 6, 7, 8, EOS], [9, 5, EOS, PAD, PAD], [4, 4, 4, EOS, PAD]])
TARGET = torch.tensor([[BOS, 5, 6, EOS], [BOS, 7, EOS, PAD], [BOS, 8, 9, EOS]])

# By task: its smaller form, what its model asks of the data, a batch.
CASES = {
    "fashion-mnist": ({}, None, lambda task: (task.pictures(GRAY), LABELS)),
    "fashion-mnist-resnet20": ({}, None, lambda task: (task.pictures(GRAY), LABELS)),
    "cifar10": ({}, None, lambda task: (task.pictures(IMAGES), LABELS)),
    "tiny-imagenet": ({}, SimpleNamespace(train_labels=LABELS), lambda task: (task.pictures(IMAGES), LABELS)),
    "imagenet": (
        {},
        SimpleNamespace(classes=range(8)),
        lambda task: (task.pictures(IMAGES.repeat(1, 1, 2, 2)), LABELS),
    ),
    "language-model-gpt": (
        {"width": 16, "sequence": 8, "dropout": 0.0},
        SimpleNamespace(vocabulary=50),
        lambda task: (WORDS[:, :-1], WORDS[:, 1:], torch.ones(3, dtype=torch.bool)),
    ),
    "translation": (
        {"width": 16, "ffn": 24, "layers": 2, "dropout": 0.0},
        SimpleNamespace(size=12),
        lambda task: (SOURCE, TARGET),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * ("imagenet" in name)) for name in CASES]
)
def test_a_tuned_task_has_the_reference_tasks_weights_loss_and_gradients(name, monkeypatch):
    monkeypatch.setattr(cpu, "LOGITS", 120)  # several parts even of these small batches
    options, data, batch_of = CASES[name]
    losses, models = [], []
    for tuned in (True, False):
        task = replace(TASKS[name], cpu_tuning=tuned, **options)
        torch.manual_seed(7)
        models.append(task.model(data))
        batch, drawn = batch_of(task), torch.get_rng_state()
        if isinstance(models[-1], ResNet):  # in which float32's rounding grows from layer to layer
            models[-1].double()
            losses.append(Classification.loss(task, models[-1], (batch[0].double(), batch[1])))
        else:
            losses.append(task.loss(models[-1], batch))
        losses[-1].backward()
        assert torch.equal(torch.get_rng_state(), drawn)
    for (ours, found), (key, expected) in zip(*(model.state_dict().items() for model in models), strict=True):
        assert ours == key
        torch.testing.assert_close(found, expected)  # not equal: batch norms' statistics have seen the batch
    torch.testing.assert_close(*losses, rtol=1e-5, atol=0)
    for found, expected in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(found, expected)
        largest = expected.grad.abs().max().item()
        torch.testing.assert_close(found.grad, expected.grad, rtol=0, atol=1e-5 * largest + 1e-8)


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if hasattr(task, "cpu_tuning")])
def test_it_is_an_option_of_the_task_on_by_default(name):
    task = parse_task(f"{name}(cpu_tuning=False)")
    assert (TASKS[name].cpu_tuning, task.cpu_tuning) == (True, False)
    assert task.title == f"{TASKS[name].title}, no cpu tuning"


def test_the_gpts_losses_one_by_one(monkeypatch):
    """As evaluation takes them."""
    monkeypatch.setattr(cpu, "LOGITS", 120)
    options, data, batch_of = CASES["language-model-gpt"]
    found = []
    for tuned in (True, False):
        task = replace(TASKS["language-model-gpt"], cpu_tuning=tuned, **options)
        torch.manual_seed(7)
        found.append(task.losses(task.model(data), batch_of(task)))
    torch.testing.assert_close(*found)


def made(tuned: bool, dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(3)
    model = SmallCNN()
    return (cpu.tuned(model) if tuned else model).to(dtype)


# float32 goes through oneDNN on a CPU, float64 through torch's layout.
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 2e-5), (torch.float64, 1e-13)])
def test_the_small_network_with_ties_in_its_pooling(dtype, close):
    models = [made(tuned, dtype) for tuned in (True, False)]
    x = torch.randn(30, 1, 28, 28, dtype=dtype, generator=torch.Generator().manual_seed(1))
    x[:, :, :, :9] = -0.8  # as the background of a picture: every window there is a tie
    weights = torch.randn(30, 10, dtype=dtype, generator=torch.Generator().manual_seed(2))
    found, expected = (model(x) for model in models)
    torch.testing.assert_close(found, expected, rtol=0, atol=close * expected.abs().max().item())
    for logits in (found, expected):
        (logits * weights).sum().backward()
    for mine, other in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=close * other.grad.abs().max().item())


def test_the_small_network_evaluates_without_gradients_and_for_one_picture():
    model = made(True).eval()
    x = torch.randn(5, 1, 28, 28)
    with torch.inference_mode():
        together = model(x)
        torch.testing.assert_close(model(x[:1]), together[:1], rtol=1e-5, atol=1e-6)
    assert together.shape == (5, 10)


def test_a_step_of_the_small_network_repeats_to_the_bit():
    x = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    def gradients():
        model = made(True)
        model(x).square().sum().backward()
        return [p.grad for p in model.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(gradients(), gradients(), strict=True))


def test_convolutions_stay_in_channels_last():
    """From the first to the last: a layout that is lost on the way costs time at every layer after it."""
    layouts = []

    def watch(module, given, found):
        layouts.extend(x.is_contiguous(memory_format=torch.channels_last) for x in (*given, found))

    for model, side in ((resnet20(), 32), (resnet18(5), 64), (resnet18(5, small=True), 16)):
        for module in cpu.tuned(model).modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(watch)
        model(torch.randn(2, 3, side, side))
    assert len(layouts) == 2 * (19 + 20 + 20)
    assert layouts.count(False) == 3  # each network's images, which its first convolution converts


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("logits", [2**21, 120, 1])
def test_the_cross_entropy_in_parts_is_torchs(monkeypatch, smoothing, logits):
    monkeypatch.setattr(cpu, "LOGITS", logits)
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(17, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(30, 8, generator=generator, dtype=torch.float64)
    weight = weight.mul_(1000).requires_grad_()  # logits of which exp would overflow
    targets = torch.randint(30, (17,), generator=generator)
    for reduction in ("sum", "none"):
        wanted = F.cross_entropy(hidden @ weight.T, targets, reduction=reduction, label_smoothing=smoothing)
        found = cpu.linear_cross_entropy(hidden, weight, targets, smoothing, reduction)
        torch.testing.assert_close(found, wanted)
        ours, theirs = (torch.autograd.grad((3 * loss).sum(), (hidden, weight)) for loss in (found, wanted))
        torch.testing.assert_close(ours, theirs)
        with torch.inference_mode():
            again = cpu.linear_cross_entropy(hidden, weight, targets, smoothing, reduction)
            torch.testing.assert_close(again, wanted.detach())
