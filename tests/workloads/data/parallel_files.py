"""Parallel text in files, small, and what is said of files that hold none."""

import gzip
from pathlib import Path

import pytest

from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.text.lines import Lines, ParallelText
from rectified.workloads.data.text.pairs import find

DE = [f"Der {i}. Satz, für alle.\u2028Ende" for i in range(40)]
EN = [f"Sentence {i}, for everyone." for i in range(40)]
PARTS = {"train": slice(0, 20), "valid": slice(20, 30), "test": slice(30, 40)}
WANTED = ParallelText(*(Lines(DE[part], EN[part]) for part in PARTS.values()))


def put(path: Path, lines: list[str]) -> None:
    content = "".join(f"{line}\n" for line in lines).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def aligned(folder: Path, stems=("train", "valid", "test"), end: str = "") -> Path:
    for stem, part in zip(stems, PARTS.values(), strict=True):
        put(folder / f"{stem}.de{end}", DE[part])
        put(folder / f"{stem}.en{end}", EN[part])
    return folder


def refused(folder: Path, words: str) -> None:
    with pytest.raises(DataNotFoundError, match=words):
        find(folder, "de", "en")
