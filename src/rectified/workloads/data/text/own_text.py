"""A user's own text for a word-level language model: a folder with three files, also under Penn Treebank's names.

Words are what ASCII white space separates, and each line ends with <eos>. The files are UTF-8, gzipped or not.
"""

import hashlib
import io
import re
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from ..find import DataNotFoundError, expanded
from . import wikitext
from .lines import content, decoded, file, there
from .words import Corpus, corpus

PARTS = ("train", "valid", "test")
STYLES = ("{}.txt", "ptb.{}.txt")
WANTED = ", or ".join(", ".join(style.format(part) for part in PARTS) for style in STYLES)
END, UNKNOWN, BOM = b"<eos>", b"<unk>", b"\xef\xbb\xbf"
MIN_COUNT = 3  # as in WikiText-2


@dataclass(frozen=True)
class Identity:
    """The identity of a text; different texts have different identities.

    Attributes:
        name: the folder's.
        words: how many there are to train on, with each line's <eos>.
        digest: of the content of all three files.

    >>> str(Identity("ptb", 929_589, "0123456789"))
    'ptb_929589_0123456789'
    """

    name: str
    words: int
    digest: str

    @classmethod
    def parse(cls, text: str) -> "Identity":
        """Parse an identity.

        Raises:
            ValueError: the text is not an identity.

        >>> Identity.parse("ptb_929589_0123456789").words
        929589
        """
        match = re.fullmatch(r"([a-z]\w*)_([1-9]\d*)_([0-9a-f]{10})", text, re.ASCII)
        if match is None:
            raise ValueError(
                f"corpus is {text!r}; leave it out: it is filled in for the text that --data FOLDER names ({WANTED})"
            )
        return cls(match[1], int(match[2]), match[3])

    @property
    def title(self) -> str:
        """The title of the text in reports.

        >>> Identity("ptb", 929_589, "0123456789").title
        'Own text ptb (0123456789)'
        """
        return f"Own text {self.name} ({self.digest})"

    def __str__(self) -> str:
        return f"{self.name}_{self.words}_{self.digest}"


def is_in(folder: Path) -> bool:
    """Whether the folder holds a text under one of the names, and not WikiText-2."""
    folder = expanded(folder)
    if any((folder / name).exists() for name in (*wikitext.SUMS, *wikitext.LAYOUTS[1:])):
        return False
    return any(there(folder, style.format(part)) for style in STYLES for part in PARTS)


def identify(folder: Path) -> Identity:
    """Read and check the three files.

    Raises:
        DataNotFoundError: a file is missing, holds no words, is not UTF-8, or is a copy of another; names it.
    """
    texts = _texts(folder)
    for path, text in texts.items():
        decoded(path, text)
        if not text.strip():
            raise DataNotFoundError(f"{path}: holds no words")
    for (one, text), (other, copy) in combinations(texts.items(), 2):
        if text == copy:
            raise DataNotFoundError(f"{one} and {other} are the same text")
    train = next(iter(texts.values()))
    # A name begins with a letter and holds letters, digits and _, so that a command line needs no quotes inside of it.
    name = re.sub(r"[^a-z0-9]+", "_", expanded(folder).resolve().name.lower()).strip("_")
    return Identity(name if name[:1].isalpha() else f"text_{name}".rstrip("_"), _count(train), _digest(texts))


def find(folder: Path | None, wanted: Identity) -> Path:
    """The folder, if the text in it is the one that is wanted; its name may have changed.

    Raises:
        DataNotFoundError: no folder is named, it holds no text, or another one.
    """
    if folder is None:
        raise DataNotFoundError(f"the text {wanted} is your own: name its folder with --data FOLDER")
    found = identify(folder)
    if (found.words, found.digest) != (wanted.words, wanted.digest):
        raise DataNotFoundError(f"{folder} holds the text {found}, not {wanted}: it has changed, or it is another text")
    return expanded(folder)


def load(folder: Path, min_count: int = 0) -> Corpus:
    """Read the three files, with words seen less than `min_count` times in train.txt as <unk>.

    Args:
        min_count: 0 is 1 where <unk> is among the training words, as in Penn Treebank, and MIN_COUNT elsewhere.
    """
    train, valid, test = _texts(folder).values()
    if not min_count:
        min_count = 1 if any(UNKNOWN in line.split() for line in io.BytesIO(train)) else MIN_COUNT
    return corpus(io.BytesIO(train), io.BytesIO(valid), io.BytesIO(test), end=END, unknown=UNKNOWN, seen=min_count)


def _texts(folder: Path) -> dict[Path, bytes]:
    """The content of the three files, the training text first."""
    folder = expanded(folder)
    style = max(STYLES, key=lambda style: sum(there(folder, style.format(part)) is not None for part in PARTS))
    paths = [file(folder, style.format(part)) for part in PARTS]
    return {path: content(path).removeprefix(BOM) for path in paths}


def _count(text: bytes) -> int:
    """How many words there are, with each line's <eos>.

    >>> _count(b" to be \\n\\nor not"), _count(b"to be\\n")
    (7, 3)
    """
    return sum(len(line.split()) + 1 for line in io.BytesIO(text))


def _digest(texts: dict[Path, bytes]) -> str:
    parts = (hashlib.sha256(text).digest() for text in texts.values())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:10]
