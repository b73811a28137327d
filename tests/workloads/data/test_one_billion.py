"""One Billion Word: a corpus of a few sentences in its format, and what is refused of one."""

from collections import Counter

import pytest

from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.text import one_billion
from rectified.workloads.data.text.one_billion import FOLDER, find, load

TRAINING = "training-monolingual.tokenized.shuffled"
HELDOUT = "heldout-monolingual.tokenized.shuffled"
WHO, WHAT = ["I saw", "I met", "You saw", "You met", "We saw", "We met"], ["her", "Café", "it"]
SENTENCES = [f"{who} {what} .\n" for who in WHO for what in WHAT]


@pytest.fixture(autouse=True)
def world(monkeypatch, tmp_path):
    monkeypatch.setattr(one_billion, "SENTENCES", {"training": 6, "heldout": 2})
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def folder(tmp_path):
    """Three shards of six sentences, two held-out parts of two."""
    root = tmp_path / "data" / FOLDER
    (root / TRAINING).mkdir(parents=True)
    (root / HELDOUT).mkdir()
    for shard in range(3):
        text = "".join(SENTENCES[6 * shard : 6 * shard + 6])
        (root / TRAINING / f"news.en-{shard + 1:05d}-of-00100").write_text(text, encoding="utf-8")
    (root / HELDOUT / "news.en.heldout-00000-of-00050").write_text("They saw her .\nWe ?\n", encoding="utf-8")
    (root / HELDOUT / "news.en.heldout-00001-of-00050").write_text("You !\nIt met us .\n", encoding="utf-8")
    return root


def shard(folder, number):
    return folder / TRAINING / f"news.en-{number:05d}-of-00100"


def test_the_words_of_the_first_shards_by_frequency(folder):
    found = load(find(folder.parent, shards=2), shards=2)
    words = [word for sentence in SENTENCES[:12] for word in [*sentence.split(), "</S>"]]
    counts = Counter(words)
    kept = {word for word in counts if counts[word] >= 3} | {"</S>", "<UNK>"}
    assert found.vocabulary == len(kept)
    names = dict(zip(words, found.train.tolist(), strict=True))
    assert found.train.tolist() == [names[word] for word in words]
    ranks = [counts[word] for word in sorted(names, key=names.__getitem__)]
    assert ranks == sorted(ranks, reverse=True)
    unknown = ({*range(len(kept))} - set(names.values())).pop()  # no word of the training text is rare
    assert names.keys() == kept - {"<UNK>"}
    here = names | dict.fromkeys(["They", "We", "?", "!", "It", "us"], unknown)
    assert found.test.tolist() == [here[word] for word in ["They", "saw", "her", ".", "</S>", "We", "?", "</S>"]]
    assert found.valid.tolist() == [here[word] for word in ["You", "!", "</S>", "It", "met", "us", ".", "</S>"]]


def test_it_is_found_by_name_and_in_the_cache_and_left_there(folder, tmp_path):
    assert find(folder, shards=3) == folder
    assert find(folder.parent, shards=3) == folder
    home = tmp_path / "cache/one-billion-word"
    with pytest.raises(DataNotFoundError, match=r"(?s)-word: no such folder.*statmt.org.*--data FOLDER.*no published"):
        find(None, shards=3)
    home.mkdir(parents=True)
    folder.rename(home / FOLDER)
    assert find(None, shards=3) == home / FOLDER
    with pytest.raises(DataNotFoundError, match="missing"):
        find(None, shards=4)
    assert find(None, shards=3) == home / FOLDER


def test_missing_shards_are_named(folder):
    with pytest.raises(DataNotFoundError, match=f"missing: {TRAINING}/news.en-00004-of-00100\n"):
        find(folder, shards=4)
    with pytest.raises(DataNotFoundError, match=r"00004-of-00100, \S*00005-of-00100, \S*00006-of-00100 and 93 more"):
        find(folder)
    (folder / HELDOUT / "news.en.heldout-00001-of-00050").unlink()
    with pytest.raises(DataNotFoundError, match=f"missing: {HELDOUT}/news.en.heldout-00001-of-00050"):
        find(folder, shards=3)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda content: content[:-4], "cut off within line 6"),
        (lambda content: b"", "cut off within line 1"),
        (lambda content: content[: content.index(b"\n")], "cut off within line 1"),
        (lambda content: content[: content.index(b"\n") + 1], r"00002-of-00100: 1 sentences; such a file has about 6"),
        (lambda content: content + b"One more .\n", r"00002-of-00100: 7 sentences; such a file has about 6"),
    ],
    ids=["cut", "empty", "no end", "short", "long"],
)
def test_a_shard_of_another_size_is_refused_by_name(folder, damage, words):
    path = shard(folder, 2)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DataNotFoundError, match=f"news.en-00002-of-00100: .*{words}" if "cut" in words else words):
        find(folder, shards=3)


def test_a_shard_that_is_another_is_refused_by_name(folder):
    shard(folder, 3).write_bytes(shard(folder, 1).read_bytes())
    with pytest.raises(DataNotFoundError, match=r"00003-of-00100: begins like news.en-00001-of-00100"):
        find(folder, shards=3)
    assert find(folder, shards=2) == folder
