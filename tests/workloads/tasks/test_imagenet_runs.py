"""ImageNet's and Tiny ImageNet's tasks: their settings, their runs, killed or of two ranks, and real pictures."""

import json
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from killed_runs import killed_after_every_checkpoint
from picture_files import imagenet, put, shared_data, tiny_imagenet
from rectified.study.execution.limits import ANY, Limits
from rectified.study.executors.ddp_launcher import execute_on
from rectified.study.executors.parcels import path_for_children, write_shared
from rectified.workloads.tasks import imagenet as module
from rectified.workloads.tasks import parse_task
from run_to_end import run_of, run_to_end

LARGE = parse_task("imagenet(images=12)")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", ["imagenet", "tiny-imagenet"])
def test_the_papers_setting(name: str) -> None:
    task = parse_task(name)
    assert (task.batch_size, task.epochs, task.weight_decay) == (256, 90, 1e-4)
    assert (task.methods, task.lrs) == (("sgd", "adam", "radam"), (0.1, 0.03, 0.01, 0.005, 0.003))
    factors = [round(task.schedule(epoch, 90), 10) for epoch in range(90)]
    assert factors == [1.0] * 31 + [0.1] * 30 + [0.01] * 29
    assert task.steps_per_epoch(256) == {"imagenet": 5005, "tiny-imagenet": 391}[name]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("imagenet(images=0)", "images is 0; it must be at least 1"),
        ("imagenet(loaders=0)", "loaders is 0; it must be at least 1"),
        ("imagenet(subset=5)", "no option 'subset'; it has autocast, cpu_tuning, cuda_graph, images, loaders, "),
        ("tiny-imagenet(images=-1)", "images is -1; it must be at least 1"),
        ("tiny-imagenet(images=9,subset=10)", "subset is 10; it must be from 1 to 9"),
    ],
)
def test_options_out_of_their_range(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_task(text)


@pytest.mark.parametrize("layout", [imagenet, tiny_imagenet])
def test_a_killed_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout) -> None:
    """With a small model, killed after every one of its six steps; the task imagenet, from either layout."""

    def model(classes: int) -> nn.Module:
        return nn.Sequential(nn.AvgPool2d(32), nn.Flatten(), nn.Linear(147, classes))

    def run_once() -> None:
        assert run_to_end(run, data, tmp_path / "stopped", limits=Limits(checkpoint_every=0)) == "done"

    monkeypatch.setattr(module, "resnet18", model)
    data = LARGE.load(LARGE.find(put(tmp_path / "data", layout()), print))
    run = run_of(LARGE, "radam", 0.01, epochs=2, batch_size=5)
    assert run_to_end(run, data, tmp_path / "whole") == "done"
    assert killed_after_every_checkpoint(monkeypatch, run_once) >= 6
    rows = [(tmp_path / name / "rows.jsonl").read_bytes() for name in ("whole", "stopped")]
    assert rows[0] == rows[1]
    assert len(rows[0].splitlines()) == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagenet(images=12)", "tiny-imagenet(images=12)"])
def test_two_ranks_train_it(tmp_path: Path, name: str) -> None:
    """The first step's loss is that of the two halves, each normalized by its own statistics: computed here by hand."""
    task = parse_task(name)
    data = task.load(task.find(put(tmp_path / "data", tiny_imagenet()), print))
    file = write_shared(tmp_path, task, data)
    run = run_of(task, "radam", 0.003, batch_size=12)
    with path_for_children(file) as path:
        events = list(execute_on(("cpu", "cpu"), run, path, tmp_path / "run", 1, ANY))
    os.close(file)
    assert events[-1].kind == "done"
    (row,) = [json.loads(line) for line in (tmp_path / "run/rows.jsonl").read_text().splitlines()]
    torch.manual_seed(0)
    model = task.model(data)
    images, labels = next(iter(task.batches(data, 12, generator(0))))
    halves = [task.loss(model, (images[part], labels[part])).item() for part in (slice(0, 6), slice(6, 12))]
    assert row["train_loss"] == pytest.approx(sum(halves) / 2, rel=1e-4)
    assert row["train_loss"] != pytest.approx(task.loss(model, (images, labels)).item(), rel=1e-3)
    assert 0 <= row["test_accuracy"] <= 100


@pytest.mark.slow
def test_fifty_real_classes_in_memory() -> None:
    task = parse_task("tiny-imagenet(images=25000,subset=256)")
    data = task.load(task.find(shared_data("tiny-imagenet-50"), print))
    assert data.train_images.shape == (25_000, 3, 64, 64)
    assert data.test_images.shape == (2_500, 3, 64, 64)
    assert data.train_labels[:256].bincount().tolist() == [6] * 6 + [5] * 44
    # Real pictures have these means and deviations to a few hundredths.
    floats = data.train_images.double().div_(255)
    assert floats.mean((0, 2, 3)).tolist() == pytest.approx([0.48, 0.45, 0.40], abs=0.04)
    assert floats.std((0, 2, 3)).tolist() == pytest.approx([0.277, 0.269, 0.282], abs=0.03)
