"""A run's folder: which files in it belong to this program.

config.json               the run and the versions it is computed with
rows.jsonl                one row per epoch
steps.csv                 loss and omega of single steps: the first 200, then fewer and fewer
gradients.csv             histograms of the first steps' gradients, if requested
events.out.tfevents.*     TensorBoard events
checkpoint.pt             the state from which the run resumes, until it is done
done.json                 written last: how the run ended, and the SHA-256 of its results
.lock                     empty; locked by the worker that writes the folder

Nothing else in the folder is ever removed, and no link in it is followed.
"""

import errno
import os
from dataclasses import dataclass
from pathlib import Path

from ...files import is_temporary, read
from ..execution import checkpoint, first_steps, gradients
from .locks import LOCK

CONFIG, ROWS, DONE = "config.json", "rows.jsonl", "done.json"
RESULTS = (ROWS, first_steps.NAME, gradients.NAME)  # the files whose digests are in done.json

_NAMES = (CONFIG, *RESULTS, checkpoint.NAME, DONE, LOCK)
_EVENTS = "events.out.tfevents."


def is_ours(name: str) -> bool:
    """Whether a file in a run's folder is one that this program writes.

    >>> is_ours("rows.jsonl"), is_ours("notes.txt"), is_ours("../rows.jsonl")
    (True, False, False)
    """
    return name in _NAMES or (name.startswith(_EVENTS) and "/" not in name) or is_temporary(name)


def refuse_link(folder: Path) -> None:
    """Reject a run's folder that is a link, or is inside a folder that is a link.

    Raises:
        OSError: it is a link, so writing to it might overwrite somebody's files.
    """
    for path in (folder, folder.parent):
        if path.is_symlink():
            raise OSError(errno.ELOOP, "a link; runs are not written through links, so move it away", str(path))


def clear(folder: Path, keep: tuple[str, ...]) -> None:
    """Remove this program's files from a run's folder, except those to keep; other files stay."""
    for path in folder.iterdir():
        if is_ours(path.name) and path.name not in keep:
            path.unlink()


@dataclass(frozen=True)
class RunFolder:
    """A run's files where they lie in its folder, see :class:`~.run_files.RunFiles`."""

    path: Path

    @property
    def begun(self) -> bool:
        """Whether anything of the run is in there, or a link in its place; a lock or TensorBoard's files are not."""
        if self.path.is_symlink() or self.path.parent.is_symlink():
            return True
        return any(os.path.lexists(self.path / name) for name in (CONFIG, checkpoint.NAME, DONE))

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            OSError: there is no such file, or it or the folder is a link.
        """
        refuse_link(self.path)
        return read(self.path / name)
