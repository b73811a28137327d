"""Pictures in memory, to be told apart."""

from typing import NamedTuple

from torch import Tensor


class Pictures(NamedTuple):
    """As bytes, uint8: grey ones [n, height, width], coloured ones [n, 3, height, width]; labels uint8 or int16 [n]."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
