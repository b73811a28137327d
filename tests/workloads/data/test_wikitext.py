"""WikiText-2: its numbers against a count by hand, each place it may be in, what damage does, and the real archive.

A text of a few lines stands in for the real one, so SUMS is patched.
"""

import hashlib
import os
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import torch

from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.cache import MARK
from rectified.workloads.data.text import wikitext
from rectified.workloads.data.text.wikitext import ARCHIVE, find, load
from rectified.workloads.data.text.words import corpus

SHARED = Path(os.environ.get("RECTIFIED_SHARED_DATA", Path(__file__).parents[3] / "../shared/data"))

TEXTS = {
    "wiki.train.tokens": " \n = The Sea = \n \n The sea , the sea and the <unk> . \n A sea @-@ lion , \u00a0 the . \n",
    "wiki.valid.tokens": " \n = A lion = \n",
    "wiki.test.tokens": " \n the <unk> sea \n",
}
BYTES = {name: text.encode() for name, text in TEXTS.items()}


@pytest.fixture(autouse=True)
def sums(monkeypatch, tmp_path):
    found = {name: hashlib.sha256(content).hexdigest() for name, content in BYTES.items()}
    monkeypatch.setattr(wikitext, "SUMS", found)
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))


def put(folder, files=BYTES):
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def packed(folder, files=BYTES):
    """The archive as published: its files in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("wikitext-2/", "")
        for name, content in files.items():
            archive.writestr(f"wikitext-2/{name}", content)
    return folder / ARCHIVE


def check(place):
    """The words are those of the text, numbered by how frequent they are."""
    found = load(place)
    texts = [[word for word in text.replace("\n", "<eos> ").split(" ") if word] for text in TEXTS.values()]
    numbers = {}
    for words, tensor in zip(texts, found[:3], strict=True):
        numbers |= zip(words, tensor.tolist(), strict=True)
    for words, tensor in zip(texts, found[:3], strict=True):
        assert tensor.dtype == torch.int32
        assert [numbers[word] for word in words] == tensor.tolist()
    assert sorted(numbers.values()) == list(range(found.vocabulary))
    counts = Counter(texts[0])
    frequencies = [counts[word] for word in sorted(numbers, key=numbers.__getitem__)]
    assert frequencies == sorted(frequencies, reverse=True)


@pytest.mark.parametrize("layout", ["", "wikitext-2"])
def test_a_named_folder_with_the_files(tmp_path, layout):
    put(tmp_path / "data" / layout)
    assert find(tmp_path / "data") == tmp_path / "data" / layout
    check(tmp_path / "data" / layout)


@pytest.mark.parametrize("layout", ["", "wikitext-2"])
def test_a_named_folder_with_the_archive(tmp_path, layout):
    archive = packed(tmp_path / "data" / layout)
    assert find(tmp_path / "data") == archive
    assert find(archive) == archive
    check(archive)


def test_what_a_named_folder_lacks_is_said(tmp_path):
    folder = put(tmp_path / "data")
    (folder / "wiki.valid.tokens").unlink()
    with pytest.raises(DataNotFoundError, match=r"does not hold WikiText-2(.|\n)*data: wiki.valid.tokens is missing"):
        find(folder)
    (folder / "wiki.test.tokens").unlink()
    with pytest.raises(DataNotFoundError, match=r"wiki.valid.tokens, wiki.test.tokens are missing"):
        find(folder)
    with pytest.raises(DataNotFoundError, match="no such folder or archive"):
        find(tmp_path / "nowhere")


@pytest.mark.parametrize("wrapped", [put, packed])
def test_other_files_are_refused_by_name(tmp_path, wrapped):
    mixed = {**BYTES, "wiki.valid.tokens": BYTES["wiki.test.tokens"]}
    wrapped(tmp_path / "mixed", mixed)
    with pytest.raises(DataNotFoundError, match=r"wiki.valid.tokens: it is wiki.test.tokens"):
        find(tmp_path / "mixed")
    cut = {**BYTES, "wiki.train.tokens": BYTES["wiki.train.tokens"][:-3]}
    wrapped(tmp_path / "cut", cut)
    with pytest.raises(DataNotFoundError, match=r"wiki.train.tokens: its content differs from the published file"):
        find(tmp_path / "cut")


def test_a_damaged_archive_is_refused_by_name(tmp_path):
    archive = packed(tmp_path)
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataNotFoundError, match=f"{ARCHIVE}: damaged archive"):
        find(tmp_path)
    middle = content.index(b"wiki.train.tokens") + 40
    archive.write_bytes(content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :])
    with pytest.raises(DataNotFoundError, match=f"{ARCHIVE}: damaged archive"):
        find(tmp_path)
    (tmp_path / "notes.txt").write_text("to do")
    with pytest.raises(DataNotFoundError, match=r"notes\.txt: not an archive"):
        find(tmp_path / "notes.txt")
    packed(tmp_path, {name: content for name, content in BYTES.items() if "test" not in name})
    with pytest.raises(DataNotFoundError, match=rf"{ARCHIVE}: holds no wiki.test.tokens"):
        find(tmp_path)


def test_the_download_is_checked_and_kept(tmp_path, monkeypatch, web):
    monkeypatch.setattr(wikitext, "URL", web.url + ARCHIVE)
    said = []
    web.files[ARCHIVE] = packed(tmp_path / "other", {**BYTES, "wiki.test.tokens": b"a hotel's page"}).read_bytes()
    with pytest.raises(DataNotFoundError, match=r"(?s)wiki.test.tokens: its content.*What you can do.*--data FOLDER"):
        find(None, said.append)
    assert list((tmp_path / "cache").iterdir()) == []
    web.files[ARCHIVE] = packed(tmp_path / "right").read_bytes()
    home = tmp_path / "cache/wikitext-2"
    assert find(None, said.append) == home
    assert sorted(path.name for path in home.iterdir()) == sorted([*TEXTS, MARK])
    check(home)
    assert any("downloading" in line for line in said)
    asked = len(web.asked)
    assert find(None, said.append, fetch=False) == home
    assert len(web.asked) == asked


def test_without_fetching_nothing_is_fetched(web, monkeypatch):
    monkeypatch.setattr(wikitext, "URL", web.url + ARCHIVE)
    with pytest.raises(DataNotFoundError, match="the cache: nothing in"):
        find(None, print, fetch=False)
    assert web.asked == []


def test_words_seen_too_rarely_count_as_the_unknown():
    train = [b"a a a a b b b c c d\n", b"a b\n"]
    found = corpus(train, [b"d c e"], [b"<?>"], end=b"<end>", unknown=b"<?>", seen=3)
    # a 5, b 4, <?> 3 (c, c, d), <end> 2
    assert found.vocabulary == 4
    assert found.train.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 0, 1, 3]
    assert found.valid.tolist() == [2, 2, 2, 3]
    assert found.test.tolist() == [2, 3]


def test_a_text_without_lines_is_refused():
    with pytest.raises(ValueError, match="the text valid has no lines"):
        corpus([b"a"], [], [b"a"], end=b"<end>", unknown=b"<?>")


def test_the_real_archive_has_the_published_counts(monkeypatch):
    archive = SHARED / "wikitext-2" / ARCHIVE
    if not archive.is_file():
        pytest.skip(f"{archive} is not here")
    monkeypatch.undo()
    found = load(find(SHARED))
    assert [len(text) for text in found[:3]] == [2_088_628, 217_646, 245_569]
    assert found.vocabulary == 33_278
    assert len(found.train) == wikitext.WORDS
    assert set(found.valid.tolist()) | set(found.test.tolist()) <= set(found.train.tolist())
    counts = found.train.bincount()
    assert (counts[1:] <= counts[:-1]).all()
    # Counted with grep and sort: the most frequent, and the lines.
    with zipfile.ZipFile(archive) as members:
        words = Counter(members.read("wikitext-2/wiki.train.tokens").decode().split(" "))
        lines = [members.read(f"wikitext-2/{name}").count(b"\n") for name in wikitext.SUMS]
    del words["\n"], words[""]
    assert counts[0] == max(words.values()) == words["the"]
    assert lines == [36_718, 3_760, 4_358]
