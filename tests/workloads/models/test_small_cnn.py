"""The small network against its layers written out, with the same weights."""

import pytest
import torch
from torch.nn import functional as F

from rectified.workloads.models.small_cnn import SmallCNN


def test_it_is_the_reports_network():
    torch.manual_seed(3)
    model = SmallCNN().double()
    weights = list(model.parameters())
    assert [tuple(w.shape) for w in weights[::2]] == [(6, 1, 5, 5), (12, 6, 5, 5), (120, 192), (60, 120), (10, 60)]
    assert sum(w.numel() for w in weights) == 32_998
    x = torch.randn(30, 1, 28, 28, dtype=torch.float64)
    y = x
    for kernel, bias in (weights[:2], weights[2:4]):
        y = F.unfold(y, 5)  # every window of 5x5 as a column
        y = (kernel.flatten(1) @ y + bias[:, None]).clamp(min=0).unflatten(2, (round(y.shape[2] ** 0.5), -1))
        y = y.unfold(2, 2, 2).unfold(3, 2, 2).amax((4, 5))
    y = y.flatten(1)
    for weight, bias in (weights[4:6], weights[6:8]):
        y = (y @ weight.T + bias).clamp(min=0)
    torch.testing.assert_close(model(x), y @ weights[8].T + weights[9])


def test_it_begins_as_torch_does():
    """Uniform in +- 1 / sqrt(fan-in)."""
    torch.manual_seed(0)
    for parameter, fan_in in zip(SmallCNN().parameters(), (25, 25, 150, 150, 192, 192, 120, 120, 60, 60), strict=True):
        assert parameter.abs().max() <= fan_in**-0.5
        if parameter.numel() > 500:
            assert parameter.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.1)
