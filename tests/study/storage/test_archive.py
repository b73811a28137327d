"""The archive of a study's runs: it is read like their folders, within limits, and packing loses nothing."""

import gzip
import io
import json
import os
import random
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from made_by_hand import add, unpack
from rectified import cli
from rectified.study.analysis.results import StudyResults
from rectified.study.config.runs import RunKey
from rectified.study.console.status import print_status
from rectified.study.execution import checkpoint
from rectified.study.execution.first_steps import StepRecord, write_steps
from rectified.study.execution.gradients import EDGES, Histogram, write_histograms
from rectified.study.executors.executor import write_failure
from rectified.study.report.page import page
from rectified.study.storage import archive, validation
from rectified.study.storage.archive import (
    NAME,
    Archive,
    ArchivedRun,
    NewerArchiveError,
    line_of,
    packed,
    read_archive,
)
from rectified.study.storage.locks import locked
from rectified.study.storage.packing import pack
from rectified.study.storage.run_files import digests
from rectified.study.storage.run_folder import RunFolder
from rectified.study.storage.store import NotAStudyError, Store, write_json

HEAD = {"task": "fashion-mnist-mini", "epochs": 2, "batch_size": 100}


def key(method, seed=0):
    return RunKey(method=method, lr=0.1, seed=seed, **HEAD)


DONE, CONTROL, DIVERGED = key("radam"), key("matched-lr(radam)"), key("adam")
FAILED, OUT_OF_TIME, BEGUN, WAITING = (key("sgd", seed) for seed in range(4))
RUNS = [DONE, CONTROL, DIVERGED, FAILED, OUT_OF_TIME, BEGUN, WAITING]
ENDED = {DONE, CONTROL, DIVERGED, FAILED, OUT_OF_TIME}


