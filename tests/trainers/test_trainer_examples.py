"""The trainers' examples run, their warmups end and their models learn."""

import pytest

import examples
from short_runs import LIGHTNING_WARNS


def test_hugging_face_trainer(monkeypatch, capsys):
    names = examples.run("huggingface_trainer.py", monkeypatch)
    logs = [entry for entry in names["trainer"].state.log_history if "loss" in entry]
    assert [float(entry["omega/group0"]) for entry in logs] == pytest.approx([20 / 30, 1, 1, 1, 1, 1])
    assert float(logs[-1]["loss"]) < float(logs[0]["loss"]) / 10
    assert "step 120" in capsys.readouterr().out


@pytest.mark.filterwarnings(*LIGHTNING_WARNS)
def test_lightning(monkeypatch, capsys):
    names = examples.run("lightning_module.py", monkeypatch)
    assert names["trainer"].callback_metrics["omega"] == 1
    out = capsys.readouterr().out
    assert "epoch 3" in out
    assert float(out.split("accuracy ")[1].split()[0]) > 90
