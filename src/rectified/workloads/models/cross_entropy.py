"""Cross entropy of a linear output, for vocabularies."""

import torch
from torch import Tensor

LOGITS = 2**21  # at once: what a cache of 8 MB holds


class _CrossEntropy(torch.autograd.Function):
    """Logits, loss and gradients some rows at a time: all logits would be the largest thing in memory."""

    @staticmethod
    def forward(ctx, hidden, weight, targets, smoothing, differentiate):  # type: ignore[no-untyped-def]
        rows = max(1, LOGITS // len(weight))
        total = hidden.new_zeros((), dtype=torch.float64)
        grads = (torch.empty_like(hidden), torch.zeros_like(weight)) if differentiate else None
        for begin in range(0, len(hidden), rows):
            part, wanted = hidden[begin : begin + rows], targets[begin : begin + rows, None]
            logs = torch.log_softmax(part @ weight.T, 1)
            total -= (1 - smoothing) * logs.gather(1, wanted).sum() + smoothing * logs.mean(1).sum()
            if grads is not None:
                slopes = logs.exp_().sub_(smoothing / len(weight))
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


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float = 0.0) -> Tensor:
    """The sum of F.cross_entropy(hidden @ weight.T, targets, label_smoothing=smoothing), in less memory and time.

    Args:
        hidden: [n, width].
        weight: [classes, width].
        targets: [n], below the number of classes.
    """
    return _CrossEntropy.apply(hidden, weight, targets, smoothing, torch.is_grad_enabled())  # type: ignore[no-any-return, no-untyped-call]
