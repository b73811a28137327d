"""One Billion Word: find its shards, check them, read them.

Sentences of news, one per line, tokenized, shuffled, without duplicates (Chelba, Mikolov, Schuster, Ge, Brants, Koehn,
Robinson 2013, arXiv:1312.3005): 30,301,028 to train on, with 768,648,884 words, in the shards 1 to 99. Shard 0 is held
out, in 50 parts: part 0 is the test, as in that paper, 159,658 words with each sentence's </S>; part 1 is for
validation.

The RAdam authors' code evaluates on all 50 parts each epoch, and its vocabulary has the words that are seen at least
four times; the benchmark's and ours have those that are seen three times. As in that code, a sentence begins where the
one before ended: there is no <S>, which a model never has to predict, and the vocabulary has one word less than the
published 793,471.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from .. import cache
from ..find import DataNotFoundError, Place, Say, expanded, to_stderr
from .words import Corpus, corpus

NAME = "one-billion-word"
FOLDER = "1-billion-word-language-modeling-benchmark-r13output"
URL = f"https://www.statmt.org/lm-benchmark/{FOLDER}.tar.gz"
LAYOUTS = ("", FOLDER)

SHARDS = 99  # to train on
WORDS = 768_648_884 + 30_301_028  # in all shards, with each sentence's </S>
VOCABULARY = 793_470  # different words that are seen SEEN times in all shards: the published number without <S>
SEEN = 3  # times in training: rarer words are <UNK>

# About how many are in a shard, and in a part of the one held out: each sentence was put into one at random.
SENTENCES = {"training": 306_071, "heldout": 6_134}
APART = 0.05

ADVICE = f"""What you can do:
  - fetch {URL}, 1.8 GB, unpack it,
    and name the folder with --data FOLDER, or move it into {{cache}}
  - with the option shards=N only the first N of {SHARDS} shards are needed
It is not fetched for you, since there is no published checksum."""


def load(folder: Path, shards: int = SHARDS) -> Corpus:
    """Read the first `shards` training shards, and the held-out parts, in the folder that `find()` returned.

    A word is rare if it is rare in these shards. The texts take four bytes per word, 3.2 GB for all shards, and reading
    them takes the memory of 2.4 million different words.
    """
    test, valid, *training = _files(expanded(folder), shards)
    lines = (line for path in training for line in _lines(path))
    return corpus(lines, _lines(valid), _lines(test), end=b"</S>", unknown=b"<UNK>", seen=SEEN)


def find(folder: Path | None = None, shards: int = SHARDS, say: Say = to_stderr) -> Path:
    """Find the benchmark in the user's `folder` or in the cache, and check that its first `shards` shards are whole.

    Raises:
        DataNotFoundError: it is not there, or a shard is missing, cut off, of another size, or a copy of another one.
    """
    place = Place(NAME, "One Billion Word", partial(_check, shards=shards))
    wanted = f"the folder {FOLDER}"
    if folder is not None:
        return place.named(folder, LAYOUTS, wanted)
    # Not Place.cached, which sets incomplete data aside: here the user put it there, and it may do for fewer shards.
    return place.by([("the cache", lambda say: place.named(cache.root() / NAME, LAYOUTS, wanted))], ADVICE, say)


def _check(folder: Path, shards: int) -> Path:
    """Return the folder if its files are plausible; reads every byte."""
    paths = _files(folder, shards)
    if not folder.is_dir():
        raise DataNotFoundError(f"{folder}: no such folder")
    if missing := [str(path.relative_to(folder)) for path in paths if not path.is_file()]:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise DataNotFoundError(f"{folder}: missing: {', '.join(missing[:3])}{more}")
    beginnings: dict[bytes, Path] = {}
    for path in paths:
        beginning, sentences = _survey(path)
        kind = path.parent.name.partition("-")[0]
        if abs(sentences - SENTENCES[kind]) > APART * SENTENCES[kind]:
            raise DataNotFoundError(f"{path}: {sentences:,} sentences; such a file has about {SENTENCES[kind]:,}")
        if (other := beginnings.setdefault(beginning, path)) is not path:
            raise DataNotFoundError(f"{path}: begins like {other.name}, but no sentence may appear twice")
    return folder


def _files(folder: Path, shards: int) -> list[Path]:
    """The paths of the test part, the validation part, and the training shards."""
    held_out, training = (folder / f"{kind}-monolingual.tokenized.shuffled" for kind in ("heldout", "training"))
    parts = [held_out / f"news.en.heldout-{part:05d}-of-00050" for part in range(2)]
    return parts + [training / f"news.en-{shard:05d}-of-00100" for shard in range(1, shards + 1)]


def _survey(path: Path) -> tuple[bytes, int]:
    """The first line of a file, and its number of lines.

    Raises:
        DataNotFoundError: the last line has no end.
    """
    with path.open("rb") as file:
        first = last = file.readline(1 << 20)  # without ends of lines it would be all of the file
        count = first.count(b"\n")
        while part := file.read(1 << 20):
            count += part.count(b"\n")
            last = part
    if not last.endswith(b"\n"):
        raise DataNotFoundError(f"{path}: cut off within line {count + 1:,}")
    return first, count


def _lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from file
