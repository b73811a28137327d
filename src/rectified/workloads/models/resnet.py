"""Residual networks (He, Zhang, Ren, Sun 2015, arXiv:1512.03385): for small pictures, and for ImageNet's.

Initialised with He's normal law by fan-out, batch norms with 1 and 0, the last layer as torch does: what the RAdam
authors' code does too.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """Two 3x3 convolutions and what goes round them.

        y = relu(bn(conv(relu(bn(conv(x))))) + shortcut(x))

    Args:
        projected: whether a shortcut that changes shape is a convolution and a batch norm (the paper's option B), or
            every other pixel with zeros for the new channels (its option A, without parameters).
    """

    def __init__(self, channels: int, width: int, stride: int, projected: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, stride, padding=1, bias=False)
        self.first_norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second_norm = nn.BatchNorm2d(width)
        self.stride, self.more = stride, width - channels
        self.shortcut: nn.Module | None = None
        if projected and (stride > 1 or self.more):
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] to [n, width, h / stride, w / stride]."""
        y = F.relu(self.first_norm(self.first(x)), inplace=True)
        y = self.second_norm(self.second(y))
        if self.shortcut is not None:
            x = self.shortcut(x)
        elif self.stride > 1 or self.more:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
        return F.relu(y + x, inplace=True)


class ResNet(nn.Module):
    """A stem, stages of blocks each half as large and twice as wide as the one before, the mean over pixels, a line.

    Raises:
        ValueError: a stage without blocks.
    """

    def __init__(self, stem: nn.Module, width: int, blocks: Sequence[int], classes: int, projected: bool) -> None:
        super().__init__()
        if min(blocks, default=0) < 1:
            raise ValueError(f"blocks are {tuple(blocks)}; every stage needs one")
        self.stem = stem
        stages, channels = [], width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stages.append(Block(channels, width << stage, 2 if stage and not block else 1, projected))
                channels = width << stage
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """[n, channels, h, w] to the logits, [n, classes]."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


def resnet20(channels: int = 3, classes: int = 10) -> nn.Module:
    """The paper's for CIFAR-10: 3 stages of 3 blocks, 16 channels wide at first; in channels_last.

    >>> sum(p.numel() for p in resnet20().parameters())
    269722
    """
    stem = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    return _channels_last(ResNet(stem, 16, (3, 3, 3), classes, projected=False))


def resnet18(classes: int = 1000, small: bool = False) -> nn.Module:
    """The paper's 18 layers for ImageNet; for `small` pictures, of 64 pixels, without the stem's two halvings.

    >>> sum(p.numel() for p in resnet18().parameters())
    11689512
    """
    if small:
        stem = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True))
    else:
        stem = nn.Sequential(
            nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm2d(64),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, padding=1),
        )
    return _channels_last(ResNet(stem, 64, (2, 2, 2, 2), classes, projected=True))


def _channels_last(model: nn.Module) -> nn.Module:
    """In the layout in which torch's convolutions are faster on a CPU."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
