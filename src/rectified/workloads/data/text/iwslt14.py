"""IWSLT'14 as published (Cettolo et al. 2014: talks), packed or not, split as fairseq's prepare-iwslt14.sh does it.

The archive of a pair of languages is de-en.tgz; 2014-01.tgz holds those of all pairs.
"""

import re
from collections.abc import Collection
from pathlib import Path

from .. import archives as packed
from ..find import DataNotFoundError
from .lines import Lines, ParallelText, content, lines, paired, there

TESTS = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
WHOLE = "2014-01.tgz"
LIMIT = 1 << 29  # bytes of a pair's archive unpacked: that of German and English has 19 MB packed
LIMIT_WHOLE = 1 << 33  # bytes of WHOLE unpacked

Files = dict[str, tuple[Path, bytes]]  # by name: where a file is, and its content


def read(place: Path, source: str, target: str) -> ParallelText | None:
    """The talks in a folder or an archive; None if they are not there.

    Raises:
        DataNotFoundError: a file is missing, damaged, or cut off; names it.
    """
    sides = (source, target)
    for pair in _pairs(source, target):
        names = [f"train.tags.{pair}.{language}" for language in sides]
        names += [f"IWSLT14.{test}.{pair}.{language}.xml" for test in TESTS for language in sides]
        files = _files(place, names, source, target)
        if any(name in files for name in names[:2]):
            break
    else:
        return None
    if missing := [name for name in names if name not in files]:
        raise DataNotFoundError(f"{place}: {missing[0]}[.gz] is missing")
    talks, *tests = (names[i : i + 2] for i in range(0, len(names), 2))
    whole = paired([files[name][0] for name in talks], (_untagged(lines(*files[name])) for name in talks))
    clean = [pair for pair in zip(*whole, strict=True) if _similar(*pair)]
    test = Lines([], [])
    for both in tests:
        more = paired([files[name][0] for name in both], (_segments(*files[name]) for name in both))
        test.source.extend(more.source)
        test.target.extend(more.target)
    return ParallelText(Lines.of([pair for i, pair in enumerate(clean, 1) if i % 23]), Lines.of(clean[22::23]), test)


def archives(source: str, target: str) -> list[str]:
    """The names of the archives that may hold these languages.

    >>> archives("de", "en")
    ['de-en.tgz', 'en-de.tgz', 'de-en.tar.gz', 'en-de.tar.gz', '2014-01.tgz']
    """
    return [f"{pair}.{end}" for end in ("tgz", "tar.gz") for pair in _pairs(source, target)] + [WHOLE]


def languages(folder: Path) -> set[str]:
    """The languages of the talks in a folder, by the files' names."""
    names = " ".join(path.name for path in folder.iterdir())
    talks = re.findall(r"\btrain\.tags\.([a-z]+)-([a-z]+)\.", names)
    packed = re.findall(r"(?<!\S)([a-z]{2})-([a-z]{2})\.(?:tgz|tar\.gz)(?!\S)", names)
    return {language for pair in talks + packed for language in pair}


def _pairs(source: str, target: str) -> tuple[str, str]:
    return f"{source}-{target}", f"{target}-{source}"


def _files(place: Path, names: Collection[str], source: str, target: str) -> Files:
    if not place.is_file():
        return {name: (path, content(path)) for name in names if (path := there(place, name))}
    if place.name not in archives(source, target):
        return {}
    inside = archives(source, target)
    found = packed.find(place, names, LIMIT, inside, LIMIT_WHOLE if place.name == WHOLE else LIMIT)
    return {name: (place / name, text) for name, text in found.items()}


def _untagged(text: list[str]) -> list[str]:
    """The talks with their titles and descriptions, without all else that is in tags.

    >>> _untagged(["<url>http://...</url>", "<title>Of fish</title>", "Well.", "<translator id='1'>A B</translator>"])
    ['Of fish', 'Well.']
    """
    text = [re.sub("</?(title|description)>", "", line).strip() for line in text]
    return [line for line in text if not re.match("</?[a-z]+[ >]", line)]


def _similar(source: str, target: str) -> bool:
    """Whether both sentences have 1 to 175 tokens, and neither more than 1.5 times as many as the other.

    Tokens are words and punctuation marks, which is nearly what Moses' tokenizer makes.
    """
    short, long = sorted(len(re.findall(r"\w+|[^\w\s]", line)) for line in (source, target))
    return short >= 1 and long <= 175 and long <= 1.5 * short


def _segments(path: Path, text: bytes) -> list[str]:
    """The sentences of a test set, with straight apostrophes, as fairseq's script makes them."""
    found = []
    for line in lines(path, text):
        if "<seg id" in line:
            match = re.fullmatch(r'<seg id="\d+">(.*)</seg>', line)
            if match is None:
                raise DataNotFoundError(f"{path}: {line!r} is not a whole segment")
            found.append(match[1].strip().replace("’", "'"))
    return found
