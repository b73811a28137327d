"""Damaged folders: every command after every damage, and what each damage leads to."""

import gzip
import json
import os
import random
import shutil
import sys
from unittest import mock

import damage
import pytest

from rectified.files import write
from rectified.study import Study
from rectified.study.execution.checkpoint import read_checkpoint, write_checkpoint
from rectified.study.execution.limits import ANY
from rectified.study.storage.store import Store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="studies need POSIX")


@pytest.mark.slow
def test_of_a_hundred_random_damages_none_loses_anything_or_stops_a_command(tmp_path):
    found = damage.trials(100, 23, tmp_path)
    ends = {
        end: sum(n for (*_, each), n in found.items() if each == end) for end in ("whole", "noted", "failed", "refused")
    }
    assert sum(ends.values()) == 100
    assert ends["whole"] > 70
    # What is in the way of this program's files and is not its own is named, and stays.
    for (name, how, end), _ in found.items():
        assert end in ("whole", "noted") or how in damage.OTHERS, (name, how, end)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    return damage.begun(tmp_path_factory.mktemp("original") / "out", finished=True)


@pytest.fixture
def out(original, tmp_path):
    return shutil.copytree(original, tmp_path / "out")


def run_folder(out):
    return next(out.glob("runs/adam-*seed1*"))


DEEP, HUGE = "[" * 100_000, "1" + "0" * 400
BAD = {
    "done.json": [
        *["null", "5", "[]", '{"status": "won"}', '{"status": ["done"]}', DEEP, "{", "\xff"],
        *[f'{{"status": "done", "seconds": {HUGE}}}', '{"status": "done", "rows": "one"}'],
    ],
    "rows.jsonl": [
        *["5\n", "null\n", '{"epoch": 2, "step": 6}\n', '{"epoch": 1, "step": "6"}\n', DEEP, ""],
        f'{{"epoch": 1, "step": 6, "test_accuracy": {HUGE}}}\n',
    ],
    "steps.csv": ["", "step,loss,omega,lr\n1,2\n"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name, each in BAD.items() for content in each])
def test_a_bad_run_is_named_and_runs_again(name, content, out):
    """With the digest and without, as an earlier version wrote done.json."""
    folder = run_folder(out)
    (folder / name).write_text(content, encoding="latin-1")
    if name != "done.json":
        done = json.loads((folder / "done.json").read_text())
        assert Store.open(out).record(Store.open(out).runs()[1]).status == "missing"
        (folder / "done.json").write_text(json.dumps({k: x for k, x in done.items() if k not in ("sha256", "rows")}))
    if (name, content) in (("rows.jsonl", ""), ("steps.csv", "")):
        return  # nothing in an empty file says that there was more
    store = Store.open(out)
    assert [record.status for record in store.records()] == ["done", "missing", "done", "done"]
    assert store.records()[1].error
    status, said = damage.commanded("status", out)
    assert status == 0
    assert "damaged: adam lr 0.01 seed 1: its " in said
    assert "it will run again" in said


def test_a_flipped_digit_in_the_results_is_not_believed(out):
    rows = run_folder(out) / "rows.jsonl"
    text = rows.read_text()
    i = text.index('"test_accuracy": ') + len('"test_accuracy": ')
    rows.write_text(text[:i] + str((int(text[i]) + 1) % 10) + text[i + 1 :])
    (found,) = [record for record in Store.open(out).records() if record.status == "missing"]
    assert found.error == "its results: rows.jsonl was changed after it was written"
    reference = (out / "results.csv").read_bytes()
    status, said = damage.call(out)
    assert status == 0
    assert "3 of 4 runs are already finished" in said
    assert (out / "results.csv").read_bytes() == reference


def test_a_changed_digit_of_the_study_is_named(out):
    path = out / "study.json"
    assert Store.open(out).problems() == []
    path.write_text(path.read_text().replace('"chance": 10.0', '"chance": 70.0'))
    status, said = damage.commanded("status", out)
    assert status == 0
    assert f"{path} is damaged or was changed by hand" in said
    status, said = damage.call(out)
    assert status == 0
    assert "study.json is damaged or was changed by hand" in said
    assert Store.open(out).problems() == [], "it has been rewritten"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("metric", "/../../../outside/mine"), ("metric", ""), ("metric_label", ""), ("margin", 0), ("margin", "1")],
        *[("steps_per_epoch", [[-5, -1]]), ("steps_per_epoch", [[1000, 10**400]]), ("title", "\x1b[31m")],
    ],
)
def test_a_bad_task_of_the_study_is_named_and_left_out(name, value, out):
    path = out / "study.json"
    study = json.loads(path.read_text())
    study["tasks"][0][name] = value
    path.write_text(json.dumps(study))
    for command in ("status", "report", "export"):
        status, said = damage.commanded(command, out)
        assert status == 0
        if command == "status":
            assert f"{path}: entry 1 of tasks is ignored: " in said


