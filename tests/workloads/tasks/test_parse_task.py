"""Tasks by name, with options; and what the one option does."""

import json
import re
import shlex
from pathlib import Path

import pytest
import torch

from rectified.study import Study
from rectified.study.config.runs import slug
from rectified.workloads.tasks import TASKS, parse_task
from run_to_end import run_of, run_to_end

MINI = TASKS["fashion-mnist-mini"]


def test_a_name_alone_is_the_task_itself():
    assert parse_task("fashion-mnist-mini") is MINI
    assert parse_task("fashion-mnist-mini(loss_scale=1)") is MINI


def test_an_option_becomes_part_of_the_name_and_the_title():
    task = parse_task(" fashion-mnist-mini( loss_scale = 1e3 )")
    assert task.name == "fashion-mnist-mini(loss_scale=1000.0)"
    assert task.title == "Fashion-MNIST, 6,000 images, loss scale 1000"
    assert task.loss_scale == 1000
    assert parse_task(task.name) == task
    assert slug(task.name) == "fashion-mnist-mini-loss-scale-1000.0"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mnist", "unknown task 'mnist'.*fashion-mnist"),
        ("fashion-mnist(", "unknown task"),
        (
            "fashion-mnist(images=3)",
            "no option 'images'; it has autocast, cpu_tuning, cuda_graph, loss_scale, validation",
        ),
        ("fashion-mnist(loss_scale=0)", "loss_scale is 0.*positive"),
        ("fashion-mnist(loss_scale=-1)", "loss_scale is -1.*positive"),
        ("fashion-mnist(loss_scale='a')", "loss_scale is 'a'.*number"),
        ("fashion-mnist(loss_scale=True)", "loss_scale is True.*number"),
        ("fashion-mnist(1000)", "name=value"),
        ("fashion-mnist(loss_scale=open('x'))", r"open\('x'\) is not a plain value"),
    ],
)
def test_what_is_no_task_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_task(text)


def test_the_loss_scale_scales_gradients_and_nothing_that_is_told(tmp_path):
    """sgd with an lr a thousandth takes the same path; the loss told is the loss itself."""
    torch.set_num_threads(1)
    data = MINI.load(MINI.find(None, print))

    def rows(task, lr):
        run = run_of(parse_task(task), "sgd", lr, batch_size=1000)
        folder = tmp_path / run.key.id
        folder.mkdir()
        assert run_to_end(run, data, folder) == "done"
        return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]

    (plain,), (scaled,) = rows(MINI.name, 0.01), rows("fashion-mnist-mini(loss_scale=1024)", 0.01 / 1024)
    assert scaled == pytest.approx(plain, rel=1e-4)


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_the_text_that_names_a_task_makes_it_again(task):
    """In study.json, in commands, in config.json: translation's was once its source language, de."""
    other = parse_task(f"{task.name}(loss_scale=2)")
    for each in (task, other):
        assert parse_task(each.spec) == each
        (word,) = shlex.split(Study(each, "adam", 0.01, 0).command)[2:3]
        assert parse_task(word) == each


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
def test_every_option_is_in_the_docs(task):
    text = (Path(__file__).parents[3] / "docs" / "tasks.md").read_text(encoding="utf-8")
    table = text.partition("## Options")[2].partition("\n## ")[0]
    rows = [line.split("|") for line in table.splitlines() if line.startswith("| `")]
    listed = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    assert set(task.options) <= listed
