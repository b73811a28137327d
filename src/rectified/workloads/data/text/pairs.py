"""Parallel text, line by line or sentence by sentence: find it in any of its usual formats, check it, read it.

- Line-aligned files: train, valid (or val, dev) and test, with the language as suffix, gzipped or not. So are
  Multi30k's task 1 (Elliott, Frank, Sima'an, Specia 2016, arXiv:1605.00459: captions of pictures) and what fairseq's
  scripts prepare: where words are cut by byte pair encoding, marked with "@@ ", they are joined again.
- IWSLT'14 as published (Cettolo et al. 2014: talks), split as fairseq's prepare-iwslt14.sh does it.
- Tatoeba's pairs as manythings.org has them: deu-eng.zip, or deu.txt, in which English comes first.
"""

import hashlib
import re
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

from .. import published
from ..find import DataNotFoundError, Place, Say, Way, to_stderr
from .lines import Lines, content, file, lines, paired, there, unzipped

URL = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/"

SUMS = {
    "test_2016_flickr.de": "4be6b5b3236b79c25475c6bb829800a7ce559e9ba7a1f6c2394fe4d40be46d16",
    "test_2016_flickr.en": "399a4382932c1aadd3ceb9bef1008d388a64c76d4ae4e9d4728c6f4301cac182",
    "val.de": "660e09eb7e1da2f856ea13ee5ad3cf6d36b3d5b0b733c857e94c5747a3dfc660",
    "val.en": "1f2a23d992769b5b3d209b0a10dd0b77c08cceb1f20dfb97ed0aafa49d107227",
    "train.de": "2c2b73fd2b548fbcde3a875e0a78d6ee94d498bfdee6bd3eae3945779e9ddf72",
    "train.en": "460a15fbd157e34a7a9957ee388c1ca247fe47af3ef25fb50442af6c274e0fc6",
}
ADVICE = f"""What you can do:
  - fetch {", ".join(f"{name}.gz" for name in SUMS)}
    from {URL}
    on any machine and name their folder with --data FOLDER, or put them into {{cache}}
  - name the folder of other parallel text with --data FOLDER
  - where the cache cannot be written: set RECTIFIED_CACHE to a folder that can"""

# A file's name before the language: what comes first counts. The long ones are the WMT'16 files of fairseq's guide.
STEMS = {
    "train": ("train", "train.tok.clean.bpe.32000"),
    "valid": ("valid", "val", "dev", "newstest2013.tok.bpe.32000"),
    "test": ("test", "test_2016_flickr", "newstest2014.tok.bpe.32000"),
}
IWSLT_TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
HELD_OUT = 1000  # of Tatoeba's pairs, for valid and for test each
CODES = {"de": "deu", "fr": "fra", "es": "spa", "it": "ita", "nl": "nld", "pt": "por", "ru": "rus", "cs": "ces"}


class Corpus(NamedTuple):
    """What to train on, to validate with and to test with."""

    train: Lines
    valid: Lines
    test: Lines


def find(folder: Path | None, source: str, target: str, say: Say = to_stderr, fetch: bool = True) -> Path:
    """Where parallel text in these languages is, checked: in `folder`, else Multi30k, from the cache or fetched.

    Raises:
        DataNotFoundError: `folder` does not hold it (nothing else is tried then), or Multi30k is not to be had.
    """
    if folder is not None:
        return _named(Path(folder).expanduser(), source, target)
    if {source, target} != {"de", "en"}:
        raise DataNotFoundError(
            f"what is fetched is German and English: name a folder with {source} and {target}, --data FOLDER"
        )
    return _MULTI30K.by(WAYS if fetch else WAYS[:1], ADVICE, say)


def load(place: Path, source: str, target: str) -> Corpus:
    """Read what `find` returned, or any folder or archive in one of the formats.

    Raises:
        DataNotFoundError: something is missing, damaged, not UTF-8, or in the wrong place; names it.
    """
    for read in (_iwslt14, _aligned, _tatoeba):
        if corpus := read(place, source, target):
            break
    else:
        raise DataNotFoundError(f"{place}: " + (_nothing(source, target) if place.exists() else "no such folder"))
    for part in Corpus._fields:
        if not getattr(corpus, part).source:
            raise DataNotFoundError(f"{place}: too short, nothing is left for {part}")
    for one, other in combinations(Corpus._fields, 2):
        if getattr(corpus, one) == getattr(corpus, other):
            raise DataNotFoundError(f"{place}: {one} and {other} are the same text")
    full = [(source, target) for source, target in zip(*corpus.train, strict=True) if source and target]
    return corpus._replace(train=Lines.of(full))


def _named(folder: Path, source: str, target: str) -> Path:
    def check(place: Path) -> Path:
        load(place, source, target)
        return place

    inside = ("data/task1/raw", "task1/raw", "raw", f"{source}-{target}", f"{target}-{source}")
    layouts = ["", *(layout for layout in inside if (folder / layout).is_dir())]
    title = f"parallel text in {source} and {target}"
    return Place("", title, check).named(folder, layouts, "the formats are in rectified/workloads/data/text/pairs.py")


def _nothing(source: str, target: str) -> str:
    tatoeba = f", nor {_foreign(source, target)}-eng.zip" if "en" in (source, target) else ""
    return (
        f"holds neither train.{source}[.gz] and train.{target}[.gz], nor train.tags.{source}-{target}.{source} and its "
        f"like{tatoeba}"
    )


# Multi30k