@pytest.mark.parametrize(("name", "value"), [("ended", "soon"), ("ended", "2026-11-28T12:00:00"), ("attempts", -1)])
def test_a_bad_field_of_an_ending_makes_the_run_missing(name, value, out):
    path = run_folder(out) / "done.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    for command in ("status", "report", "export"):
        assert damage.commanded(command, out)[0] == 0
    assert "missing" in {record.status for record in Store.open(out).records()}


@pytest.mark.parametrize("name", ["done.json", "rows.jsonl"])
def test_a_file_of_terabytes_is_not_read(name, out):
    with (run_folder(out) / name).open("r+b") as file:
        file.truncate(1 << 42)
    status, said = damage.commanded("status", out)
    assert status == 0
    assert "larger than 268 MB" in said


def test_a_study_without_runs_is_one_line(out):
    path = out / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"runs": []}))
    assert damage.commanded("status", out)[0] == 0
    status, said = damage.commanded("report", out)
    assert (status, said) == (2, "rectified: the study has no runs, so there is nothing to report\n")


def test_a_method_is_no_markup(out):
    path = out / "study.json"
    path.write_text(path.read_text().replace('"adam"', '"[/red]"'))
    status, said = damage.commanded("status", out)
    assert status == 0
    assert "[/red]" in said


def test_a_checkpoint_that_is_no_state_of_a_run_begins_it_again(tmp_path):
    """tests/study/test_checkpoints.py has more of them."""
    out = damage.begun(tmp_path / "out", finished=False)
    folder = next(out.glob("runs/*/checkpoint.pt")).parent
    write_checkpoint(folder, read_checkpoint(folder) | {"step": -10})
    status, said = damage.call(out)
    assert status == 0
    assert "its checkpoint is not the state of a run" in said


@pytest.mark.parametrize("entry", [None, 5, [], {}, {"task": "x"}, {"lr": "0.1"}, {"lr": True}, {"seed": 0.5}])
def test_a_bad_entry_of_the_study_is_named_and_its_run_found_again(entry, out):
    path = out / "study.json"
    study = json.loads(path.read_text())
    first = study["runs"][0]
    study["runs"][0] = first | entry if isinstance(entry, dict) and len(entry) == 1 and "task" not in entry else entry
    path.write_text(json.dumps(study))
    status, said = damage.commanded("status", out)
    assert status == 0
    assert f"{path}: entry 1 of runs is ignored: " in said
    assert "3 runs: 3 done" in said
    assert damage.call(out)[0] == 0
    assert {record.status for record in Store.open(out).records()} == {"done"}
    assert len(Store.open(out).runs()) == 4


@pytest.mark.parametrize("content", ["null", "5", "{", "[" * 100_000, '{"kind": "rectified study", "format": "two"}'])
def test_a_study_json_that_is_none_is_one_line_and_its_runs_can_be_taken_up(content, out):
    path = out / "study.json"
    path.write_text(content)
    for command in ("status", "report", "export"):
        status, said = damage.commanded(command, out)
        assert status == 2
        assert len(said.strip().splitlines()) == 1
        assert "move it away and repeat the study's command, which recovers its runs" in said
    path.unlink()
    status, said = damage.call(out)
    assert status == 0
    assert "4 of 4 runs are already finished" in said


def test_runs_of_other_calls_are_found_too_where_study_json_is_gone(out):
    (out / "study.json").unlink()
    one = Study("fashion-mnist-mini", "adam", 0.01, 0, epochs=1, batch_sizes=1000)
    with mock.patch.object(damage, "STUDY", one):
        assert damage.call(out)[0] == 0
    assert len(Store.open(out).runs()) == 4
    assert {record.status for record in Store.open(out).records()} == {"done"}


def test_of_a_newer_version_is_one_line(out):
    study = json.loads((out / "study.json").read_text())
    (out / "study.json").write_text(json.dumps(study | {"format": 3}))
    status, said = damage.commanded("status", out)
    assert status == 2
    assert "was written by a newer version of rectified" in said


@pytest.fixture(scope="module")
def packed(original, tmp_path_factory):
    return damage.archived(original, tmp_path_factory.mktemp("packed") / "out")


def test_a_study_goes_on_with_the_runs_of_its_archive(packed, tmp_path):
    out = shutil.copytree(packed, tmp_path / "out")
    reference = (out / "results.csv").read_bytes()
    status, said = damage.call(out)
    assert status == 0
    assert "4 of 4 runs are already finished" in said
    assert not list((out / "runs").iterdir())
    (out / "study.json").unlink()
    assert "4 of 4 runs are already finished" in damage.call(out)[1]
    assert (out / "results.csv").read_bytes() == reference


