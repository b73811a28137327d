"""Tatoeba's sentence pairs as manythings.org has them: deu-eng.zip, or deu.txt, in which English comes first."""

import hashlib
from pathlib import Path

from .. import archives
from ..find import DataNotFoundError
from .lines import Lines, ParallelText, content, lines

HELD_OUT = 1000  # pairs, for valid and for test each
LIMIT = 1 << 30  # bytes of an unpacked archive: the largest ones have about 0.1 GB
CODES = {"de": "deu", "fr": "fra", "es": "spa", "it": "ita", "nl": "nld", "pt": "por", "ru": "rus", "cs": "ces"}


def read(place: Path, source: str, target: str) -> ParallelText | None:
    """The pairs in a folder or file; None if they are not there, or neither language is English.

    A tenth of the pairs, at most HELD_OUT, is for valid, and as many for test.

    Raises:
        DataNotFoundError: the file is damaged, in another format, or too short; names it.
    """
    if "en" not in (source, target):
        return None
    names = (archive(source, target), f"{_foreign(source, target)}.txt")
    paths = [place, *(place / name for name in names)]
    path = next((path for path in paths if path.name in names and path.is_file()), None)
    if path is None:
        return None
    pairs = []
    text = archives.read(path, names[1:], LIMIT)[names[1]] if path.suffix == ".zip" else content(path)
    for number, line in enumerate(lines(path, text), 1):
        columns = line.split("\t")
        if len(columns) not in (2, 3):  # the third names the authors
            raise DataNotFoundError(f"{path}: line {number} has {len(columns)} columns; it must have 2 or 3")
        pairs.append((columns[0], columns[1]))
    # Sort by a hash of the English, so that translations of the same sentence stay together and are rarely separated.
    pairs = sorted(dict.fromkeys(pairs), key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    if source != "en":
        pairs = [(foreign, english) for english, foreign in pairs]
    held = min(HELD_OUT, len(pairs) // 10)
    if not held:
        raise DataNotFoundError(f"{path}: {len(pairs)} distinct pairs are too few to hold any out")
    known = [set(side) for side in zip(*pairs[-2 * held :], strict=True)]
    train = [pair for pair in pairs[: -2 * held] if pair[0] not in known[0] and pair[1] not in known[1]]
    return ParallelText(Lines.of(train), Lines.of(pairs[-2 * held : -held]), Lines.of(pairs[-held:]))


def archive(source: str, target: str) -> str:
    """The name of the file on manythings.org.

    >>> archive("en", "de")
    'deu-eng.zip'
    """
    return f"{_foreign(source, target)}-eng.zip"


def languages(folder: Path) -> set[str]:
    """The languages of the pairs in a folder, by the files' names."""
    found = {path.name.removesuffix("-eng.zip") for path in folder.glob("???-eng.zip")}
    found |= {code for code in CODES.values() if (folder / f"{code}.txt").is_file()}
    short = {code: language for language, code in CODES.items()}
    return {short.get(code, code) for code in found} | ({"en"} if found else set())


def _foreign(source: str, target: str) -> str:
    """The language that is not English, as manythings.org names it."""
    other = target if source == "en" else source
    return CODES.get(other, other)
