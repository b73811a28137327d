"""Pieces of words: made the same twice, read back as they were, padded."""

import random

import pytest
import torch

from rectified.workloads.data.text import pieces
from rectified.workloads.data.text.pieces import BOS, EOS, PAD, UNK

WORDS = ["der", "die", "ein", "eine", "kleine", "kleiner", "große", "größer", "Hund", "Katze", "läuft", "Straße", "am"]
RANDOM = random.Random(0)
LINES = [" ".join(RANDOM.choices(WORDS, k=RANDOM.randint(1, 12))) + "." for _ in range(300)]


@pytest.fixture(scope="module")
def model() -> bytes:
    return pieces.train(LINES, 80)


def test_the_same_text_gives_the_same_bytes(model: bytes) -> None:
    assert pieces.train(LINES, 80) == model
    assert pieces.train(LINES[150:], 80) != model
    assert pieces.size(model) == 80


def test_a_text_with_few_pieces_has_a_smaller_vocabulary() -> None:
    small = pieces.train(LINES, 5000)
    assert 80 < pieces.size(small) < 500
    assert pieces.train(LINES, 5000) == small


def test_a_vocabulary_that_cannot_hold_the_characters_is_refused() -> None:
    with pytest.raises(ValueError, match="no vocabulary of 10 pieces from 300 lines"):
        pieces.train(LINES, 10)


def test_of_many_lines_some_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "READ", 100)
    assert pieces.train(LINES, 60) == pieces.train(LINES[::3], 60)


def test_lines_come_back(model: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "AT_ONCE", 7)
    lines = [*LINES[:20], "", "Hund"]
    there = pieces.encode(model, lines)
    assert there.ids.dtype == torch.int32
    assert there.offsets.dtype == torch.int64
    sentences = [there.ids[begin:end].tolist() for begin, end in there.offsets.unfold(0, 2, 1).tolist()]
    assert len(sentences) == 22
    assert sentences[20] == []
    assert there.lengths().tolist() == [len(sentence) for sentence in sentences]
    assert not {PAD, BOS, EOS, UNK} & {piece for sentence in sentences for piece in sentence}
    assert pieces.decode(model, sentences) == lines
    assert UNK in pieces.encode(model, ["Ж"]).ids.tolist()
    assert pieces.encode(model, []).offsets.tolist() == [0]


@pytest.mark.parametrize("begin", [False, True])
def test_rows_are_padded(model: bytes, begin: bool) -> None:
    there = pieces.encode(model, [*LINES[:6], ""])
    which = torch.tensor([4, 6, 0, 4])
    rows = there.padded(which, begin)
    assert rows.dtype == torch.int64
    wanted = []
    for i in which.tolist():
        wanted.append([BOS] * begin + there.ids[there.offsets[i] : there.offsets[i + 1]].tolist() + [EOS])
    longest = max(len(row) for row in wanted)
    assert rows.tolist() == [row + [PAD] * (longest - len(row)) for row in wanted]
