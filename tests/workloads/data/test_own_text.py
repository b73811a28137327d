"""Text of one's own: counts by hand, its identity, and refusals in one line that names the file."""

import gzip
from collections import Counter
from pathlib import Path

import pytest

from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.text.own_text import Identity, find, identify, is_in, load

TEXTS = {
    "train": "The sea , the sea .\n\nA  sea\tlion , the sea .\n",
    "valid": "A lion at sea .\n",
    "test": "the lion\nthe sea",  # without a last newline
}
PTB = {
    "train": " the <unk> sea is the sea \n a lion is N years <unk> \n",
    "valid": " a lion is old \n",
    "test": " the sea \n",
}


def put(folder: Path, texts=TEXTS, style="{}.txt", pack=bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part, text in texts.items():
        (folder / style.format(part)).write_bytes(pack(text if isinstance(text, bytes) else text.encode()))
    return folder


def words(text: str) -> list[str]:
    return [word for line in text.removesuffix("\n").split("\n") for word in [*line.split(), "<eos>"]]


def refused(folder: Path, *, ends: str) -> None:
    with pytest.raises(DataNotFoundError) as refusal:
        identify(folder)
    assert str(refusal.value).endswith(ends)
    assert "\n" not in str(refusal.value)


# Words


@pytest.mark.parametrize("min_count", [1, 2, 3])
def test_words_are_what_white_space_separates_and_rare_ones_are_unknown(tmp_path: Path, min_count: int) -> None:
    found = load(put(tmp_path), min_count)
    counts = Counter(words(TEXTS["train"]))
    known = {word for word, count in counts.items() if count >= min_count} | {"<eos>"}
    numbers: dict[str, int] = {}
    for text, tensor in zip(TEXTS.values(), found[:3], strict=True):
        expected = [word if word in known else "<unk>" for word in words(text)]
        numbers |= dict(zip(expected, tensor.tolist(), strict=True))
    for text, tensor in zip(TEXTS.values(), found[:3], strict=True):
        assert [numbers[word if word in known else "<unk>"] for word in words(text)] == tensor.tolist()
    assert len(set(numbers.values())) == len(numbers)
    assert found.vocabulary == len(known) + 1


def test_by_default_words_are_rare_below_three_times(tmp_path: Path) -> None:
    default, three, two = (load(put(tmp_path), count) for count in (0, 3, 2))
    assert default.vocabulary == three.vocabulary != two.vocabulary
    assert default.train.tolist() == three.train.tolist()


@pytest.mark.parametrize("style", ["ptb.{}.txt", "{}.txt"])
def test_where_unknown_words_are_marked_already_all_others_are_known(tmp_path: Path, style: str) -> None:
    folder = put(tmp_path, PTB, style)
    found = load(folder)
    assert is_in(folder)
    assert found.vocabulary == len({*words(PTB["train"])})
    assert found.train.tolist().count(int(found.valid[3])) == 2  # "old" is <unk>
    assert identify(folder).words == len(found.train) == len(words(PTB["train"]))


@pytest.mark.parametrize("text", ["a b c", "a b c\n", " \n a b \n\n c d ", "a\r\nb\r\n", "ä ö\u00a0ü 日本\n"])
def test_training_words_are_counted_as_they_are_read(tmp_path: Path, text: str) -> None:
    folder = put(tmp_path, {**TEXTS, "train": text})
    assert identify(folder).words == len(load(folder).train)


def test_a_byte_order_mark_is_no_part_of_a_word(tmp_path: Path) -> None:
    plain = identify(put(tmp_path / "plain"))
    marked = put(tmp_path / "marked", {part: b"\xef\xbb\xbf" + text.encode() for part, text in TEXTS.items()})
    assert identify(marked).digest == plain.digest
    assert load(marked).vocabulary == load(tmp_path / "plain").vocabulary


def test_gzipped_files_are_the_same_text(tmp_path: Path) -> None:
    folder = put(tmp_path / "a", style="{}.txt.gz", pack=gzip.compress)
    assert identify(folder).digest == identify(put(tmp_path / "b")).digest


# Identity


def test_two_texts_are_never_the_same(tmp_path: Path) -> None:
    first = identify(put(tmp_path / "a"))
    for part in TEXTS:
        other = identify(put(tmp_path / "a", {**TEXTS, part: TEXTS[part] + "x"}))
        assert other.digest != first.digest
        put(tmp_path / "a")
    assert identify(tmp_path / "a") == first
    swapped = {"train": TEXTS["train"], "valid": TEXTS["test"], "test": TEXTS["valid"]}
    assert identify(put(tmp_path / "a", swapped)).digest != first.digest


@pytest.mark.parametrize(
    ("folder", "name"),
    [("ptb", "ptb"), ("My Text (2)", "my_text_2"), ("20-news", "text_20_news"), ("日本", "text"), ("a_1_b", "a_1_b")],
)
def test_its_name_is_the_folders_and_can_be_read_again(tmp_path: Path, folder: str, name: str) -> None:
    found = identify(put(tmp_path / folder))
    assert found.name == name
    assert str(found).isidentifier()
    assert Identity.parse(str(found)) == found


@pytest.mark.parametrize(
    "text", ["ptb", "ptb_5", "ptb_0_0123456789", "ptb_5_012345678", "5_5_0123456789", "a-b_5_" + "0" * 10]
)
def test_what_is_no_identity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"corpus is .*; leave it out: it is filled in for .*--data FOLDER.*train.txt"):
        Identity.parse(text)