def write_run(store, run, accuracy=80.0, status="done"):
    """The run's folder, as a worker leaves it."""
    folder = store.folder(run)
    folder.mkdir(parents=True)
    write_json(folder / "config.json", {"run": run.as_dict(), "versions": {"torch": "2.9"}, "command": "rectified"})
    rows = [
        {"epoch": epoch, "step": 60 * epoch, "train_loss": 0.1 + 0.2, "test_accuracy": accuracy + epoch}
        for epoch in range(1, 1 + (2 if status == "done" else 1))
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if status == "begun":
        (folder / checkpoint.NAME).write_bytes(b"state")
        return folder
    write_steps(folder, [StepRecord(step, 1 / step, 0.5, 0.1) for step in range(1, 4)])
    write_histograms(folder, [Histogram(step, 5, (step,) * (len(EDGES) - 1)) for step in (1, 2)])
    done = {"status": status, "step": 120, "rows": len(rows), "seconds": 1.5, "attempts": 1, "host": "here"}
    done |= {"ended": "2026-11-28T17:00:00+00:00", "versions": {"torch": "2.9"}, "sha256": digests(RunFolder(folder))}
    write_json(folder / "done.json", done)
    (folder / "events.out.tfevents.1.here").write_bytes(b"drawn")
    (folder / ".lock").touch()
    return folder


@pytest.fixture
def store(tmp_path):
    """A study with a run of every kind."""
    store = Store(tmp_path / "study")
    store.out.mkdir()
    add(store, RUNS, "rectified study fashion-mnist-mini", baseline="adam")
    write_run(store, DONE)
    write_run(store, CONTROL, 70.0)
    write_run(store, DIVERGED, 10.0, "diverged")
    write_failure(store.folder(FAILED), "Traceback\nValueError: ü ☃", 1, "run")
    write_run(store, OUT_OF_TIME, status="begun")
    write_failure(store.folder(OUT_OF_TIME), "it has had its minutes", 2)
    write_run(store, BEGUN, status="begun")
    return Store.open(store.out)


def seen(out):
    """What every reader makes of the folder."""
    store = Store.open(out)
    results, console = StudyResults.read(store), Console(record=True, width=150, file=io.StringIO())
    store.write_tables(results.by_key)
    status = print_status(store, console)
    tables = [(out / name).read_text() for name in ("results.csv", "timings.csv")]
    text = "\n".join(line for line in console.export_text().splitlines() if "last written" not in line)
    return store.records(), store.runs(), tables, status, text, results.table(), page(results)


def lines(path):
    return gzip.decompress(path.read_bytes()).splitlines(keepends=True)


def rewrite(path, change):
    """The archive with its lines as `change` returns them, well compressed."""
    path.write_bytes(gzip.compress(b"".join(change(lines(path))), mtime=0))


@pytest.mark.parametrize("remove", [False, True])
def test_a_packed_study_is_read_as_its_folders_were(remove, store):
    before = seen(store.out)
    assert [record.status for record in before[0]] == ["done", "done", "diverged", "failed", "failed", *["missing"] * 2]
    assert all(record.steps and record.gradients for record in before[0][:3])
    done = pack(store, remove)
    assert (done.runs, done.unfinished, done.left_out) == (5, (BEGUN,), ())
    assert read_archive(done.path).runs.keys() == ENDED
    assert seen(store.out) == before
    there = {path.name for path in store.folder_of_runs.iterdir()}
    stay = {store.folder(run).name for run in (OUT_OF_TIME, BEGUN)}  # whose checkpoints they go on from
    assert there == (stay if remove else {store.folder(run).name for run in RUNS[:-1]})
    if not remove:
        shutil.rmtree(store.folder_of_runs)
        (*records, begun, _), *_ = seen(store.out)
        assert records == before[0][:-2]
        assert begun.status == "missing"


def test_a_folder_of_an_earlier_version_is_packed_and_read_likewise(store):
    study = json.loads((store.out / "study.json").read_text())
    study["cells"] = study.pop("runs")
    study["sha256"] = validation.digest(study)
    (store.out / "study.json").write_text(json.dumps(study))
    (store.out / "runs").rename(store.out / "cells")
    for run in RUNS[:-1]:
        (store.out / "cells" / run.id).rename(store.out / "cells" / run.old_id)
    before = seen(store.out)
    assert [record.status for record in before[0][:3]] == ["done", "done", "diverged"]
    pack(Store.open(store.out), remove_folders=True)
    assert seen(store.out) == before
    assert f"{DONE.old_id},1.5" in (store.out / "timings.csv").read_text()


def test_an_archive_has_the_files_as_they_were(store, tmp_path):
    shutil.copytree(store.out, tmp_path / "copy")
    pack(store, remove_folders=True)
    unpack(store.out)
    for run in ENDED:
        was = tmp_path / "copy" / "runs" / run.id
        for path in store.folder(run).iterdir():
            assert path.read_bytes() == (was / path.name).read_bytes()
        assert {path.name for path in store.folder(run).iterdir()} >= {path.name for path in was.glob("*.*[lnv]")}


def test_the_same_runs_are_the_same_bytes(store, tmp_path):
    first = pack(store).path.read_bytes()
    assert first[:10] == bytes.fromhex("1f8b0800000000000 2ff".replace(" ", "")), "no time, no name, no system"
    assert pack(Store.open(store.out), remove_folders=True).path.read_bytes() == first
    assert pack(Store.open(store.out)).path.read_bytes() == first, "from the archive alone"
    other = Store(tmp_path / "other")
    other.out.mkdir()
    add(other, RUNS[::-1])
    shutil.copyfile(store.out / NAME, other.out / NAME)
    assert pack(Store.open(other.out)).path.read_bytes() == first, "in any order"
    head, *runs = lines(store.out / NAME)
    assert json.loads(head) == {"kind": "rectified runs", "format": 1}
    assert [json.loads(line)["run"] for line in runs] == [run.as_dict() for run in sorted(ENDED, key=lambda x: x.id)]


def test_the_folder_of_a_run_wins_as_soon_as_anything_is_in_it(store):
    pack(store, remove_folders=True)
    folder = store.folder(DONE)
    folder.mkdir()
    (folder / ".lock").touch()
    (folder / "events.out.tfevents.2.here").touch()  # as git leaves what it ignores
    assert Store.open(store.out).record(DONE).rows[-1]["test_accuracy"] == 82.0
    (folder / "config.json").write_text("{}")
    assert Store.open(store.out).record(DONE).status == "missing", "it runs"
    shutil.rmtree(folder)
    write_run(store, DONE, 90.0)
    assert Store.open(store.out).record(DONE).rows[-1]["test_accuracy"] == 92.0
    pack(Store.open(store.out), remove_folders=True)
    assert Store.open(store.out).record(DONE).rows[-1]["test_accuracy"] == 92.0


def test_packing_keeps_what_the_archive_has_of_a_run_whose_folder_is_damaged_or_unfinished(store):
    pack(store)
    (store.folder(DONE) / "rows.jsonl").unlink()
    shutil.rmtree(store.folder(FAILED))
    write_run(store, FAILED, status="begun")
    assert [Store.open(store.out).record(run).status for run in (DONE, FAILED)] == ["missing", "missing"]
    again = pack(Store.open(store.out), remove_folders=True)
    assert [line for line in again.left_out if str(DONE) in line]
    assert set(again.unfinished) == {FAILED, BEGUN}
    assert (store.folder(FAILED) / checkpoint.NAME).exists()
    assert store.folder(DONE).exists()
    for run in (DONE, FAILED):
        shutil.rmtree(store.folder(run))
    assert Store.open(store.out).record(DONE).rows[-1]["test_accuracy"] == 82.0
    assert Store.open(store.out).record(FAILED).status == "failed"


def test_runs_that_end_later_join_those_of_the_archive(store):
    pack(store, remove_folders=True)
    later = key("adam", 7)
    add(again := Store.open(store.out), [later])
    write_run(again, later)
    pack(again, remove_folders=True)
    assert read_archive(store.out / NAME).runs.keys() == {*ENDED, later}
    assert [record.status for record in Store.open(store.out).records()][:4] == ["done", "done", "done", "diverged"]


def test_without_its_study_the_archives_runs_are_taken_up(store):
    pack(store, remove_folders=True)
    (store.out / "study.json").unlink()
    with pytest.raises(NotAStudyError, match="repeating the command that began it recovers its runs"):
        Store.open(store.out)
    new = Store(store.out)
    add(new, [WAITING])
    assert set(new.runs()) == set(RUNS)
    assert new.record(CONTROL).status == "done"


def test_what_is_somebody_elses_stays_and_no_link_is_followed(store, tmp_path, capsys):
    (store.folder(DONE) / "notes.txt").write_text("mine")
    shutil.move(store.folder(CONTROL), tmp_path / "theirs")
    store.folder(CONTROL).symlink_to(tmp_path / "theirs")
    before = {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()}
    (tmp_path / "aim").write_text("theirs")
    (store.out / NAME).symlink_to(tmp_path / "aim")
    assert cli.main(["pack", str(store.out), "--remove-folders"]) == 2
    assert "is damaged, or not an archive: Too many levels of symbolic links" in capsys.readouterr().err
    (store.out / NAME).unlink()
    assert cli.main(["pack", str(store.out), "--remove-folders"]) == 1
    said = capsys.readouterr().out
    assert f"{CONTROL} stays in its folder: " in said
    assert "packed 4 runs into" in said
    assert "2 folders of packed runs hold other files and stayed: " in said
    assert "not packed: 1 run not finished" in said
    assert [path.name for path in store.folder(DONE).iterdir()] == ["notes.txt"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "theirs").iterdir()} == before


