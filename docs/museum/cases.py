"""What a case of the museum is, and the pieces that cases share."""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from rectified.probe import Finding, check


@dataclass(frozen=True)
class Case:
    """One configuration.

    Attributes:
        name: what it is, in words.
        source: the thread or the publication that it follows.
        make: the arguments of :func:`rectified.check`.
        rule: the rule that must find it; empty for a correct recipe.
    """

    name: str
    source: str
    make: Callable[[], dict[str, Any]]
    rule: str = ""

    def findings(self) -> list[Finding]:
        """What the check finds."""
        torch.manual_seed(0)
        with warnings.catch_warnings():
            for message in ("Detected call of", "optimizer contains a parameter group with duplicate"):
                warnings.filterwarnings("ignore", message, UserWarning)  # torch's own, about some of the mistakes
            return check(**self.make())


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Linear(16, 4))


def with_gradients(model: nn.Module, scale: float) -> nn.Module:
    """The same model with gradients of that size."""
    for p in model.parameters():
        p.grad = scale * torch.randn_like(p)
    return model


def after(optimizer: torch.optim.Optimizer, steps: int) -> torch.optim.Optimizer:
    """An optimizer that has taken some steps."""
    for _ in range(steps):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.randn_like(p)
        optimizer.step()
    return optimizer


def warmup_then(optimizer: torch.optim.Optimizer, warmup: int, decay: Callable[[float], float], steps: int) -> LambdaLR:
    """A linear warmup from lr / warmup, then a decay of the progress in [0, 1] after it."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return decay(min(1.0, (step - warmup) / max(1, steps - warmup)))

    return LambdaLR(optimizer, factor)


def linear(progress: float) -> float:
    return 1 - progress


def cosine(progress: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * progress))


def constant(progress: float) -> float:
    return 1.0


def cosine_to(floor: float) -> Callable[[float], float]:
    return lambda progress: floor + (1 - floor) * cosine(progress)
