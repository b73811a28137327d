"""Parallel text of a user's: every format made small, languages by the files' names, what is amiss refused by name."""

from pathlib import Path

import pytest
from parallel_files import DE, EN, WANTED, aligned, put, refused

from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.text.lines import Lines, ParallelText
from rectified.workloads.data.text.pairs import find, languages, load, tokenized

# Line-aligned files


@pytest.mark.parametrize("stems", [("train", valid, "test") for valid in ("valid", "val", "dev")])
@pytest.mark.parametrize("end", ["", ".gz"])
def test_aligned_files(tmp_path: Path, stems, end) -> None:
    folder = aligned(tmp_path, stems, end)
    assert find(folder, "de", "en") == folder
    assert load(folder, "de", "en") == WANTED
    assert load(folder, "en", "de") == ParallelText(*(Lines(part.target, part.source) for part in WANTED))


@pytest.mark.parametrize("inside", ["data/task1/raw", "de-en", "en-de"])
def test_a_folder_further_in(tmp_path: Path, inside) -> None:
    assert find(aligned(tmp_path / inside).parents[inside.count("/")], "de", "en") == tmp_path / inside


def test_pieces_of_words_are_joined(tmp_path: Path) -> None:
    folder = aligned(tmp_path)
    put(folder / "train.de", ["ein mä@@ d@@ chen ruft", "zwei @ sehen x@@", *DE[2:20]])
    assert load(folder, "de", "en").train.source[:2] == ["ein mädchen ruft", "zwei @ sehen x"]


def test_pairs_with_an_empty_side_are_not_trained_on(tmp_path: Path) -> None:
    folder = aligned(tmp_path)
    put(folder / "train.de", ["", *DE[1:20]])
    put(folder / "valid.de", ["", *DE[21:30]])
    corpus = load(folder, "de", "en")
    assert corpus.train == Lines(DE[1:20], EN[1:20])
    assert corpus.valid.source[0] == ""


def test_what_is_amiss_with_aligned_files_is_told(tmp_path: Path) -> None:
    folder = aligned(tmp_path / "data")

    def broken(words: str, **files: list[str]) -> None:
        for name, lines in files.items():
            put(folder / name.replace("_", "."), lines)
        refused(folder, words)
        aligned(folder)

    broken(r"train.de has 19 sentences, .*train.en 20: one is cut off", train_de=DE[:19])
    broken(r"train.de and .*train.en are the same text", train_de=EN[:20])
    broken("train and test are the same text", test_de=DE[:20], test_en=EN[:20])
    broken("valid and test are the same text", test_de=DE[20:30], test_en=EN[20:30])
    broken(r"valid.de and .*valid.en are empty", valid_de=[], valid_en=[])
    (folder / "test.en").unlink()
    refused(folder, r"test.en\[.gz\] is missing")
    (folder / "test.de").unlink()
    refused(folder, r"test.de\[.gz\] or test_2016_flickr.de\[.gz\] or .* is missing")
    aligned(folder)
    (folder / "valid.de").write_bytes("Größe\n".encode() + "Größe\n".encode("latin1"))
    refused(folder, "valid.de: line 2 is not UTF-8")
    aligned(folder)
    put(folder / "train.de.gz", DE[:20])
    whole = (folder / "train.de.gz").read_bytes()
    (folder / "train.de.gz").write_bytes(whole[:-20])
    refused(folder, "train.de.gz: damaged gzip file")


def test_where_there_is_nothing_it_is_said_what_was_looked_for(tmp_path: Path) -> None:
    refused(tmp_path / "none", "none: no such folder")
    refused(
        tmp_path,
        r"neither train.de\[.gz\] and train.en\[.gz\], nor train.tags.de-en.de and its like, nor de-en.tgz, "
        "nor deu-eng.zip",
    )
    with pytest.raises(DataNotFoundError, match=r"neither train.fr"):
        find(aligned(tmp_path), "fr", "cs")


