"""The small network against torch's modules in their own order and layout, with the same weights."""

import pytest
import torch
from torch import nn

from rectified.workloads.models.small_cnn import SmallCNN


def usual():
    """As everybody writes it; made in the same order, so that a seed gives it the same weights."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 12, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(192, 120), nn.ReLU(), nn.Linear(120, 60), nn.ReLU(), nn.Linear(60, 10)),
    )


def made(model):
    torch.manual_seed(3)
    return model()


# float32 goes through oneDNN on a CPU, float64 through the same modules in torch's layout.
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, 2e-5), (torch.float64, 1e-13)])
def test_it_is_the_usual_network_gradients_too(dtype, close):
    ours, theirs = (made(model).to(dtype) for model in (SmallCNN, usual))
    x = torch.randn(30, 1, 28, 28, dtype=dtype, generator=torch.Generator().manual_seed(1))
    x[:, :, :, :9] = -0.8  # as the background of a picture: every window there is a tie
    weights = torch.randn(30, 10, dtype=dtype, generator=torch.Generator().manual_seed(2))
    found, expected = ours(x), theirs(x)
    torch.testing.assert_close(found, expected, rtol=0, atol=close * expected.abs().max().item())
    for logits in (found, expected):
        (logits * weights).sum().backward()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=0, atol=close * other.grad.abs().max().item())


def test_it_evaluates_without_gradients_and_for_one_picture():
    model = made(SmallCNN).eval()
    x = torch.randn(5, 1, 28, 28)
    with torch.inference_mode():
        together = model(x)
        torch.testing.assert_close(model(x[:1]), together[:1], rtol=1e-5, atol=1e-6)
    assert together.shape == (5, 10)


def test_a_step_repeats_to_the_bit():
    x = torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(1))

    def gradients():
        model = made(SmallCNN)
        model(x).square().sum().backward()
        return [p.grad for p in model.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(gradients(), gradients(), strict=True))
