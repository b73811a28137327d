"""Residual networks against the paper's equations written out, with the same weights."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rectified.workloads.models.resnet import ResNet, resnet18, resnet20


def norm(weights: dict[str, Tensor], name: str, x: Tensor, train: bool) -> Tensor:
    """Batch normalization by its definition."""
    if train:
        mean, variance = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
    else:
        mean, variance = weights[f"{name}.running_mean"], weights[f"{name}.running_var"]
    scale = weights[f"{name}.weight"] / (variance + 1e-5).sqrt()
    return (x - mean[:, None, None]) * scale[:, None, None] + weights[f"{name}.bias"][:, None, None]


def block(weights: dict[str, Tensor], name: str, x: Tensor, width: int, stride: int, train: bool) -> Tensor:
    y = F.conv2d(x, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
    y = norm(weights, f"{name}.bn1", y, train).clamp(min=0)
    y = norm(weights, f"{name}.bn2", F.conv2d(y, weights[f"{name}.conv2.weight"], padding=1), train)
    if f"{name}.shortcut.0.weight" in weights:
        x = F.conv2d(x, weights[f"{name}.shortcut.0.weight"], stride=stride)
        x = norm(weights, f"{name}.shortcut.1", x, train)
    elif x.shape[1] < width:
        small = x[:, :, ::stride, ::stride]
        x = torch.zeros(len(x), width, *small.shape[2:], dtype=x.dtype)
        first = (width - small.shape[1]) // 2
        x[:, first : first + small.shape[1]] = small
    return (y + x).clamp(min=0)


def textbook(weights: dict[str, Tensor], x: Tensor, stem: tuple[int, int], width: int, blocks: list[int], train: bool):
    stride, pool = stem
    kernel = weights["stem.0.weight"]
    x = F.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)
    x = norm(weights, "stem.1", x, train).clamp(min=0)
    if pool:
        x = F.unfold(F.pad(x, (1, 1, 1, 1), value=-math.inf), 3, stride=2).unflatten(1, (x.shape[1], 9)).amax(2)
        x = x.unflatten(2, (math.isqrt(x.shape[2]),) * 2)
    place = 0
    for stage, count in enumerate(blocks):
        for number in range(count):
            halves = stage > 0 and number == 0
            x = block(weights, f"stages.{place}", x, width * 2**stage, 2 if halves else 1, train)
            place += 1
    return x.flatten(2).mean(2) @ weights["head.weight"].T + weights["head.bias"]


MODELS = {
    "resnet20": (lambda: resnet20(), (3, 16), (1, False), 16, [3, 3, 3]),
    "resnet20 gray": (lambda: resnet20(channels=1, classes=7), (1, 12), (1, False), 16, [3, 3, 3]),
    "resnet18": (lambda: resnet18(classes=11), (3, 64), (2, True), 64, [2, 2, 2, 2]),
    "resnet18 small": (lambda: resnet18(classes=11, small=True), (3, 16), (1, False), 64, [2, 2, 2, 2]),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "resnet18")) for name in MODELS]
)
@pytest.mark.parametrize("train", [True, False], ids=["training", "evaluation"])
def test_the_output_is_the_textbooks(name: str, train: bool) -> None:
    """In float64, from weights, scales, shifts and statistics that are all random; gradients too."""
    make, (channels, side), stem, width, blocks = MODELS[name]
    torch.manual_seed(0)
    model = make().double().train(train)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    weights = {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}
    x = torch.randn(3, channels, side, side, dtype=torch.float64)
    first = weights["stages.0.conv1.weight"].requires_grad_()
    expected = textbook(weights, x, stem, width, blocks, train)
    found = model(x)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9)
    (gradient,) = torch.autograd.grad(expected.square().sum(), first)
    found.square().sum().backward()
    assert torch.allclose(
        model.stages[0].conv1.weight.grad, gradient, rtol=1e-7, atol=1e-7 * float(gradient.abs().max())
    )


@pytest.mark.parametrize(
    ("model", "count"),
    [(resnet20(), 269_722), (resnet18(), 11_689_512), (resnet18(200), 11_689_512 - 800 * 513)],
    ids=["resnet20", "resnet18", "resnet18 of 200 classes"],
)
def test_the_papers_number_of_parameters(model: nn.Module, count: int) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    layers = sum(isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1) for module in model.modules()) + 1
    assert layers == (20 if count == 269_722 else 18)


def test_the_initial_weights_are_hes() -> None:
    torch.manual_seed(0)
    for name, module in resnet18().requires_grad_(False).named_modules():
        if isinstance(module, nn.Conv2d):
            fan_out = module.out_channels * module.kernel_size[0] * module.kernel_size[1]
            assert float(module.weight.std()) == pytest.approx(math.sqrt(2 / fan_out), rel=0.05), name
            assert abs(float(module.weight.mean())) < 5 * math.sqrt(2 / fan_out / module.weight.numel())
            assert module.bias is None
        elif isinstance(module, nn.BatchNorm2d):
            assert (float(module.weight.min()), float(module.weight.max())) == (1, 1)
            assert not module.bias.any()


def test_a_stage_without_blocks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"blocks are \(2, 0\); every stage needs one"):
        ResNet(nn.Identity(), 16, (2, 0), 10, projection=False)
