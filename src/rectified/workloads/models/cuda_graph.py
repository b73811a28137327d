"""A model's forward and backward pass as CUDA graphs.

A GPU finishes a small network's kernels faster than Python launches them; a graph launches all of them at once.

Loss, clipping and the optimizer's step stay outside the graphs, so a run takes the same steps with and without them.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

Capture = Callable[[nn.Module, tuple[Tensor, ...]], Any]


def graphed(model: nn.Module, device: str = "cuda", capture: Capture = torch.cuda.make_graphed_callables) -> nn.Module:
    """Make a model's training steps on a GPU replay CUDA graphs; everywhere else it is unchanged.

    Args:
        model: takes one tensor and returns one. Its layers must not wait for the device or branch on its values.
        device: the type of device to use graphs on.
        capture: replaces the forward method of a model for a sample of its arguments, as
            :func:`torch.cuda.make_graphed_callables` does.
    """
    model.forward = GraphedForward(model, device, capture)
    return model


class GraphedForward:
    """A model's forward pass in place of its method, with one pair of graphs per shape of a training batch.

    Evaluation, other devices and several ranks use the plain forward pass.
    """

    def __init__(self, model: nn.Module, device: str, capture: Capture) -> None:
        self.model, self.device, self.capture = model, device, capture
        self.plain: Callable[[Tensor], Tensor] = model.forward
        self.graphs: dict[torch.Size, Callable[[Tensor], Tensor]] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """The model's output, whose backward pass is a graph as well."""
        trains = self.model.training and torch.is_grad_enabled() and x.device.type == self.device
        if not trains or (dist.is_available() and dist.is_initialized()):
            return self.plain(x)
        if x.shape not in self.graphs:
            self.graphs[x.shape] = self._captured(x)
        return self.graphs[x.shape](x)

    def _captured(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Graphs for this shape. Capturing runs the model a few times, and batch norms must not count these."""
        before = [(buffer, buffer.clone()) for buffer in self.model.buffers()]
        self.model.forward = self.plain
        self.capture(self.model, (x.clone(),))  # a clone, because the graph reads its input there at every step
        replay, self.model.forward = self.model.forward, self
        with torch.no_grad():
            for buffer, value in before:
                buffer.copy_(value)
        return replay
