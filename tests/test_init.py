"""rectified init writes a file that runs as it is, and overwrites nothing."""

import ast
import sys
from pathlib import Path
from typing import get_args

import pytest
import torch

from rectified import cli
from rectified.cli.init import Template
from rectified.workloads.tasks import parse_task

TEMPLATES = get_args(Template)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def trained(task, steps):
    """What is measured before and after as many steps of Adam, in whole epochs."""
    torch.manual_seed(0)
    data = task.load(None)
    model = task.model(data)
    with torch.inference_mode():
        before = task.evaluate(model.eval(), data)
    optimizer = torch.optim.Adam(model.train().parameters(), lr=0.003)
    epochs = -(-steps // task.steps_per_epoch(task.batch_size))
    for epoch in range(epochs):
        for batch in task.batches(data, task.batch_size, torch.Generator().manual_seed(epoch)):
            optimizer.zero_grad()
            task.loss(model, batch).backward()
            optimizer.step()
    with torch.inference_mode():
        return before, task.evaluate(model.eval(), data)


# What Lightning says where it is imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning:lightning.*")
@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_runs_as_it_is(template, capsys):
    assert cli.main(["init", "my_own.py", "--template", template]) == 0
    assert capsys.readouterr().out == "wrote my_own.py; next: rectified study my_own.py --plan\n"
    task = parse_task("my_own.py")
    task.find(None, print)
    before, after = trained(task, steps=40)
    assert task.metric in after
    assert after["valid_loss"] < before["valid_loss"]
    assert "rectified study my_own.py --plan" in (text := Path("my_own.py").read_text())
    assert "{file}" not in text


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_template_is_short_enough_to_read(template):
    cli.main(["init", "my_own.py", "--template", template])
    lines = Path("my_own.py").read_text().splitlines()
    tree = ast.parse("\n".join(lines))
    strings = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, node.end_lineno + 1)
    }
    code = [line for number, line in enumerate(lines, 1) if number not in strings and line.split("#")[0].strip()]
    assert len(code) <= (40 if template == "plain" else 60)
    assert max(map(len, lines)) <= 120


def test_a_language_model_reads_the_text_beside_it(here):
    cli.main(["init", "gpt.py", "--template", "huggingface"])
    before = parse_task("gpt.py").model(None).config.vocab_size
    (here / "text.txt").write_text("abcdefgh" * 400, encoding="utf-8")
    (here / "gpt.py").write_text((here / "gpt.py").read_text() + "\n# changed\n")
    assert parse_task("gpt.py").model(None).config.vocab_size == 8 < before


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("there.py", "there.py already exists and is not overwritten; choose another name"),
        ("my_task", "my_task does not end in .py; try: rectified init my_task.py"),
        ("torch.py", "torch.py would hide the package torch from imports; use a name such as my_torch.py"),
    ],
)
def test_what_cannot_be_written_is_refused(name, says, here, capsys):
    (here / "there.py").write_text("years of work")
    assert cli.main(["init", name]) == 2
    assert capsys.readouterr().err == f"rectified: {says}\n"
    assert [(path.name, path.read_text()) for path in here.iterdir()] == [("there.py", "years of work")]


def test_a_folder_that_is_not_there_is_made_and_home_is_expanded(here, monkeypatch):
    monkeypatch.setenv("HOME", str(here))
    assert cli.main(["init", "~/new/my_task.py"]) == 0
    assert parse_task("~/new/my_task.py").name == "my_task"
