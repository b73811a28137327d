"""What a stranger or a bad disk makes of an archive: it is named, costs no more than its runs, and fills no memory."""

import gzip
import io
import json
import os
import random
from pathlib import Path

import pytest
from packed_study import DIVERGED, DONE, a_study, key, lines, rewrite

from rectified import cli
from rectified.study.storage import archive, validation
from rectified.study.storage.archive import NAME, Archive, ArchivedRun, NewerArchiveError, line_of, packed, read_archive
from rectified.study.storage.packing import pack
from rectified.study.storage.store import Store


@pytest.fixture
def store(tmp_path):
    return a_study(tmp_path / "study")


DEEP = b"[" * 100_000 + b"\n"


def changed(name, text):
    """The first run with a file changed, and its digest made new."""

    def change(all_lines):
        value = json.loads(all_lines[1])
        value["files"][name] = text
        value["sha256"] = validation.digest(value)
        return [all_lines[0], json.dumps(value).encode() + b"\n", *all_lines[2:]]

    return change


def first_line(line):
    return lambda all_lines: [all_lines[0], line, *all_lines[2:]]


# How the lines are changed, and what is then said of the archive. The first run is DIVERGED.
LINES = {
    "a digit": (
        lambda x: [x[0], x[1].replace(b"11.0", b"71.0"), *x[2:]],
        "adam lr 0.1 seed 0 was changed after it was written",
    ),
    "a seed": (
        lambda x: [x[0], x[1].replace(b'"seed": 0', b'"seed": 5'), *x[2:]],
        "adam lr 0.1 seed 5 was changed after",
    ),
    "no digest": (
        lambda x: [x[0], x[1].replace(b'"sha256": ', b'"sha": '), *x[2:]],
        "was changed after it was written",
    ),
    "no JSON": (first_line(b"{\n"), "it is not JSON"),
    "bytes": (first_line(b"\xff\xfe\n"), "it is not JSON"),
    "a number": (first_line(b"5\n"), "it is 5; it must be an object"),
    "deep": (first_line(DEEP), "it is nested too deeply"),
    "a large number": (first_line(b'{"run": {"seed": 1' + b"0" * 5000 + b"}}\n"), "it is not JSON"),
    "no run": (first_line(b'{"run": [], "files": {}}\n'), "it is []; it must be an object"),
    "no files": (lambda x: [x[0], x[1].replace(b'"files"', b'"file"'), *x[2:]], "files is None; it must be an object"),
    "another file": (changed("../../planted.py", "boom"), "has a file '../../planted.py': 'boom'"),
    "a checkpoint": (changed("checkpoint.pt", "boom"), "has a file 'checkpoint.pt': 'boom'"),
    "a file of numbers": (changed("rows.jsonl", [1]), "has a file 'rows.jsonl': [1]; it must be the text"),
    "half a character": (changed("rows.jsonl", "\ud800"), "surrogates not allowed"),
    "controls": (changed("\x1b[31m", "boom"), r"has a file '\x1b[31m'"),
    "twice": (lambda x: [*x[:3], x[2], *x[3:]], "appears a second time"),
}


@pytest.mark.parametrize("name", LINES)
def test_a_bad_line_is_named_and_costs_its_run_alone(name, store, capsys):
    pack(store, remove_folders=True)
    was = {record.run: record for record in Store.open(store.out).records()}
    change, why = LINES[name]
    rewrite(store.out / NAME, change)
    now = Store.open(store.out)
    (problem,) = now.problems()
    assert problem.startswith(f"{store.out / NAME}: line {4 if name == 'twice' else 2} is left out: ")
    assert why in problem
    assert problem.isprintable()
    lost = set() if name == "twice" else {DIVERGED}
    assert {record.run for record in now.records() if record != was[record.run]} == lost
    assert cli.main(["status", str(store.out)]) == 1, "there are failed runs"
    assert problem in capsys.readouterr().out
    assert cli.main(["export", str(store.out)]) == 0
    assert problem in capsys.readouterr().err
    with pytest.raises(ValueError, match="move the file away"):
        pack(now)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("done.json", '{"status": "won"}', "its done.json: status is 'won'; it must be done, diverged or failed"),
        ("done.json", "[" * 100_000, "its done.json: it is nested too deeply"),
        ("rows.jsonl", '{"epoch": 7}\n', "its rows.jsonl: row 1 is not for epoch 1"),
        ("rows.jsonl", "", "its rows.jsonl: it has 0 of 1 rows"),
        ("steps.csv", "step,loss,omega,lr\n1,2\n", "its results: steps.csv was changed after it was written"),
        ("gradients.csv", "", "its results: gradients.csv was changed after it was written"),
    ],
)
def test_a_strangers_run_is_checked_as_its_folder_would_be(name, text, why, store, capsys):
    pack(store, remove_folders=True)
    rewrite(store.out / NAME, changed(name, text))
    now = Store.open(store.out)
    assert now.problems() == []
    assert (now.record(DIVERGED).status, now.record(DIVERGED).error) == ("missing", why)
    assert [record.status for record in now.records()].count("missing") == 3
    cli.main(["status", str(store.out)])
    assert f"damaged: {DIVERGED}: {why}; it will run again" in capsys.readouterr().out