def test_a_run_that_is_damaged_in_the_archive_runs_again_in_a_folder(packed, tmp_path):
    out = shutil.copytree(packed, tmp_path / "out")
    path, reference = out / damage.ARCHIVE, (out / "results.csv").read_bytes()
    lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
    lines[2] = lines[2].replace(b"test_accuracy", b"test_accurace")
    path.write_bytes(content := gzip.compress(b"".join(lines)))
    status, said = damage.call(out)
    assert status == 0
    assert "line 3 is left out: adam lr 0.01 seed 1 was changed after it was written" in said
    assert "3 of 4 runs are already finished" in said
    assert (out / "results.csv").read_bytes() == reference
    (folder,) = (out / "runs").iterdir()
    assert folder.name.startswith("adam-lr0.01-seed1-")
    assert path.read_bytes() == content, "no study writes there"
    assert "4 of 4 runs are already finished" in damage.call(out)[1]
    path.unlink()
    status, said = damage.call(out)
    assert "1 of 4 runs are already finished" in said


class Removing(damage.Here):
    """Somebody removes study.json, or the whole folder, after the second run."""

    what = "study.json"

    def run(self, runs, store, data, limits=ANY):
        ended = 0
        for event in super().run(runs, store, data, limits):
            yield event
            ended += event.kind == "done"
            if event.kind == "done" and ended == 2:
                path = store.out / self.what
                shutil.rmtree(path) if path.is_dir() else path.unlink()


class RemovingAll(Removing):
    what = ""


@pytest.mark.parametrize("executor", [Removing, pytest.param(RemovingAll, marks=pytest.mark.slow)])
def test_what_is_removed_while_a_study_runs_strands_no_run(executor, tmp_path, monkeypatch):
    monkeypatch.setattr(damage, "Here", executor)
    status, said = damage.call(tmp_path / "out")
    assert "study.json was removed or changed during the study; it has been rewritten" in said
    lost = 0 if executor is Removing else 2
    assert status == bool(lost)
    assert said.count("lost: ") == lost
    assert [record.status for record in Store.open(tmp_path / "out").records()].count("done") == 4 - lost
    monkeypatch.undo()
    status, said = damage.call(tmp_path / "out")
    assert status == 0
    assert f"{4 - lost} of 4 runs are already finished" in said


def test_a_run_that_failed_because_its_folder_cannot_be_written_is_a_failed_one(out):
    folder = run_folder(out)
    shutil.rmtree(folder)
    folder.write_text("mine")
    status, said = damage.call(out)
    assert status == 1
    assert "failed: adam lr 0.01 seed 1: " in said
    assert "1 failed" in said, "in the verdict, too"
    assert folder.read_text() == "mine"


def test_a_runs_folder_that_is_a_link_is_not_emptied_at_its_target(out, tmp_path):
    folder, thesis = run_folder(out), tmp_path / "thesis"
    shutil.rmtree(folder)
    thesis.mkdir()
    for name in ("chapter1.tex", "done.json", "config.json"):
        (thesis / name).write_text("years of work")
    folder.symlink_to(thesis)
    status, said = damage.call(out)
    assert status == 1
    assert "failed: adam lr 0.01 seed 1: " in said
    assert "a link; runs are not written through links, so move it away" in said
    assert {path.name: path.read_text() for path in thesis.iterdir()} == dict.fromkeys(
        ("chapter1.tex", "done.json", "config.json"), "years of work"
    )


def test_only_this_programs_files_are_removed_from_a_run_that_starts_over(out):
    folder = run_folder(out)
    (folder / "done.json").unlink()
    (folder / "notes.txt").write_text("mine")
    (folder / "plots").mkdir()
    (folder / "plots" / "a.svg").write_text("mine")
    assert damage.call(out)[0] == 0
    assert (folder / "notes.txt").read_text() == (folder / "plots" / "a.svg").read_text() == "mine"
    assert len(list(folder.glob("events*"))) == 1


@pytest.mark.parametrize("name", [".lock", "runs/RUN/.lock", "runs/RUN/rows.jsonl", "runs/RUN/checkpoint.pt"])
@pytest.mark.parametrize("exists", [True, False])
def test_no_link_in_a_study_is_written_through(name, exists, out, tmp_path):
    folder = run_folder(out)
    (folder / "done.json").unlink()
    path, target = out / name.replace("RUN", folder.name), tmp_path / "theirs"
    if exists:
        target.write_text("theirs")
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    damage.commanded("status", out)
    damage.call(out)
    assert target.exists() == exists
    assert not exists or target.read_text() == "theirs"


def test_no_temporary_file_has_a_name_that_can_be_guessed(tmp_path, monkeypatch):
    """In a shared folder somebody may lay a link under it."""
    opened = []
    real = os.open

    def watched(path, *rest):
        opened.append(str(path))
        return real(path, *rest)

    monkeypatch.setattr(os, "open", watched)
    write(tmp_path / "x", "1")
    write(tmp_path / "x", "2")
    temporaries = [path for path in opened if ".rectified-" in path]
    assert len(temporaries) == len(set(temporaries)) >= 2


@pytest.mark.slow
def test_random_damage(tmp_path):
    """A few of those that the slow test makes a hundred of."""
    assert sum(damage.trials(3, random.Random(7).randrange(10**6), tmp_path).values()) == 3
