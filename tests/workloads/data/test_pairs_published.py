"""Published parallel text, as Multi30k, IWSLT'14 and Tatoeba have it: made small, and the real files where they are."""

import gzip
import hashlib
import io
import os
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from parallel_files import DE, EN, WANTED, aligned, put, refused

from rectified.workloads.data import DataNotFoundError, fetch
from rectified.workloads.data.text import pairs
from rectified.workloads.data.text.lines import Lines
from rectified.workloads.data.text.pairs import find, load

SHARED = Path(os.environ.get("RECTIFIED_SHARED_DATA", Path(__file__).parents[3] / "../shared/data"))


# Multi30k: the download is that of tiny files, whose sums replace the published ones


@pytest.fixture
def multi30k(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that stands for the server; the cache is empty."""
    server = aligned(tmp_path / "server", ("train", "val", "test_2016_flickr"), ".gz")
    sums = {
        name: hashlib.sha256(gzip.decompress((server / f"{name}.gz").read_bytes())).hexdigest() for name in pairs.SUMS
    }
    monkeypatch.setattr(pairs, "SUMS", sums)
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "cache"))

    def download(url: str, path: Path) -> None:
        assert url.startswith("https://raw.githubusercontent.com/multi30k/dataset/master/data/task1/raw/")
        file = server / url.rsplit("/", 1)[1]
        if not file.exists():
            raise OSError(f"{url}: 404")
        shutil.copy(file, path)

    monkeypatch.setattr(fetch, "download", download)
    return server


def test_the_download_and_the_cache(multi30k: Path, tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(DataNotFoundError, match="nothing in"):
        find(None, "de", "en", said.append, fetch=False)
    home = find(None, "de", "en", said.append)
    assert home == tmp_path / "cache/multi30k"
    assert len(said) == 7
    assert load(home, "de", "en") == WANTED
    shutil.rmtree(multi30k)
    assert find(None, "en", "de", said.append) == home
    assert len(said) == 7
    (home / "val.de.gz").write_bytes((home / "val.en.gz").read_bytes())
    with pytest.raises(DataNotFoundError, match="404"):
        find(None, "de", "en", said.append)
    assert "val.de.gz: it is val.en; the folder is set aside as " in said[7]


def test_what_is_downloaded_is_the_published_text_or_nothing(multi30k: Path, tmp_path: Path) -> None:
    put(multi30k / "train.de.gz", [*DE[:19], "Another."])
    with pytest.raises(
        DataNotFoundError, match=r"train.de.gz: its content differs from the published file.*\n.*What you can do"
    ):
        find(None, "de", "en", lambda line: None)
    assert not (tmp_path / "cache/multi30k").exists()


def test_a_named_multi30k_has_to_be_the_published_one(multi30k: Path) -> None:
    assert load(find(multi30k, "de", "en"), "de", "en") == WANTED
    put(multi30k / "val.en.gz", EN[:10])
    refused(multi30k, "val.en.gz: its content differs from the published file")


def test_other_languages_are_not_fetched() -> None:
    with pytest.raises(DataNotFoundError, match="only German and English can be fetched: name a folder with cs and en"):
        find(None, "cs", "en")


# IWSLT'14


def iwslt14(folder: Path) -> Path:
    """Two talks of 30 sentences each, the title and description of which count, and five test sets."""
    for language, word in (("de", "Satz"), ("en", "sentence")):
        lines = []
        for talk in range(2):
            lines += [f"<url>http://www.ted.com/talks/{talk}</url>", "<keywords>talks, fish</keywords>"]
            lines += ["<speaker>A B</speaker>", f"<talkid>{talk}</talkid>"]
            lines += [f"<title>A: {word} {talk}</title>", f"<description>TED Talk {word} {talk}</description>"]
            lines += [f" {word} {talk}, {i} . " for i in range(30)]
            lines += ["<reviewer href='x'>C</reviewer>"] * (1 + (language == "de"))  # not as many in each language
        put(folder / f"train.tags.de-en.{language}", lines)
        for test in ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012"):
            segments = [f'<seg id="{i}"> {word}’s {test} {i} </seg>' for i in (1, 2)]
            xml = [
                '<?xml version="1.0"?>',
                "<mteval>",
                '<doc docid="1">',
                "<title>No</title>",
                *segments,
                "</doc>",
                "</mteval>",
            ]
            put(folder / f"IWSLT14.{test}.de-en.{language}.xml", xml)
    return folder


def test_iwslt14_is_split_as_by_fairseq(tmp_path: Path) -> None:
    folder = iwslt14(tmp_path / "de-en")
    assert find(tmp_path, "de", "en") == folder
    corpus = load(folder, "de", "en")
    told = [
        [f"A: Satz {talk}", f"TED Talk Satz {talk}", *(f"Satz {talk}, {i} ." for i in range(30))] for talk in (0, 1)
    ]
    whole = told[0] + told[1]
    assert corpus.valid.source == [whole[22], whole[45]]
    assert corpus.train.source == whole[:22] + whole[23:45] + whole[46:]
    assert corpus.train.target == [line.replace("Satz", "sentence") for line in corpus.train.source]
    tests = ("TED.dev2010", "TEDX.dev2012", "TED.tst2010", "TED.tst2011", "TED.tst2012")
    assert corpus.test.source == [f"Satz's {test} {i}" for test in tests for i in (1, 2)]
    assert load(folder, "en", "de").train == Lines(corpus.train.target, corpus.train.source)


def test_iwslt14_is_cleaned_before_it_is_split(tmp_path: Path) -> None:
    folder = iwslt14(tmp_path)
    for language, lines in {
        "de": ["a b, c", "a b", "a " * 176, "a " * 175, ""],
        "en": ["a b", "a b, c", "a", "a " * 175, ""],
    }.items():
        path = folder / f"train.tags.de-en.{language}"
        put(path, [*lines, *path.read_text().splitlines()])
    train = load(folder, "de", "en").train
    assert train.source[0] == ("a " * 175).strip()  # 4 tokens to 2, 2 to 4 and 176 are too many, 175 are not
    assert train.source[1] == "A: Satz 0"


def test_what_is_amiss_with_iwslt14_is_told(tmp_path: Path) -> None:
    folder = iwslt14(tmp_path)
    path = folder / "IWSLT14.TED.tst2011.de-en.de.xml"
    text = path.read_text()
    path.write_text(text.replace(" 2 </seg>", ""))
    refused(folder, "tst2011.de-en.de.xml: .*is not a whole segment")
    path.write_text(text[: text.index('<seg id="2"')])
    refused(folder, "tst2011.de-en.de.xml has 1 sentences, .*tst2011.de-en.en.xml 2")
    path.unlink()
    refused(folder, r"IWSLT14.TED.tst2011.de-en.de.xml\[.gz\] is missing")
    iwslt14(folder)
    path = folder / "train.tags.de-en.en"
    path.write_text(path.read_text()[:-300])
    refused(folder, "train.tags.de-en.de has 64 sentences, .*train.tags.de-en.en")


def tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def packed(folder: Path, to: Path) -> Path:
    """The archive as published: the files in a folder, with a README."""
    return tar(to, {f"de-en/{path.name}": path.read_bytes() for path in folder.iterdir()} | {"de-en/README": b"a"})


@pytest.mark.parametrize("name", ["de-en.tgz", "en-de.tgz", "de-en.tar.gz"])
def test_iwslt14_as_published_is_read_packed(tmp_path: Path, name: str) -> None:
    folder = iwslt14(tmp_path / "unpacked/de-en")
    archive = packed(folder, tmp_path / "data" / name)
    for named in (archive, archive.parent):
        assert find(named, "de", "en") == archive
    for sides in (("de", "en"), ("en", "de")):
        assert load(archive, *sides) == load(folder, *sides)
    assert [path.name for path in archive.parent.iterdir()] == [name]  # nothing is unpacked there


def test_iwslt14_of_all_pairs_is_read_packed(tmp_path: Path) -> None:
    folder = iwslt14(tmp_path / "de-en")
    pair = packed(folder, tmp_path / "de-en.tgz").read_bytes()
    whole = tar(
        tmp_path / "data/2014-01.tgz", {"2014-01/texts/de/en/de-en.tgz": pair, "2014-01/texts/fr/en/fr-en.tgz": b""}
    )
    assert find(whole.parent, "de", "en") == whole
    assert load(whole, "de", "en") == load(folder, "de", "en")
    with pytest.raises(DataNotFoundError, match=r"2014-01.tgz: holds neither train.it"):
        find(whole, "it", "en")


def test_what_is_amiss_with_packed_iwslt14_is_told(tmp_path: Path) -> None:
    folder = iwslt14(tmp_path / "de-en")
    (folder / "IWSLT14.TED.tst2012.de-en.en.xml").unlink()
    archive = packed(folder, tmp_path / "data/de-en.tgz")
    refused(archive, r"de-en.tgz: IWSLT14.TED.tst2012.de-en.en.xml\[.gz\] is missing")
    iwslt14(folder)
    put(folder / "train.tags.de-en.en", ["Only one."])
    refused(packed(folder, archive), "de-en.tgz/train.tags.de-en.de has 64 sentences, .*train.tags.de-en.en 1")
    archive.write_bytes(archive.read_bytes()[:-300])
    refused(archive, "de-en.tgz: damaged archive")
    archive.write_bytes(b"a page of the hotel's network")
    refused(archive.parent, "de-en.tgz: damaged archive")
    with pytest.raises(DataNotFoundError, match=r"found de, en; write translation\(source=de,target=en\)"):
        find(archive.parent, "fr", "en")


# Tatoeba


def tatoeba(path: Path, lines: list[str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as members:
        members.writestr("_about.txt", "by Tatoeba")
        members.writestr("deu.txt", "".join(f"{line}\n" for line in lines))
    return path


def test_tatoebas_pairs_are_split_by_a_hash_whatever_their_order(tmp_path: Path) -> None:
    lines = [f"{english}\t{german}\tCC-BY 2.0" for english, german in zip(EN, DE, strict=True)]
    archive = tatoeba(tmp_path / "deu-eng.zip", lines)
    assert find(tmp_path, "de", "en") == tmp_path
    assert find(archive, "de", "en") == archive
    corpus = load(tmp_path, "de", "en")
    assert [len(part.source) for part in corpus] == [32, 4, 4]
    assert {pair for part in corpus for pair in zip(*part, strict=True)} == set(zip(DE, EN, strict=True))
    order = sorted(EN, key=lambda english: hashlib.sha256(english.encode()).hexdigest())
    assert [*corpus.train.target, *corpus.valid.target, *corpus.test.target] == order
    random.Random(0).shuffle(lines)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/deu.txt").write_text("".join(f"{line}\n" for line in [*lines, lines[0]]), encoding="utf-8")
    assert load(tmp_path / "other", "de", "en") == corpus


def test_no_sentence_that_is_held_out_is_trained_on(tmp_path: Path) -> None:
    tatoeba(
        tmp_path / "deu-eng.zip", [f"{english}\t{german}" for english in EN[:20] for german in (DE[0], english + "!")]
    )
    corpus = load(tmp_path, "de", "en")
    held = {line for part in corpus[1:] for side in part for line in side}
    assert DE[0] in held
    assert not held & {line for side in corpus.train for line in side}


def test_what_is_amiss_with_tatoebas_pairs_is_told(tmp_path: Path) -> None:
    archive = tatoeba(tmp_path / "deu-eng.zip", ["Hi.\tHallo!"])
    refused(tmp_path, "1 distinct pairs are too few")
    tatoeba(archive, ["Hi.\tHallo!", "Run!"])
    refused(tmp_path, "deu-eng.zip: line 2 has 1 columns; it must have 2 or 3")
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-10])
    refused(tmp_path, "deu-eng.zip: damaged archive")
    archive.write_bytes(whole.replace(b"deu.txt", b"fra.txt"))
    refused(tmp_path, "deu-eng.zip: holds no deu.txt")
    tatoeba(archive, [f"{english}\t{german}" for english, german in zip(EN, DE, strict=True)])
    whole = bytearray(archive.read_bytes())
    whole[whole.index(b"deu.txt") + 60] ^= 255
    archive.write_bytes(whole)
    refused(tmp_path, "deu-eng.zip: damaged archive")


# The real files


@pytest.mark.skipif(not (SHARED / "multi30k").exists(), reason="no ../shared/data/multi30k")
def test_the_real_multi30k() -> None:
    folder = SHARED / "multi30k/data/task1/raw"
    corpus = load(folder, "de", "en")
    assert [len(part.source) for part in corpus] == [29_000, 1_014, 1_000]
    assert corpus.train.source[0] == "Zwei junge weiße Männer sind im Freien in der Nähe vieler Büsche."
    assert corpus.test.target[0] == "A man in an orange hat starring at something."


@pytest.mark.skipif(not (SHARED / "deu-eng").exists(), reason="no ../shared/data/deu-eng")
def test_the_real_tatoeba() -> None:
    corpus = load(SHARED / "deu-eng", "en", "de")
    assert [len(part.source) for part in corpus[1:]] == [1_000, 1_000]
    assert 160_000 < len(corpus.train.source) < 169_813
