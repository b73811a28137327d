"""Which checkpoint a run goes on from, what is said of others, and when one is written and removed."""

import json
import shutil
import threading

import pytest
import torch
from tiny_runs import EVERY_STEP, TINY, Tiny, a_run, half_a_run, run

from rectified.study.execution import checkpoint
from rectified.study.execution.execute import execute
from rectified.study.execution.limits import Limits, TimeLimitError
from rectified.study.execution.ranks import Ranks
from rectified.study.storage.locks import LOCK, locked


@pytest.fixture
def tiny():
    """The tiny task's data."""
    return TINY.load(None)


def damaged(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "empty":
        path.write_bytes(b"")
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.mark.parametrize("how", ["truncated", "empty", "one bit"])
def test_a_damaged_checkpoint_is_told_and_the_run_begins_anew(how, tiny, tmp_path, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    damaged(folder / checkpoint.NAME, how)
    told = run(a_run(), tiny, folder)
    assert [kind for kind, *_ in told] == ["note", "row", "row"]
    assert "checkpoint.pt is damaged" in told[0][2]
    assert "starts over" in told[0][2]
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"versions": {"rectified": "0.0.1"}}, "rectified 0.0.1, now"),
        ({"run": a_run("adam").key.as_dict()}, "belongs to another run, adam lr 0.01 seed 0"),
        ({"model": {}}, "belongs to another model or optimizer"),
        ({"losses": torch.tensor([float("nan")])}, "a loss that is not finite"),
        ({"losses": [0.5]}, "not the state of a run"),
        ({"order": torch.zeros(3)}, "not the state of a run"),
        ({"order": "today's"}, "not the state of a run"),
        ({"mean": {"weight": torch.zeros(3)}}, "the mean weights of another model"),
        ({"mean": 5}, "not the state of a run"),
        ({"steps": torch.tensor([[2.0, 1.0, 1.0, 1.0], [1.0, 1.0, 1.0, 1.0]])}, "not in order"),
        ({"steps": torch.tensor([[1.0, float("inf"), 1.0, 1.0]])}, "must be finite"),
        ({"gradients": [(1, 2, (3.5,))]}, "not a histogram"),
        ({"gradients": [(1, 2)]}, "not the state of a run"),
        ({"step": 10**9}, "beyond the end of the run"),
        ({"step": -10}, "not the state of a run"),
        ({"step": "x"}, "not the state of a run"),
        ({"seconds": -1.0}, "seconds is -1.0"),
        ({"seconds": "x"}, "not the state of a run"),
        ({"rows": [5]}, "not the state of a run"),
        ({"rows": None}, "not the state of a run"),
        ({"random": [torch.zeros(3)]}, "not the state of a run"),
    ],
)
def test_a_checkpoint_of_something_else_is_told_and_the_run_begins_anew(change, says, tiny, tmp_path, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    checkpoint.write_checkpoint(folder, checkpoint.read_checkpoint(folder) | change)
    told = run(a_run(), tiny, folder)
    assert says in told[0][2]
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()


def test_a_checkpoint_of_an_earlier_version_is_gone_on_from(tiny, tmp_path, monkeypatch):
    """When a run was called a cell, and single steps were not recorded."""
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    state = checkpoint.read_checkpoint(folder)
    state["cell"] = state.pop("run")
    del state["steps"]
    checkpoint.write_checkpoint(folder, state)
    assert [kind for kind, *_ in run(a_run(), tiny, folder)] == ["resumed", "row"]
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    header, *steps = (whole / "steps.csv").read_text().splitlines()
    assert (folder / "steps.csv").read_text().splitlines() == [header, *steps[9:]]


def test_commits_may_change_within_a_run_and_are_all_kept(tiny, tmp_path, monkeypatch):
    for commit in ("aaa", "bbb"):
        here = {"torch": "2", "commit": commit}
        monkeypatch.setattr("rectified.study.execution.training.versions", lambda device, here=here: here)
        if commit == "aaa":
            half_a_run(tiny, tmp_path, monkeypatch)
    run(a_run(), tiny, tmp_path)
    assert json.loads((tmp_path / "done.json").read_text())["versions"]["commit"] == "aaa then bbb"


@pytest.mark.parametrize("rows", [b"", b'{"epoch": 1, "st', b"nonsense\n"])
def test_rows_are_those_of_the_checkpoint_whatever_the_file_holds(rows, tiny, tmp_path, monkeypatch):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    half_a_run(tiny, folder, monkeypatch)
    (folder / "rows.jsonl").write_bytes(rows)
    (folder / f".checkpoint.pt.{'0' * 16}.rectified-99999999").touch()  # of a write that was killed
    told = run(a_run(), tiny, folder)
    assert [kind for kind, *_ in told] == ["resumed", "row"]
    assert told[0][2] == "epoch 2 of 2, after step 9"
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()
    assert [path.name for path in folder.glob(".*")] == [LOCK]


def test_an_exception_takes_the_checkpoint_with_it_a_full_disk_does_not(tiny, tmp_path, monkeypatch):
    for error, stays in ((RuntimeError("a bug"), False), (OSError(28, "No space left on device"), True)):
        folder = tmp_path / type(error).__name__
        half_a_run(tiny, folder, monkeypatch)
        with monkeypatch.context() as patch:
            patch.setattr(Tiny, "evaluate", lambda *_, error=error: (_ for _ in ()).throw(error))
            with pytest.raises(type(error)):
                run(a_run(), tiny, folder)
        assert (folder / checkpoint.NAME).exists() == stays


def test_of_several_ranks_the_error_of_one_leaves_the_checkpoint_to_their_worker(tiny, tmp_path, monkeypatch):
    """It may be no more than the death of another."""

    class Two(Ranks):
        count = 2

    monkeypatch.setattr(Tiny, "evaluate", lambda *_: (_ for _ in ()).throw(RuntimeError("gloo: connection closed")))
    with pytest.raises(RuntimeError, match="gloo"):
        list(execute(a_run(), tiny, tmp_path, limits=EVERY_STEP, ranks=Two()))
    assert checkpoint.read_checkpoint(tmp_path)["step"] == 7


def test_a_row_is_reported_once_the_checkpoint_that_is_due_has_it(tiny, tmp_path):
    """Whoever is killed after a report does not make it again."""
    told = execute(a_run(), tiny, tmp_path, limits=EVERY_STEP)
    assert next(told).row["epoch"] == 1
    assert [row["epoch"] for row in checkpoint.read_checkpoint(tmp_path)["rows"]] == [1]
    told.close()


def test_a_run_out_of_time_stops_with_a_checkpoint_and_goes_on_when_it_is_given_more(tiny, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "folder"
    run(a_run(), tiny, whole)
    for _ in range(2):  # the time is that of all calls together
        with pytest.raises(TimeLimitError, match=r"--run-minutes is 1e-09: stopped in epoch 1 of 2, after step 0"):
            run(a_run(), tiny, folder, limits=Limits(minutes=1e-9))
    told = run(a_run(), tiny, folder, limits=Limits(minutes=10))
    assert told[0][0] == "resumed"
    assert (folder / "rows.jsonl").read_bytes() == (whole / "rows.jsonl").read_bytes()


def test_a_folder_that_somebody_is_still_at_is_waited_for(tiny, tmp_path):
    """As a worker is whose parent was killed, for a moment."""
    with locked(tmp_path, wait=False):
        second = threading.Thread(target=run, args=(a_run(), tiny, tmp_path))
        second.start()
        second.join(0.5)
        assert second.is_alive()
        assert list(tmp_path.iterdir()) == [tmp_path / LOCK]
    second.join(60)
    assert (tmp_path / "done.json").exists()


def test_time_is_counted_over_calls(tiny, tmp_path, monkeypatch):
    half_a_run(tiny, tmp_path, monkeypatch)
    state = checkpoint.read_checkpoint(tmp_path)
    checkpoint.write_checkpoint(tmp_path, state | {"seconds": 3600.0})
    shutil.copytree(tmp_path, tmp_path / "copy")
    with pytest.raises(TimeLimitError, match=r"it ran for 60 minutes"):
        run(a_run(), tiny, tmp_path / "copy", limits=Limits(minutes=59))
    run(a_run(), tiny, tmp_path)
    assert json.loads((tmp_path / "done.json").read_text())["seconds"] > 3600
