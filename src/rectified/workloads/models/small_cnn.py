"""The small convolutional network of the report on the RAdam paper, initialized as torch does."""

from torch import Tensor, nn


class SmallCNN(nn.Module):
    """Two 5x5 convolutions (6 and 12 channels), each with ReLU and 2x2 max pooling, then layers of 120, 60, 10 units.

    >>> sum(p.numel() for p in SmallCNN().parameters())
    32998
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(1, 6, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 12, kernel_size=5), nn.ReLU(), nn.MaxPool2d(2)),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(),
            *(nn.Linear(192, 120), nn.ReLU()),
            *(nn.Linear(120, 60), nn.ReLU()),
            nn.Linear(60, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Images [n, 1, 28, 28] to logits [n, 10]."""
        return self.classifier(self.features(x))  # type: ignore[no-any-return]
