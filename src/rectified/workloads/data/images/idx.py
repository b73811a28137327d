"""IDX, the file format of MNIST and its relatives: unsigned bytes only, gzipped or not.

    0, 0, type (0x08: unsigned byte), number of dimensions, their sizes (32 bits each, big-endian), the bytes

The format is LeCun's, from the page of the first MNIST.
"""

import math
import struct
from pathlib import Path

import torch
from torch import Tensor

from .. import archives

LIMIT = 1 << 30  # bytes of an unpacked file: those of EMNIST, the largest relative, have 0.6 GB
UNSIGNED_BYTE = 0x08
OTHER_TYPES = {0x09: "int8", 0x0B: "int16", 0x0C: "int32", 0x0D: "float32", 0x0E: "float64"}


def read(path: Path, dims: int) -> Tensor:
    """Read a file as a uint8 tensor with `dims` dimensions.

    Raises:
        DataNotFoundError: it is a damaged gzip file, or unpacks to more than LIMIT.
        ValueError: it is not IDX, has another type or other dimensions, or bytes are missing or left over; names it.

    >>> from rectified.workloads.data.images.fashion_mnist_files import mini
    >>> read(mini() / "t10k-labels-idx1-ubyte.gz", dims=1)[:5].tolist()
    [9, 2, 1, 1, 6]
    """
    try:
        return _unpack(archives.contents(path, LIMIT), dims)
    except ValueError as wrong:
        raise ValueError(f"{path}: {wrong}") from wrong


def pack(array: Tensor) -> bytes:
    """The bytes of an IDX file that holds the uint8 tensor, as `read` reads it.

    >>> pack(torch.tensor([7, 9], dtype=torch.uint8)).hex(" ")
    '00 00 08 01 00 00 00 02 07 09'
    """
    if array.dtype != torch.uint8:
        raise ValueError(f"IDX is written from uint8 here, not {array.dtype}")
    header = struct.pack(f">HBB{array.dim()}I", 0, UNSIGNED_BYTE, array.dim(), *array.shape)
    return header + bytes(array.flatten().tolist())


def _unpack(data: bytes, dims: int) -> Tensor:
    if len(data) < 4 or data[:2] != b"\0\0":
        raise ValueError("not an IDX file (an IDX file begins with two zero bytes)")
    kind, stated = data[2], data[3]
    if kind != UNSIGNED_BYTE:
        found = OTHER_TYPES.get(kind, "no type of the format")
        raise ValueError(f"holds type 0x{kind:02x} ({found}), expected 0x08 (unsigned bytes)")
    if stated != dims:
        raise ValueError(f"has {stated} dimensions, expected {dims}")
    start = 4 + 4 * dims
    if len(data) < start:
        raise ValueError("truncated within its header")
    shape = struct.unpack_from(f">{dims}I", data, 4)
    size, promised = len(data) - start, math.prod(shape)
    if size < promised:
        raise ValueError(f"truncated: {size} bytes of data, its header {shape} promises {promised}")
    if size > promised:
        raise ValueError(f"{size - promised} bytes too many behind the data of its header {shape}")
    if promised == 0:  # frombuffer refuses to make an empty tensor
        return torch.empty(shape, dtype=torch.uint8)
    # A bytearray, since torch warns about memory it may not write to.
    return torch.frombuffer(bytearray(data), dtype=torch.uint8, offset=start).reshape(shape)
