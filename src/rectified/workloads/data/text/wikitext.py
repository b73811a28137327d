"""WikiText-2: find its archive or its three files, or fetch them; check them, read them.

Good and featured articles of Wikipedia, two million words (Merity, Xiong, Bradbury, Socher 2016, arXiv:1609.07843). A
line is a paragraph, a heading or empty, and ends with <eos>; rare words are <unk> in the files already.
"""

import io
from collections.abc import Callable
from pathlib import Path

from .. import archives, fetch, published
from ..find import DataNotFoundError, Place, Say, Way, expanded, to_stderr
from .words import Corpus, corpus

NAME, TITLE = "wikitext-2", "WikiText-2"
ARCHIVE = "wikitext-2-v1.zip"
LIMIT = 1 << 27  # bytes of the unpacked archive: it has 13 MB
URL = f"https://s3.amazonaws.com/research.metamind.io/wikitext/{ARCHIVE}"

# SHA-256 of the files in the archive as published.
SUMS = {
    "wiki.train.tokens": "9e9fa1ad55b1c2c95b08e37dd8e653f638fac2c6de904b79e813611eefbc985f",
    "wiki.valid.tokens": "f0737ed31fc1329026e95cb8b98e19c2a182c39c240ab909dc31abf2f8af58e8",
    "wiki.test.tokens": "d790b833ef8cf03a90db7bf1271b7520b83c45ce07ba3c1a9699df81e239eca0",
}
LAYOUTS = ("", NAME, ARCHIVE, f"{NAME}/{ARCHIVE}")
WANTED = f"{', '.join(SUMS)}, or {ARCHIVE} with them; your own text is train.txt, valid.txt, test.txt"
WORDS = 2_088_628  # in the training text, with each line's <eos>
VOCABULARY = 33_278  # different ones
ADVICE = f"""What you can do:
  - fetch {URL}
    on any machine and name its folder with --data FOLDER, packed or unpacked, or unpack its files into {{cache}}
  - if the cache cannot be written: set RECTIFIED_CACHE to a folder that can"""


def load(place: Path) -> Corpus:
    """Read the folder or archive that `find()` returned.

    The texts have 2,088,628, 217,646 and 245,569 words, with each line's <eos>; the vocabulary has 33,278.

    Raises:
        DataNotFoundError: a file is missing, or the archive is damaged.
    """
    train, valid, test = (io.BytesIO(content()) for content in _files(expanded(place)).values())
    return corpus(train, valid, test, end=b"<eos>", unknown=b"<unk>")


def find(folder: Path | None = None, say: Say = to_stderr, fetch: bool = True) -> Path:
    """Find the folder with the three files, or the archive, and verify it: in `folder`, or by the first of WAYS.

    Args:
        folder: the user's, in any of LAYOUTS, or the archive; nothing else is tried then.
        say: is called with one line for whatever takes time or is damaged.
        fetch: if False, only look on this machine.

    Raises:
        DataNotFoundError: `folder` does not hold the data, or no way led to it.
    """
    if folder is not None:
        return _PLACE.named(folder, LAYOUTS, WANTED)
    return _PLACE.by(WAYS if fetch else WAYS[:1], ADVICE, say)


def _downloaded(say: Say) -> Path:
    def make(folder: Path) -> None:
        say(f"{TITLE}: downloading {URL}, 4 MB")
        archive = folder / ARCHIVE
        fetch.download(URL, archive)
        for name, content in archives.read(archive, [*SUMS], LIMIT).items():
            (folder / name).write_bytes(content)
        archive.unlink()

    return _PLACE.kept(make, say)


def _check(place: Path) -> Path:
    """Return the folder or archive if all three files are in it, as published."""
    for name, content in _files(place).items():
        if what := published.wrong(content(), name, SUMS):
            raise DataNotFoundError(f"{place}: {name}: {what}")
    return place


def _files(place: Path) -> dict[str, Callable[[], bytes]]:
    """A reader for each of the three files in a folder or archive, in order."""
    if place.is_file():
        packed = archives.read(place, [*SUMS], LIMIT)
        return {name: io.BytesIO(content).getvalue for name, content in packed.items()}
    if not place.is_dir():
        raise DataNotFoundError(f"{place}: no such folder or archive")
    if missing := [name for name in SUMS if not (place / name).is_file()]:
        raise DataNotFoundError(f"{place}: {', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")
    return {name: (place / name).read_bytes for name in SUMS}


_PLACE = Place(NAME, TITLE, _check)
WAYS: tuple[Way, ...] = (("the cache", _PLACE.cached), ("the official download", _downloaded))
