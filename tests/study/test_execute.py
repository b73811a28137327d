"""One run: repeatable, paired over methods, honest about divergence, and written down."""

import json

import pytest
import torch
from mini_runs import DATA, MINI, a_run

from rectified.study.execution.execute import execute
from rectified.study.execution.provenance import versions


@pytest.fixture(scope="module")
def data():
    return MINI.load(DATA[MINI.name])


def status(run, data, folder):
    return list(execute(run, data, folder))[-1].kind


def rows(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def test_a_run_repeats_to_the_byte(data, tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        assert status(a_run("radam", epochs=2), data, tmp_path / name) == "done"
    for file in ("rows.jsonl", "steps.csv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_seed_means_the_same_weights_and_order_for_every_method(data, tmp_path):
    """At an lr that moves nothing, the loss over the epoch tells both."""
    losses = {}
    for method in ("adam", "sgd", "radam-exact"):
        for seed in (0, 1):
            folder = tmp_path / f"{method}{seed}"
            folder.mkdir()
            status(a_run(method, lr=1e-30, seed=seed), data, folder)
            losses[method, seed] = rows(folder)[0]["train_loss"]
    assert losses["adam", 0] == losses["sgd", 0] == losses["radam-exact", 0]
    assert losses["adam", 1] == losses["sgd", 1] == losses["radam-exact", 1]
    assert losses["adam", 0] != losses["adam", 1]


def test_a_run_learns_and_writes_what_it_learned(data, tmp_path):
    *epochs, end = execute(a_run("adam", epochs=2, batch_size=100), data, tmp_path, attempt=2)
    assert [progress.kind for progress in epochs] == ["row", "row"]
    assert end == ("done", None, "")
    seen = [progress.row for progress in epochs]
    assert seen == rows(tmp_path)
    assert [row["step"] for row in seen] == [60, 120]
    assert seen[1]["train_loss"] < seen[0]["train_loss"] < 2.3
    assert seen[1]["test_accuracy"] > 60
    done = json.loads((tmp_path / "done.json").read_text())
    assert (done["status"], done["attempts"], done["step"]) == ("done", 2, 120)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["run"] == a_run("adam", epochs=2, batch_size=100).key.as_dict()
    assert config["run"]["method"] == "adam"
    assert config["versions"]["torch"] == torch.__version__


def test_a_loss_that_is_not_finite_is_divergence_and_ends_the_run(data, tmp_path):
    assert status(a_run("sgd", lr=1e9, epochs=3), data, tmp_path) == "diverged"
    done = json.loads((tmp_path / "done.json").read_text())
    assert done["status"] == "diverged"
    assert done["step"] < 12
    assert rows(tmp_path) == []


def test_tensorboard_has_loss_accuracy_omega_and_weights(data, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    status(a_run("adam+linear-24", epochs=2), data, tmp_path)
    board = EventAccumulator(str(tmp_path)).Reload()
    assert {"train_loss", "test_loss", "test_accuracy", "omega"} <= set(board.Tags()["scalars"])
    assert [(event.step, round(event.value, 6)) for event in board.Scalars("omega")] == [(12, 0.5), (24, 1.0)]
    assert "features.0.weight" in board.Tags()["histograms"]


def test_the_network_is_the_reports():
    assert sum(p.numel() for p in MINI.model(None).parameters()) == 32_998


def test_versions_name_what_a_run_ran_on():
    assert {"rectified", "torch", "python"} <= versions().keys()