def _downloaded(say: Say) -> Path:
    return _MULTI30K.kept(lambda folder: published.download(folder, URL, SUMS, "Multi30k", say), say)


def _check(folder: Path) -> Path:
    return published.checked(folder, SUMS)


# Line-aligned files


def _aligned(folder: Path, source: str, target: str) -> Corpus | None:
    stems = {}
    for part, names in STEMS.items():
        found = [stem for stem in names for language in (source, target) if there(folder, f"{stem}.{language}")]
        if not found and part == "train":
            return None
        if not found:
            wanted = " or ".join(f"{stem}.{source}[.gz]" for stem in names)
            raise DataNotFoundError(f"{folder}: {wanted} is missing")
        stems[part] = found[0]
    if stems["test"] == "test_2016_flickr" and {source, target} == {"de", "en"}:
        _check(folder)
    paths = [[file(folder, f"{stem}.{language}") for language in (source, target)] for stem in stems.values()]
    return Corpus(*(paired(both, (_joined(lines(path, content(path))) for path in both)) for both in paths))


def _joined(text: list[str]) -> list[str]:
    """Words without the marks of subword-nmt's byte pair encoding.

    >>> _joined(["ein mä@@ d@@ chen", "tele@@"])
    ['ein mädchen', 'tele']
    """
    if not any("@@ " in line for line in text):
        return text
    return [re.sub(r"@@( |$)", "", line) for line in text]


# IWSLT'14


def _iwslt14(folder: Path, source: str, target: str) -> Corpus | None:
    languages = (source, target)
    for name in (f"{source}-{target}", f"{target}-{source}"):
        if any(there(folder, f"train.tags.{name}.{language}") for language in languages):
            break
    else:
        return None
    talks = [file(folder, f"train.tags.{name}.{language}") for language in languages]
    whole = paired(talks, (_untagged(lines(path, content(path))) for path in talks))
    clean = [pair for pair in zip(*whole, strict=True) if _alike(*pair)]
    test = Lines([], [])
    for one in IWSLT_TESTS:
        both = [file(folder, f"IWSLT14.{one}.{name}.{language}.xml") for language in languages]
        for side, more in zip(test, paired(both, map(_segments, both)), strict=True):
            side.extend(more)
    return Corpus(Lines.of([pair for i, pair in enumerate(clean, 1) if i % 23]), Lines.of(clean[22::23]), test)


def _untagged(text: list[str]) -> list[str]:
    """The talks, their titles and descriptions, without what else is in tags.

    >>> _untagged(["<url>http://...</url>", "<title>Of fish</title>", "Well.", "<translator id='1'>A B</translator>"])
    ['Of fish', 'Well.']
    """
    text = [re.sub("</?(title|description)>", "", line).strip() for line in text]
    return [line for line in text if not re.match("</?[a-z]+[ >]", line)]


def _alike(source: str, target: str) -> bool:
    """Whether neither is empty, longer than 175 tokens, or more than half as long again as the other.

    Tokens are words and punctuation marks, which is nearly what Moses' tokenizer makes.
    """
    short, long = sorted(len(re.findall(r"\w+|[^\w\s]", line)) for line in (source, target))
    return short >= 1 and long <= 175 and long <= 1.5 * short


def _segments(path: Path) -> list[str]:
    """The sentences of a test set, with plain apostrophes, as fairseq's script has them there."""
    found = []
    for line in lines(path, content(path)):
        if "<seg id" in line:
            match = re.fullmatch(r'<seg id="\d+">(.*)</seg>', line)
            if match is None:
                raise DataNotFoundError(f"{path}: {line!r} is no whole segment")
            found.append(match[1].strip().replace("’", "'"))
    return found


# Tatoeba


def _tatoeba(place: Path, source: str, target: str) -> Corpus | None:
    if "en" not in (source, target):
        return None
    other = _foreign(source, target)
    names = (f"{other}-eng.zip", f"{other}.txt")
    path = next(
        (path for path in [place, *(place / name for name in names)] if path.name in names and path.is_file()), None
    )
    if path is None:
        return None
    pairs = []
    for number, line in enumerate(lines(path, unzipped(path, names[1]) if path.suffix == ".zip" else content(path)), 1):
        columns = line.split("\t")
        if len(columns) not in (2, 3):  # the third tells whose the sentences are
            raise DataNotFoundError(f"{path}: line {number} has {len(columns)} columns; it must have 2 or 3")
        pairs.append((columns[0], columns[1]))
    # By a hash of the English: a sentence's several translations stay side by side, and a cut parts hardly any.
    pairs = sorted(dict.fromkeys(pairs), key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    if source != "en":
        pairs = [(foreign, english) for english, foreign in pairs]
    held = min(HELD_OUT, len(pairs) // 10)
    if not held:
        raise DataNotFoundError(f"{path}: {len(pairs)} different pairs are too few to hold any out")
    known = [set(side) for side in zip(*pairs[-2 * held :], strict=True)]
    train = [pair for pair in pairs[: -2 * held] if pair[0] not in known[0] and pair[1] not in known[1]]
    return Corpus(Lines.of(train), Lines.of(pairs[-2 * held : -held]), Lines.of(pairs[-held:]))


def _foreign(source: str, target: str) -> str:
    """The language that is not English, as manythings.org names it."""
    other = target if source == "en" else source
    return CODES.get(other, other)


_MULTI30K = Place("multi30k", "Multi30k", _check)
WAYS: tuple[Way, ...] = (("the cache", _MULTI30K.cached), ("the official download", _downloaded))
