"""Make the miniature of Fashion-MNIST that ships with the package: the first pictures of each class.

    python tools/make_fashion_mnist_mini.py [FOLDER]        # default: where the package has it

The content depends on nothing; the .gz bytes can differ between versions of zlib.
"""

import gzip
import sys
from pathlib import Path

import torch
from torch import Tensor

from rectified.workloads.data.images import fashion_mnist_files, idx

TRAIN, TEST = 600, 100  # pictures of each class


def first_of_each_class(labels: Tensor, count: int) -> Tensor:
    """Where the first `count` of each label are, in the order of the whole."""
    return torch.cat([(labels == label).nonzero()[:count, 0] for label in range(10)]).sort().values


def write(path: Path, array: Tensor) -> None:
    # GzipFile with neither name nor time in its header: two runs give the same bytes.
    with path.open("wb") as file, gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
        packed.write(idx.pack(array))


def main(folder: Path) -> None:
    full = fashion_mnist_files.load(fashion_mnist_files.find())
    train = first_of_each_class(full.train_labels, TRAIN)
    test = first_of_each_class(full.test_labels, TEST)
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / "train-images-idx3-ubyte.gz", full.train_images[train])
    write(folder / "train-labels-idx1-ubyte.gz", full.train_labels[train])
    write(folder / "t10k-images-idx3-ubyte.gz", full.test_images[test])
    write(folder / "t10k-labels-idx1-ubyte.gz", full.test_labels[test])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else fashion_mnist_files.mini())
