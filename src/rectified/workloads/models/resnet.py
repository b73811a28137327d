"""Residual networks (He, Zhang, Ren, Sun 2015, arXiv:1512.03385) for small images and for ImageNet.

Initialization, as in the RAdam authors' code: convolutions from He's normal distribution by fan-out, batch norms with
weight 1 and bias 0, the last layer as torch does.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class ZeroPadShortcut(nn.Module):
    """The paper's option A, a shortcut without parameters: take every `stride`-th pixel, fill new channels with zeros.

    >>> ZeroPadShortcut(16, 32, stride=2)(Tensor(1, 16, 8, 8)).shape
    torch.Size([1, 32, 4, 4])
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride, new = stride, out_channels - in_channels
        self.padding = (0, 0, 0, 0, new // 2, new - new // 2)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] to [n, out_channels, h / stride, w / stride]."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.padding)


class BasicBlock(nn.Module):
    """A residual block of two 3x3 convolutions.

        y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))

    Args:
        projection: where the shape changes, the shortcut is a 1x1 convolution with batch norm (the paper's option B)
            if true, and :class:`ZeroPadShortcut` (option A) if false.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, projection: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or in_channels != out_channels:
            if projection:
                conv = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
                self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_channels))
            else:
                self.shortcut = ZeroPadShortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        """[n, in_channels, h, w] to [n, out_channels, h / stride, w / stride]."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = self.bn2(self.conv2(y))
        return F.relu(y + self.shortcut(x), inplace=True)


class ResNet(nn.Module):
    """A stem, stages of residual blocks, global average pooling, a linear layer.

    Each stage after the first halves the resolution and doubles the channels.

    Args:
        stem: maps images to `width` channels.
        width: channels in the first stage.
        blocks: the number of blocks in each stage.
        projection: see :class:`BasicBlock`.

    Raises:
        ValueError: a stage without blocks.
    """

    def __init__(self, stem: nn.Module, width: int, blocks: Sequence[int], classes: int, projection: bool) -> None:
        super().__init__()
        if min(blocks, default=0) < 1:
            raise ValueError(f"blocks are {tuple(blocks)}; every stage needs one")
        self.stem = stem
        stages, channels = [], width
        for stage, count in enumerate(blocks):
            for block in range(count):
                stride = 2 if stage > 0 and block == 0 else 1
                stages.append(BasicBlock(channels, width * 2**stage, stride, projection))
                channels = width * 2**stage
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(channels, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, channels, h, w] to logits [n, classes]."""
        return self.head(self.stages(self.stem(x)).mean((2, 3)))  # type: ignore[no-any-return]


def resnet20(channels: int = 3, classes: int = 10) -> ResNet:
    """ResNet-20 for CIFAR-10: 3 stages of 3 blocks with 16, 32 and 64 channels, shortcuts without parameters.

    >>> sum(p.numel() for p in resnet20().parameters())
    269722
    """
    stem = nn.Sequential(nn.Conv2d(channels, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True))
    return ResNet(stem, 16, (3, 3, 3), classes, projection=False)


def resnet18(classes: int = 1000, small: bool = False) -> ResNet:
    """ResNet-18 for ImageNet; with `small`, for 64x64 images, its stem does not reduce the resolution.

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
    return ResNet(stem, 64, (2, 2, 2, 2), classes, projection=True)
