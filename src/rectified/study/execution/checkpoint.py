"""The checkpoint of a running run: one file, whose damage is detected."""

import errno
import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from ...files import read, write

NAME = "checkpoint.pt"

_DIGEST = 32  # bytes of SHA-256, ahead of what torch.save wrote: torch.load verifies no checksum


class CheckpointError(ValueError):
    """There is a checkpoint, but the run cannot resume from it."""


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint, atomically.

    Args:
        state: tensors, numbers and strings, and lists and dicts of these.
    """
    buffer = io.BytesIO()
    buffer.write(bytes(_DIGEST))
    torch.save(state, buffer)
    with buffer.getbuffer() as content:
        content[:_DIGEST] = hashlib.sha256(content[_DIGEST:]).digest()
        write(folder / NAME, content)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the state that :func:`write_checkpoint` wrote; None if there is no checkpoint.

    Raises:
        CheckpointError: the file is damaged or cannot be read.
    """
    path = folder / NAME
    try:
        content = read(path, limit=None)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL):
            raise CheckpointError(f"{path} is a link or a pipe, not a checkpoint") from None
        raise
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path} is damaged: its {len(content)} bytes do not match their checksum")
    try:
        return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except Exception as error:  # a file from another torch, or a malicious one, may raise anything
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} cannot be read by this torch: {why}") from None
