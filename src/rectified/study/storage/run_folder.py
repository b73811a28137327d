"""A run's folder: which files in it are this program's, and whether they are as they were written.

config.json               the run and what it is computed with
rows.jsonl                one row an epoch
steps.csv                 loss and omega of single steps: the first 200, then ever fewer
gradients.csv             histograms of the first steps' gradients, where they were asked for
events.out.tfevents.*     TensorBoard's
checkpoint.pt             what the run resumes from, until it is done
done.json                 written last: how the run ended, and the SHA-256 of its results
.lock                     empty; locked by the worker that writes the folder

Nothing else in there is ever removed, and no link in there is followed.
"""

import errno
import hashlib
from collections.abc import Mapping
from pathlib import Path

from ...files import is_temporary, read
from ..execution import checkpoint, first_steps, gradients
from .locks import LOCK

CONFIG, ROWS, DONE = "config.json", "rows.jsonl", "done.json"
RESULTS = (ROWS, first_steps.NAME, gradients.NAME)  # what done.json vouches for

_NAMES = (CONFIG, *RESULTS, checkpoint.NAME, DONE, LOCK)
_EVENTS = "events.out.tfevents."


def is_ours(name: str) -> bool:
    """Whether a file of a run's folder is one that this program writes.

    >>> is_ours("rows.jsonl"), is_ours("notes.txt"), is_ours("../rows.jsonl")
    (True, False, False)
    """
    return name in _NAMES or (name.startswith(_EVENTS) and "/" not in name) or is_temporary(name)


def refuse_link(folder: Path) -> None:
    """Refuse a run's folder that is a link, or is in a folder that is one.

    Raises:
        OSError: it is; what is written there might be somebody's.
    """
    for path in (folder, folder.parent):
        if path.is_symlink():
            raise OSError(errno.ELOOP, "a link, and no run is written through one; move it away", str(path))


def clear(folder: Path, keep: tuple[str, ...]) -> None:
    """Remove this program's files from a run's folder, but those to keep; whatever else is in there stays."""
    for path in folder.iterdir():
        if is_ours(path.name) and path.name not in keep:
            path.unlink()


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of results that is there, by name."""
    found = {}
    for name in RESULTS:
        try:
            found[name] = hashlib.sha256(read(folder / name)).hexdigest()
        except FileNotFoundError:
            continue
    return found


def check_digests(folder: Path, expected: Mapping[str, str]) -> None:
    """Check a run's results against their digests; a file that an earlier version wrote without one is not checked.

    Raises:
        ValueError: a file is not as it was written.
    """
    found = digests(folder)
    for name, digest in expected.items():
        if found.get(name) != digest:
            raise ValueError(f"{name} is not as it was written" if name in found else f"{name} is gone")
