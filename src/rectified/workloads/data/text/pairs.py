"""Parallel text: find it in any of its usual formats, check it, read it.

- Line-aligned files: train, valid (or val, dev) and test, with the language as suffix, gzipped or not. Among them are
  Multi30k's task 1 (Elliott, Frank, Sima'an, Specia 2016, arXiv:1605.00459: captions of pictures) and what fairseq's
  scripts prepare: words that byte pair encoding has cut, marked with "@@ ", are joined again.
- IWSLT'14 as published, see iwslt14.py.
- Tatoeba's pairs, see tatoeba.py.
"""

import re
from collections.abc import Sequence
from contextlib import suppress
from itertools import combinations
from pathlib import Path

from .. import published
from ..find import DataNotFoundError, Place, Say, Way, expanded, to_stderr
from . import iwslt14, tatoeba
from .lines import Lines, ParallelText, content, file, lines, paired, there

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
  - if the cache cannot be written: set RECTIFIED_CACHE to a folder that can"""

# A file's name before the language: the first that is there counts. The long ones are WMT'16's in fairseq's guide.
STEMS = {
    "train": ("train", "train.tok.clean.bpe.32000"),
    "valid": ("valid", "val", "dev", "newstest2013.tok.bpe.32000"),
    "test": ("test", "test_2016_flickr", "newstest2014.tok.bpe.32000"),
}
INSIDE = ("data/task1/raw", "task1/raw", "raw")  # where Multi30k has its files


def find(
    folder: Path | None,
    source: str,
    target: str,
    say: Say = to_stderr,
    fetch: bool = True,
    *,
    task: str = "translation",
    if_tokenized: str = "",
) -> Path:
    """Find and check parallel text: in the user's `folder`, else Multi30k, in the cache or fetched into it.

    Args:
        source, target: the languages, as in the files' names.
        say: is called with one line for whatever takes time or needs attention.
        fetch: if False, only look on this machine.
        task: the name of the task that asks, for messages.
        if_tokenized: what to say of a user's text that Moses' tokenizer has been through.

    Returns:
        The folder or archive, for :func:`load`.

    Raises:
        DataNotFoundError: `folder` does not hold such text (nothing else is tried then), or Multi30k cannot be had.
    """
    if folder is not None:
        return _named(expanded(folder), source, target, task, say, if_tokenized)
    if {source, target} != {"de", "en"}:
        raise DataNotFoundError(
            f"only German and English can be fetched: name a folder with {source} and {target}, --data FOLDER"
        )
    return _MULTI30K.by(WAYS if fetch else WAYS[:1], ADVICE, say)


def load(place: Path, source: str, target: str) -> ParallelText:
    """Read what `find` returned, or any folder or archive in one of the formats.

    Raises:
        DataNotFoundError: something is missing, damaged, not UTF-8, or in the wrong place; names it.
    """
    place = expanded(place)
    for read in (iwslt14.read, _aligned, tatoeba.read):
        if text := read(place, source, target):
            break
    else:
        raise DataNotFoundError(f"{place}: " + (_nothing(source, target) if place.exists() else "no such folder"))
    for part in ParallelText._fields:
        if not getattr(text, part).source:
            raise DataNotFoundError(f"{place}: too short, nothing is left for {part}")
    for one, other in combinations(ParallelText._fields, 2):
        if getattr(text, one) == getattr(text, other):
            raise DataNotFoundError(f"{place}: {one} and {other} are the same text")
    full = [(source, target) for source, target in zip(*text.train, strict=True) if source and target]
    return text._replace(train=Lines.of(full))


def _named(folder: Path, source: str, target: str, task: str, say: Say, if_tokenized: str) -> Path:
    def check(place: Path) -> Path:
        text = load(place, source, target)
        if if_tokenized and tokenized(text.test.target):
            say(f"{place}: {if_tokenized}")
        return place

    inside = (*INSIDE, f"{source}-{target}", f"{target}-{source}", *iwslt14.archives(source, target))
    layouts = ["", *(layout for layout in inside if (folder / layout).exists())]
    wanted = _other_languages(folder, source, target, task)
    title = f"parallel text in {source} and {target}"
    return Place("", title, check).named(
        folder, layouts, wanted or "rectified/workloads/data/text/pairs.py lists the formats"
    )


def _other_languages(folder: Path, source: str, target: str, task: str) -> str:
    """A hint about the languages that a folder has instead of these; "" if it has these, or no others."""
    found = languages(folder)
    if len(found) < 2 or {source, target} <= {*found}:
        return ""
    # What was asked for and is there stays on its side.
    target = target if target in found else next(language for language in reversed(found) if language != source)
    source = source if source in found else next(language for language in found if language != target)
    return f"found {', '.join(found)}; write {task}(source={source},target={target})"


def languages(folder: Path) -> list[str]:
    """The languages of the parallel text in a folder and where else :func:`find` looks in it, by the files' names."""
    found: set[str] = set()
    for place in (folder, *(folder / layout for layout in INSIDE), *folder.glob("[a-z][a-z]-[a-z][a-z]")):
        with suppress(OSError):  # what cannot be read is reported where it is looked for
            found |= iwslt14.languages(place) | tatoeba.languages(place)
            for stem in STEMS["train"]:
                ends = (path.name.removeprefix(f"{stem}.").removesuffix(".gz") for path in place.glob(f"{stem}.*"))
                found |= {end for end in ends if re.fullmatch("[a-z]{2,3}", end) and end not in ("txt", "tgz", "zip")}
    return sorted(found)


def _nothing(source: str, target: str) -> str:
    pairs = f", nor {tatoeba.archive(source, target)}" if "en" in (source, target) else ""
    return (
        f"holds neither train.{source}[.gz] and train.{target}[.gz], nor train.tags.{source}-{target}.{source} and its "
        f"like, nor {source}-{target}.tgz{pairs}"
    )


def tokenized(text: Sequence[str]) -> bool:
    """Whether a text was tokenized by Moses, which leaves escapes, joints, and punctuation between spaces.

    >>> tokenized(["It &apos;s a well @-@ known fact"]), tokenized(["He left , she stayed ."])
    (True, True)
    >>> tokenized(["It's a well-known fact.", "He left, she stayed."])
    False
    """
    marked = sum(bool(re.search(r"&(apos|quot|amp|lt|gt|#91|#93|#124);|(^| )@[-/.,]@( |$)", line)) for line in text)
    spaced = sum(bool(re.search(r"\w [.,]( |$)", line)) for line in text)
    tight = sum(bool(re.search(r"\w[.,]( |$)", line)) for line in text)
    return marked > 0.02 * len(text) or spaced > tight


# Multi30k


def _downloaded(say: Say) -> Path:
    return _MULTI30K.kept(lambda folder: published.download(folder, URL, SUMS, "Multi30k", say), say)


def _check(folder: Path) -> Path:
    return published.checked(folder, SUMS)


# Line-aligned files


def _aligned(folder: Path, source: str, target: str) -> ParallelText | None:
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
    return ParallelText(*(paired(both, (_joined(lines(path, content(path))) for path in both)) for both in paths))


def _joined(text: list[str]) -> list[str]:
    """Words without the marks of subword-nmt's byte pair encoding.

    >>> _joined(["ein mä@@ d@@ chen", "tele@@"])
    ['ein mädchen', 'tele']
    """
    if not any("@@ " in line for line in text):
        return text
    return [re.sub(r"@@( |$)", "", line) for line in text]


_MULTI30K = Place("multi30k", "Multi30k", _check)
WAYS: tuple[Way, ...] = (("the cache", _MULTI30K.cached), ("the official download", _downloaded))
