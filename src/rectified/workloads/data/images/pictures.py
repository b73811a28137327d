"""A data set for image classification in memory."""

from typing import NamedTuple

from torch import Tensor


class Pictures(NamedTuple):
    """Images, uint8 [n, height, width] if gray, [n, 3, height, width] if colored, with labels, uint8 or int16 [n]."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
