"""`rectified pack`: write a study's finished runs into its archive, and remove their folders on request."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...files import write
from ..config.runs import RunKey
from ..execution import checkpoint
from . import archive
from .archive import ArchivedRun, copy_of, line_of, packed, read_archive
from .locks import is_locked
from .records import Record
from .run_files import read_record
from .run_folder import clear, refuse_link
from .store import Store


@dataclass(frozen=True)
class Packed:
    """The result of packing a study.

    Attributes:
        path: the archive.
        size: the size of the archive in bytes.
        runs: the number of runs in it.
        unfinished: runs that started but have not finished; they stay in their folders.
        left_out: messages about other runs that are not in it, one line each.
        folders: remaining folders of packed runs.
    """

    path: Path
    size: int
    runs: int
    unfinished: tuple[RunKey, ...]
    left_out: tuple[str, ...]
    folders: tuple[Path, ...]


def pack(store: Store, remove_folders: bool = False) -> Packed:
    """Write the archive of all finished runs, including those of an earlier archive.

    Args:
        remove_folders: remove the folders of packed runs once the archive has been read back. Files that do not belong
            to this program stay, and so does the checkpoint from which a failed run resumes.

    Raises:
        NotAStudyError: a study is running in the folder.
        ValueError: no run has finished, an earlier archive is damaged, or the runs are too large for an archive.
        OSError: the archive cannot be written, or reads back differently.
    """
    with store.locked():
        if store.archive.problems:
            raise ValueError(f"{store.archive.problems[0]}; move the file away, and pack the folders")
        # What a run has in the current archive stays until its folder holds something intact to replace it.
        runs: dict[RunKey, ArchivedRun] = dict(store.archive.runs)
        lines = {run: line_of(run, files) for run, files in runs.items()}
        records: dict[RunKey, Record] = {}
        unfinished, left_out = [], []
        for run in dict.fromkeys([*store.runs(), *store.on_disk()]):
            try:
                copy = copy_of(store.files(run))
                line = line_of(run, copy)
            except (OSError, ValueError) as error:
                left_out.append(f"{run} stays in its folder: {error}")
                continue
            record = read_record(run, copy)
            if record.status != "missing":
                runs[run], lines[run], records[run] = copy, line, record
            elif record.error:
                left_out.append(f"{run} is damaged, so it was not packed: {record.reason}")
            elif copy.files:
                unfinished.append(run)
        if not runs:
            raise ValueError(f"{store.out} has no finished runs, so there is nothing to pack")
        path, content = store.out / archive.NAME, packed(lines)
        write(path, content)
        if read_archive(path).runs != runs:
            raise OSError(f"{path} reads back differently; the folders stay")
        if remove_folders:
            for run, record in records.items():
                _remove(store.folder(run), record)
            with suppress(OSError):  # it holds something else, or does not exist
                store.folder_of_runs.rmdir()
        folders = tuple(folder for run in runs if (folder := store.folder(run)).is_dir())
        return Packed(path, len(content), len(runs), tuple(unfinished), tuple(left_out), folders)


def _remove(folder: Path, record: Record) -> None:
    """Remove a packed run's folder, unless something in it is needed or belongs to somebody else."""
    if not record.finished and (folder / checkpoint.NAME).exists():
        return
    with suppress(OSError):  # it is gone, holds something else, or is a link
        refuse_link(folder)
        if not is_locked(folder):
            clear(folder, keep=())
            folder.rmdir()
