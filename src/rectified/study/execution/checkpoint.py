"""The checkpoint of a run under way: one file, whole or known not to be."""

import errno
import hashlib
import io
from pathlib import Path
from typing import Any

import torch

from ...files import read, write

NAME = "checkpoint.pt"

_DIGEST = 32  # bytes of SHA-256, in front of what torch.save wrote: torch.load checks no sum


class CheckpointError(ValueError):
    """There is a checkpoint, but nothing that this run could go on from."""


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Replace the folder's checkpoint, all of it or not at all.

    Args:
        state: tensors, numbers, texts, and lists and dicts of them.
    """
    buffer = io.BytesIO()
    buffer.write(bytes(_DIGEST))
    torch.save(state, buffer)
    with buffer.getbuffer() as content:
        content[:_DIGEST] = hashlib.sha256(content[_DIGEST:]).digest()
        write(folder / NAME, content)


def read_checkpoint(folder: Path) -> dict[str, Any] | None:
    """What :func:`write_checkpoint` was given; None if there is no checkpoint.

    Raises:
        CheckpointError: the file is not as it was written.
    """
    path = folder / NAME
    try:
        content = read(path, limit=None)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EINVAL):
            raise CheckpointError(f"{path} is a link or a pipe, and not what was written") from None
        raise
    digest, body = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(body).digest() != digest:
        raise CheckpointError(f"{path} is damaged: its {len(content)} bytes are not those that were written")
    try:
        return torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
    except Exception as error:  # whatever a file of another torch, or one that was made to fail, leads to
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise CheckpointError(f"{path} cannot be read by this torch: {why}") from None
