"""The archive of a study's runs: it is read like their folders, and packing loses nothing."""

import io
import json
import shutil

import pytest
from packed_study import (
    BEGUN,
    CONTROL,
    DIVERGED,
    DONE,
    ENDED,
    FAILED,
    OUT_OF_TIME,
    RUNS,
    WAITING,
    a_study,
    key,
    lines,
    write_run,
)
from rich.console import Console

from made_by_hand import add, unpack
from rectified import cli
from rectified.study.analysis.results import StudyResults
from rectified.study.console.status import print_status
from rectified.study.execution import checkpoint
from rectified.study.report.page import page
from rectified.study.storage import archive, validation
from rectified.study.storage.archive import NAME, read_archive
from rectified.study.storage.locks import locked
from rectified.study.storage.packing import pack
from rectified.study.storage.store import NotAStudyError, Store


@pytest.fixture
def store(tmp_path):
    return a_study(tmp_path / "study")


def seen(out):
    """What every reader makes of the folder."""
    store = Store.open(out)
    results, console = StudyResults.read(store), Console(record=True, width=150, file=io.StringIO())
    store.write_tables(results.by_key)
    status = print_status(store, console)
    tables = [(out / name).read_text() for name in ("results.csv", "timings.csv")]
    text = "\n".join(line for line in console.export_text().splitlines() if "last written" not in line)
    return store.records(), store.runs(), tables, status, text, results.table(), page(results)


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