def test_a_damaged_run_is_named_and_stays_in_its_folder(store, capsys):
    (store.folder(DONE) / "rows.jsonl").write_text('{"epoch": 1, "step": 60}\n')
    (store.folder(CONTROL) / "config.json").write_bytes(b"\xff")
    assert cli.main(["pack", str(store.out), "--remove-folders"]) == 1
    said = capsys.readouterr().out
    assert f"{DONE} is damaged, so it was not packed: its rows.jsonl: it has 1 of 2 rows" in said
    assert f"{CONTROL} stays in its folder: 'utf-8' codec can't decode" in said
    assert read_archive(store.out / NAME).runs.keys() == ENDED - {DONE, CONTROL}
    assert store.folder(DONE).exists()
    assert (store.folder(CONTROL) / "done.json").exists()


def test_nothing_is_packed_while_a_study_runs_nor_where_no_run_has_ended(store, tmp_path):
    with store.locked(), pytest.raises(NotAStudyError, match="in use"):
        pack(Store.open(store.out))
    with locked(store.folder(DONE), wait=False):
        pack(store, remove_folders=True)
        assert (store.folder(DONE) / "done.json").exists(), "somebody is in there"
    new = Store(tmp_path / "new")
    new.out.mkdir()
    add(new, [WAITING])
    with pytest.raises(ValueError, match="no finished runs, so there is nothing to pack"):
        pack(new)
    assert not (new.out / NAME).exists()


def test_what_cannot_be_read_again_is_not_written(store, monkeypatch):
    monkeypatch.setattr(archive, "LONGEST", 1500)
    done = pack(store, remove_folders=True)
    assert {line.split(" stays")[0] for line in done.left_out} == {str(run) for run in (DONE, CONTROL, DIVERGED)}
    assert "its files have more than the 0 MB that an archive holds per run" in done.left_out[0]
    assert store.folder(DONE).exists()
    (store.out / NAME).unlink()
    monkeypatch.setattr(archive, "LIMIT", 100)
    with pytest.raises(ValueError, match="which is more than an archive may hold"):
        pack(Store.open(store.out))
    assert not (store.out / NAME).exists()


# What a stranger or a bad disk makes of the lines, and what is then said of the archive. The first run is DIVERGED.
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
