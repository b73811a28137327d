"""steps.csv: the loss and omega of every step at first, then of ever fewer, as training had them."""

import dataclasses
import json

import pytest
import torch
from mini_runs import new_store
from test_resume import TINY, a_run, run

from rectified.study.execution.execute import execute
from rectified.study.execution.first_steps import parse_steps
from rectified.study.storage.store import write_json
from rectified.warmup import Rectified

LONG = {"epochs": 10, "batch_size": 1}  # 520 steps
PLAIN = dataclasses.replace(TINY, averaged=1)
# All that there is up to 200, then as many for each doubling.
RECORDED = [*range(1, 201), *range(202, 401, 2), *range(404, 521, 4)]


def steps_in(folder):
    return parse_steps((folder / "steps.csv").read_bytes())


@pytest.fixture
def seen(monkeypatch):
    """What the task's loss returned in training."""
    losses, loss = [], type(TINY).loss

    def watched(self, model, batch):
        value = loss(self, model, batch)
        if torch.is_grad_enabled():
            losses.append(value.item())
        return value

    monkeypatch.setattr(type(TINY), "loss", watched)
    return losses


def test_every_step_up_to_200_is_recorded_then_ever_fewer_each_as_training_saw_it(seen, tmp_path):
    run(a_run("radam", task=PLAIN, **LONG), TINY.load(None), tmp_path)
    found = steps_in(tmp_path)
    assert [each.step for each in found] == RECORDED
    assert len(seen) == 520
    assert [each.loss for each in found] == [seen[step - 1] for step in RECORDED]
    header, first, *_ = (tmp_path / "steps.csv").read_text().splitlines()
    assert header == "step,loss,omega,lr"
    assert first.split(",")[:2] == ["1", repr(seen[0])]


def test_the_losses_of_an_epoch_are_those_of_its_mean(tmp_path):
    run(a_run(), TINY.load(None), tmp_path)
    losses = [each.loss for each in steps_in(tmp_path)]
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert [sum(losses[:7]) / 7, sum(losses[7:]) / 7] == [row["train_loss"] for row in rows]


def rectified(t):
    """RAdam's own first steps are momentum's, which omega is 0 in."""
    return Rectified().omega(t, beta2=0.95)


@pytest.mark.parametrize(
    ("method", "omega"),
    [
        ("adam", lambda t: 1.0),
        ("sgd", lambda t: 1.0),
        ("adam+linear-9", lambda t: min(1.0, t / 9)),
        ("adam+linear-50%", lambda t: min(1.0, t / 7)),
        ("adam+second-moment-only-5", lambda t: float(t > 5)),
        ("torch.optim.NAdam+linear-9", lambda t: min(1.0, t / 9)),
        ("radam(beta2=0.95)", rectified),
    ],
)
def test_omega_is_the_methods_and_the_lr_the_schedules(method, omega, tmp_path):
    run(a_run(method, lr=0.2), TINY.load(None), tmp_path)
    found = steps_in(tmp_path)
    assert [each.omega for each in found] == pytest.approx([omega(t) for t in range(1, 15)], abs=1e-12)
    assert [each.lr for each in found] == pytest.approx([0.2 * (1 - step / 14) for step in range(14)])


def test_a_run_that_diverges_has_the_steps_up_to_there(tmp_path):
    *_, end = execute(a_run("sgd", lr=1e30), TINY.load(None), tmp_path)
    assert end.kind == "diverged"
    last = json.loads((tmp_path / "done.json").read_text())["step"]
    assert [each.step for each in steps_in(tmp_path)] == list(range(1, last + 1))
    assert 1 <= last < 14


def test_the_record_of_a_run_has_its_steps_and_a_run_of_an_earlier_version_has_none(tmp_path):
    this = a_run()
    store = new_store(tmp_path / "study", [this])
    run(this, TINY.load(None), store.folder(this.key))
    found = store.record(this.key).steps
    assert [each.step for each in found] == list(range(1, 15))
    (store.folder(this.key) / "steps.csv").unlink()
    assert store.record(this.key).error == "its results: steps.csv is missing"
    done = store.folder(this.key) / "done.json"
    write_json(done, {name: x for name, x in json.loads(done.read_text()).items() if name != "sha256"})
    assert store.record(this.key).status == "done"
    assert store.record(this.key).steps == []
