"""The parameter shapes of real models, from 33 thousand to 355 million parameters."""

from collections.abc import Callable

Shapes = list[tuple[int, ...]]


def cnn() -> Shapes:
    """The shapes of the small network of the Fashion-MNIST study."""
    convolutions = [(6, 1, 5, 5), (6,), (12, 6, 5, 5), (12,)]
    return [*convolutions, (120, 192), (120,), (60, 120), (60,), (10, 60), (10,)]


def resnet20() -> Shapes:
    """The shapes of ResNet-20 for CIFAR-10 (arXiv:1512.03385, section 4.2); its shortcuts have no parameters."""
    shapes = [(16, 3, 3, 3), (16,), (16,)]
    before = 16
    for width in (16, 32, 64):
        for _ in range(3):
            shapes += [(width, before, 3, 3), (width,), (width,), (width, width, 3, 3), (width,), (width,)]
            before = width
    return [*shapes, (10, 64), (10,)]


def resnet50() -> Shapes:
    """The shapes of ResNet-50 for ImageNet (arXiv:1512.03385, table 1)."""
    shapes = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for blocks, width in ((3, 64), (4, 128), (6, 256), (3, 512)):
        for block in range(blocks):
            for out, into, size in ((width, before, 1), (width, width, 3), (4 * width, width, 1)):
                shapes += [(out, into, size, size), (out,), (out,)]
            if block == 0:
                shapes += [(4 * width, before, 1, 1), (4 * width,), (4 * width,)]
            before = 4 * width
    return [*shapes, (1000, 2048), (1000,)]


def vit_s16() -> Shapes:
    """The shapes of ViT-S/16 for ImageNet (arXiv:2012.12877, table 1)."""
    d = 384
    return [
        *[(1, 1, d), (1, 197, d), (d, 3, 16, 16), (d,)],
        *[(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,), (4 * d, d), (4 * d,), (d, 4 * d), (d,)] * 12,
        *[(d,), (d,), (1000, d), (1000,)],
    ]


def _gpt2(layers: int, d: int) -> Shapes:
    layer = [(d,), (d,), (d, 3 * d), (3 * d,), (d, d), (d,), (d,), (d,), (d, 4 * d), (4 * d,), (4 * d, d), (d,)]
    return [(50257, d), (1024, d), *layer * layers, (d,), (d,)]


MODELS: dict[str, Callable[[], Shapes]] = {
    "cnn": cnn,
    "resnet20": resnet20,
    "vit-s16": vit_s16,
    "resnet50": resnet50,
    "gpt2": lambda: _gpt2(12, 768),
    "gpt2-medium": lambda: _gpt2(24, 1024),
}