# Languages


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["train.de", "train.en.gz", "train.fr", "train.txt", "valid.cs"], ["de", "en", "fr"]),
        (["data/task1/raw/train.de.gz", "data/task1/raw/train.cs.gz"], ["cs", "de"]),
        (["train.tok.clean.bpe.32000.en", "train.tok.clean.bpe.32000.de"], ["de", "en"]),
        (["train.tags.de-en.de", "train.tags.de-en.en"], ["de", "en"]),
        (["fr-en/train.tags.fr-en.fr"], ["en", "fr"]),
        (["de-en.tgz", "en-fr.tar.gz", "my-own.tgz"], ["de", "en", "fr"]),
        (["fra-eng.zip"], ["en", "fr"]),
        (["tur-eng.zip", "deu.txt", "own.txt"], ["de", "en", "tur"]),
        (["ptb.train.txt", "train.txt"], []),
    ],
)
def test_languages_are_known_by_the_files_names(tmp_path: Path, names, found) -> None:
    for name in names:
        put(tmp_path / name, ["text"])
    assert languages(tmp_path) == found


@pytest.mark.parametrize(
    ("asked", "there", "advice"),
    [
        (("de", "en"), ["en", "fr"], "found en, fr; write translation-wmt(source=fr,target=en)"),
        (("en", "de"), ["en", "fr"], "found en, fr; write translation-wmt(source=en,target=fr)"),
        (("de", "en"), ["cs", "de", "fr"], "found cs, de, fr; write translation-wmt(source=de,target=fr)"),
        (("de", "en"), ["cs", "fr", "it"], "found cs, fr, it; write translation-wmt(source=cs,target=it)"),
    ],
)
def test_other_languages_are_said_with_what_to_write(tmp_path: Path, asked, there, advice) -> None:
    for language in there:
        put(tmp_path / f"train.{language}", ["text"])
    with pytest.raises(DataNotFoundError) as refusal:
        find(tmp_path, *asked, task="translation-wmt")
    first = str(refusal.value).splitlines()[0]
    assert first == f"{tmp_path} does not hold parallel text in {' and '.join(asked)} ({advice}). Looked in:"


@pytest.mark.parametrize("there", [["de", "en", "fr"], ["fr"], []])
def test_where_the_languages_are_there_or_none_are_nothing_is_said_of_them(tmp_path: Path, there) -> None:
    for language in there:
        put(tmp_path / f"train.{language}", ["text"])
    with pytest.raises(DataNotFoundError) as refusal:
        find(tmp_path, "de", "en")
    assert "write translation" not in str(refusal.value)


# Text that is tokenized already

RAW = ["It's a well-known fact.", "He left, she stayed.", "No!"]
MOSES = ["It &apos;s a well @-@ known fact .", "He left , she stayed .", "No !"]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (MOSES, True),
        (RAW, False),
        (RAW * 100 + MOSES[:1], False),  # one line in a hundred is no tokenizer
        (["He left , she stayed ."] * 3 + RAW, True),
        (["Vraiment ?", "Oui, bien sûr !", "C'est « vrai »."], False),  # French has spaces there
        (["Tom & Jerry", "a < b"], False),
        (["nothing to see"], False),
        ([], False),
    ],
)
def test_moses_leaves_traces(lines: list[str], found: bool) -> None:
    assert tokenized(lines) == found


def test_of_tokenized_text_one_line_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    find(aligned(tmp_path), "de", "en", said.append, if_tokenized="is tokenized")
    assert said == []
    put(tmp_path / "test.en", MOSES * 3 + ["He left , she stayed ."])
    find(tmp_path, "de", "en", said.append, if_tokenized="is tokenized")
    assert said == [f"{tmp_path}: is tokenized"]
    find(tmp_path, "de", "en", said.append)
    find(tmp_path, "en", "de", said.append, if_tokenized="is tokenized")  # BLEU is of the other side
    assert len(said) == 1
