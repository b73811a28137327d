"""Texts as sequences of word numbers, on which a word-level language model is trained."""

from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import NamedTuple

import torch
from torch import Tensor

_AT_ONCE = 1 << 20  # numbers are replaced in parts of this size, so that a large text needs no second copy


class Corpus(NamedTuple):
    """Three texts, each a sequence of word numbers: int32 [words].

    Numbers begin at 0; the more frequent a word is in `train`, the smaller its number.

    Attributes:
        vocabulary: how many different words there are.
    """

    train: Tensor
    valid: Tensor
    test: Tensor
    vocabulary: int


def corpus(
    train: Iterable[bytes], valid: Iterable[bytes], test: Iterable[bytes], end: bytes, unknown: bytes, seen: int = 1
) -> Corpus:
    """Number the words of three texts, which are read once, line by line.

    Args:
        train, valid, test: the lines of each; words are what ASCII white space separates.
        end: the word that is added to the end of each line.
        unknown: the word that replaces every word that `train` has less than `seen` times.

    Raises:
        ValueError: a text has no lines.

    >>> text = corpus([b"to be or to be to"], [b"be it"], [b"to be"], end=b"<eos>", unknown=b"<unk>", seen=2)
    >>> text.train.tolist(), text.valid.tolist(), text.vocabulary
    ([0, 1, 3, 0, 1, 0, 2], [1, 3, 2], 4)
    """
    met: defaultdict[bytes, int] = defaultdict()
    met.default_factory = met.__len__  # a word's first number: how many others came before it
    last, other = met[end], met[unknown]
    trained = _numbers("train", train, met.__getitem__, last)
    counts = torch.bincount(trained, minlength=len(met))
    rare = counts < seen
    rare[[last, other]] = False
    counts[other] += counts[rare].sum()
    order = counts.masked_fill(rare, -1).argsort(descending=True, stable=True)
    ranks = torch.empty(len(order), dtype=torch.int32)
    ranks[order] = torch.arange(len(order), dtype=torch.int32)
    ranks[rare] = ranks[other]

    def known(word: bytes) -> int:
        return met.get(word, other)

    texts = trained, _numbers("valid", valid, known, last), _numbers("test", test, known, last)
    for text in texts:
        for part in torch.split(text, _AT_ONCE):
            part.copy_(ranks[part])
    return Corpus(*texts, vocabulary=int((~rare).sum()))


def _numbers(what: str, lines: Iterable[bytes], number: Callable[[bytes], int], last: int) -> Tensor:
    numbers = array("i")
    for line in lines:
        numbers.extend(map(number, line.split()))
        numbers.append(last)
    if not numbers:
        raise ValueError(f"the text {what} has no lines")
    return torch.frombuffer(numbers, dtype=torch.int32)