HEADS = {
    "none": (b"", "it is not JSON"),
    "of something else": (b'{"kind": "rectified study", "format": 1}\n', "its kind is 'rectified study'; it must be"),
    "a list": (b"[]\n", "its first line is []; it must be an object"),
    "no format": (b'{"kind": "rectified runs"}\n', "its format is None"),
    "a format in words": (b'{"kind": "rectified runs", "format": "two"}\n', "its format is 'two'"),
    "deep": (DEEP, "it is nested too deeply"),
}


@pytest.mark.parametrize("name", HEADS)
def test_what_does_not_begin_as_an_archive_is_none(name, store):
    pack(store, remove_folders=True)
    head, why = HEADS[name]
    rewrite(store.out / NAME, lambda all_lines: [head] if name == "none" else [head, *all_lines[1:]])
    now = Store.open(store.out)
    (problem,) = now.problems()
    assert f"{store.out / NAME} is damaged, or not an archive: " in problem
    assert why in problem
    assert [record.status for record in now.records()].count("missing") == 6, "all but the one with a folder"


def test_an_archive_of_a_newer_version_is_refused_in_a_line(store, capsys):
    pack(store, remove_folders=True)
    rewrite(store.out / NAME, lambda x: [x[0].replace(b": 1", b": 2"), b'{"another": "structure"}\n'])
    with pytest.raises(NewerArchiveError):
        read_archive(store.out / NAME)
    for command in ("status", "report", "export", "pack"):
        assert cli.main([command, str(store.out)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert "runs.jsonl.gz was written by a newer version of rectified; update this one to read it" in line


def test_of_an_archive_that_is_cut_off_or_damaged_what_is_whole_is_read(tmp_path):
    rng, path = random.Random(3), tmp_path / NAME
    runs = {key("adam", seed): ArchivedRun({"rows.jsonl": rng.randbytes(300).hex().encode()}) for seed in range(300)}
    content = packed({run: line_of(run, files) for run, files in runs.items()})
    path.write_bytes(content)
    assert read_archive(path) == Archive(runs)
    path.write_bytes(content[: len(content) // 2])
    found = read_archive(path)
    (problem,) = found.problems
    assert "Compressed file ended before the end-of-stream marker was reached" in problem
    assert 100 < len(found.runs) < 200
    for _ in range(50):
        i = rng.randrange(10, len(content))
        path.write_bytes(content[:i] + bytes([content[i] ^ (1 << rng.randrange(8))]) + content[i + 1 :])
        found = read_archive(path)
        assert found.problems
        assert found.runs.items() <= runs.items(), "nothing that was changed is believed"


@pytest.mark.parametrize(
    "content", [b"", b"null", bytes(500), b"\x1f\x8b", b"\x1f\x8b\x08\x00" + bytes(50), b"PK\x03\x04"]
)
def test_what_is_no_gzip_file_is_named(content, store):
    pack(store, remove_folders=True)
    (store.out / NAME).write_bytes(content)
    (problem,) = Store.open(store.out).problems()
    assert "is damaged, or not an archive: " in problem


def test_a_pipe_a_folder_and_a_link_in_its_place_are_named(store, tmp_path):
    aim = tmp_path / "aim"
    pack(store).path.rename(aim)
    path = store.out / NAME
    for make in (os.mkfifo, Path.mkdir, lambda path: path.symlink_to(aim), lambda path: path.symlink_to("nowhere")):
        make(path)
        now = Store.open(store.out)
        assert len(now.problems()) == 1
        assert now.record(DONE).status == "done", "from its folder"
        path.rmdir() if path.is_dir() else path.unlink()


BOMBS = {
    "one line": [b"[" + b"0," * (1 << 24)],
    "white space": [b" " * (1 << 20)] * 64,
    "lines of nothing": [b"\n" * (1 << 20)] * 64,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_not_unpacked(name, store, monkeypatch):
    head, *_ = lines(pack(store, remove_folders=True).path)
    file = io.BytesIO()
    with gzip.GzipFile(mode="wb", fileobj=file, compresslevel=1) as stream:
        stream.writelines([head, *BOMBS[name]])
    (store.out / NAME).write_bytes(file.getvalue())
    taken, real = [], gzip.GzipFile.readline

    def watched(stream, limit=-1):
        line = real(stream, limit)
        taken.append(len(line))
        return line

    monkeypatch.setattr(gzip.GzipFile, "readline", watched)
    problems = Store.open(store.out).problems()
    assert sum(taken) <= archive.LONGEST + 100
    assert len(problems) <= 101
    assert "unpacks to more than 17 MB" in problems[-1] or "the rest was skipped" in problems[-1]


def test_nothing_is_unpacked_beyond_the_limit(store, monkeypatch):
    pack(store, remove_folders=True)
    total = sum(map(len, lines(store.out / NAME)))
    monkeypatch.setattr(archive, "LIMIT", total)
    assert Store.open(store.out).problems() == []
    monkeypatch.setattr(archive, "LIMIT", total - 1)
    (problem,) = Store.open(store.out).problems()
    assert "it unpacks to more than" in problem
    assert len(Store.open(store.out).archive.runs) == 4