def test_a_text_that_changed_is_another(tmp_path: Path) -> None:
    before = identify(put(tmp_path / "a"))
    assert find(tmp_path / "a", before) == tmp_path / "a"
    (tmp_path / "a").rename(tmp_path / "b")
    assert find(tmp_path / "b", before) == tmp_path / "b"  # moved is not changed
    put(tmp_path / "b", {**TEXTS, "valid": "Other words\n"})
    with pytest.raises(DataNotFoundError, match=rf"b holds the text b_\d+_\w+, not {before}: it has changed"):
        find(tmp_path / "b", before)
    with pytest.raises(DataNotFoundError, match=rf"the text {before} is your own: name its folder with --data FOLDER"):
        find(None, before)


# What is amiss


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    for style in ("{}.txt", "ptb.{}.txt"):
        folder = put(tmp_path / style, style=style)
        for part in TEXTS:
            (folder / style.format(part)).unlink()
            assert is_in(folder)
            refused(folder, ends=f"{folder}: {style.format(part)}[.gz] is missing")
            put(folder, style=style)
    refused(tmp_path / "nowhere", ends="nowhere: no such folder")


@pytest.mark.parametrize("content", ["", " \n\n \t\n"])
@pytest.mark.parametrize("part", TEXTS)
def test_a_file_without_words_is_named(tmp_path: Path, part: str, content: str) -> None:
    refused(put(tmp_path, {**TEXTS, part: content}), ends=f"{part}.txt: holds no words")


@pytest.mark.parametrize("part", TEXTS)
def test_a_file_that_is_not_utf_8_is_named_with_its_line(tmp_path: Path, part: str) -> None:
    folder = put(tmp_path, {**TEXTS, part: "a\nGröße\n".encode("latin1")})
    refused(folder, ends=f"{part}.txt: line 2 is not UTF-8 (invalid start byte)")
    put(folder, {part: "a b".encode("utf-16")})
    refused(folder, ends=f"{part}.txt: line 1 is not UTF-8 (invalid start byte)")


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    folder = put(tmp_path)
    (folder / "valid.txt").write_bytes(gzip.compress(b"some words")[:-4])
    with pytest.raises(DataNotFoundError, match=r"valid.txt: damaged gzip file"):
        identify(folder)


def test_a_copy_is_refused(tmp_path: Path) -> None:
    folder = put(tmp_path, {**TEXTS, "test": TEXTS["valid"]})
    refused(folder, ends=f"{folder / 'valid.txt'} and {folder / 'test.txt'} are the same text")


def test_wikitexts_own_files_are_no_text_of_ones_own(tmp_path: Path) -> None:
    assert not is_in(tmp_path)
    assert not is_in(tmp_path / "nowhere")
    assert is_in(put(tmp_path))
    for name in ("wiki.train.tokens", "wikitext-2", "wikitext-2-v1.zip"):
        (tmp_path / name).touch()
        assert not is_in(tmp_path)
        (tmp_path / name).unlink()
