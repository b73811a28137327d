"""Faster forms of the reference models on a CPU: the same functions of the same parameters.

Tasks use them if their option `cpu_tuning` is true, which is the default. Outputs and gradients match the reference
models up to rounding. `benchmarks/training_speed.py` measures the speedup.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .resnet import ResNet
from .small_cnn import SmallCNN

LOGITS = 2**21  # computed at once: 8 MB, which a CPU's cache holds


def tuned(model: nn.Module) -> nn.Module:
    """Convert a model's convolutions to the layout that is fastest on a CPU; other models are unchanged.

    Parameters keep names, shapes and values.

    >>> model, x = SmallCNN(), torch.ones(1, 1, 28, 28)
    >>> torch.allclose(model(x), tuned(model)(x), atol=1e-6)
    True
    """
    if isinstance(model, SmallCNN):
        model.features = OneDNNFeatures(*model.features)
    elif isinstance(model, ResNet):
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model


class OneDNNFeatures(nn.Sequential):
    """:class:`SmallCNN`'s convolutions and pooling in oneDNN's own layout, in which pooling is many times faster.

    Two more things save time. Pooling comes before the ReLU: the same to the bit, with a quarter of the work. And
    oneDNN pads channels to a multiple of eight, so the five columns under the first kernel are passed as channels,
    instead of the image's one. For other devices and dtypes, under autocast and without oneDNN, this is the plain
    nn.Sequential.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, 1, 28, 28] to [n, 12, 4, 4]."""
        plain = x.device.type != "cpu" or x.dtype != torch.float32 or torch.is_autocast_enabled("cpu")
        if plain or not torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
            return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]
        first, second = self[0], self[3]
        assert isinstance(first, nn.Conv2d)
        assert isinstance(second, nn.Conv2d)
        columns = x.squeeze(1).unfold(2, first.weight.shape[3], 1)
        x, kernel = columns.permute(0, 3, 1, 2).contiguous().to_mkldnn(), first.weight.permute(0, 3, 2, 1)
        # In this layout pooling has a gradient only if its stride is passed.
        x = F.relu(F.max_pool2d(F.conv2d(x, kernel, first.bias), 2, 2))
        return F.relu(F.max_pool2d(second(x), 2, 2)).to_dense()


def linear_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0, reduction: str = "sum"
) -> Tensor:
    """F.cross_entropy(hidden @ weight.T, targets, label_smoothing=smoothing, reduction=reduction) in less memory.

    The logits of a whole batch would be the largest tensor of a step, hundreds of megabytes for a large vocabulary;
    here they are computed a few rows at a time, and with the sum so are the gradients. (torch has a function of this
    name from 2.13 on; tasks also run on older versions.)

    Args:
        hidden: [n, width].
        weight: [classes, width].
        targets: [n], int64, below `classes`.
        reduction: "sum", or "none" for [n].
    """
    if reduction == "sum":
        return _LinearCrossEntropy.apply(hidden, weight, targets, smoothing, torch.is_grad_enabled())  # type: ignore[no-any-return, no-untyped-call]
    rows = max(1, LOGITS // len(weight))
    parts = zip(torch.split(hidden, rows), torch.split(targets, rows), strict=True)
    return torch.cat([F.cross_entropy(h @ weight.T, t, reduction="none", label_smoothing=smoothing) for h, t in parts])


class _LinearCrossEntropy(torch.autograd.Function):
    """The sum; its gradients are computed in the forward pass, while the logits are there."""

    @staticmethod
    def forward(ctx, hidden, weight, targets, smoothing, differentiate):  # type: ignore[no-untyped-def]
        rows = max(1, LOGITS // len(weight))
        total = hidden.new_zeros((), dtype=torch.float64)
        grads = (torch.empty_like(hidden), torch.zeros_like(weight)) if differentiate else None
        for begin in range(0, len(hidden), rows):
            part, wanted = hidden[begin : begin + rows], targets[begin : begin + rows, None]
            log_p = torch.log_softmax(part @ weight.T, 1)
            total -= (1 - smoothing) * log_p.gather(1, wanted).sum() + smoothing * log_p.mean(1).sum()
            if grads is not None:
                slopes = log_p.exp_().sub_(smoothing / len(weight))  # d loss / d logits = p - smoothed one-hot
                slopes.scatter_add_(1, wanted, torch.full_like(wanted, smoothing - 1, dtype=slopes.dtype))
                torch.mm(slopes, weight, out=grads[0][begin : begin + rows])
                grads[1].addmm_(slopes.T, part)
        if grads is not None:
            ctx.save_for_backward(*grads)
        return total.to(hidden.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope):  # type: ignore[no-untyped-def]
        hidden, weight = ctx.saved_tensors
        return hidden * slope, weight * slope, None, None, None
