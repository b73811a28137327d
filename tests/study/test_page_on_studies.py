"""docs/study.md: its code runs and prints what the page shows, and its commands are ones that there are."""

import re
import shlex

import pytest
import tyro

import pages
from rectified import cli
from rectified.workloads.data.images import fashion_mnist_files as fashion_mnist


@pytest.fixture(scope="module")
def page():
    return pages.run("study.md", {})


def test_the_code_of_the_page_runs(page):
    assert page["found"].open is False


def test_its_commands_are_read_by_the_command_line():
    text = (pages.DOCS / "study.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    rectified (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert len(commands) == 10
    for command in commands:
        tyro.cli(cli.Command, args=shlex.split(command))


def test_its_file_is_a_study(tmp_path, monkeypatch, capsys):
    text = (pages.DOCS / "study.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```toml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "page.toml").write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECTIFIED_CACHE", str(tmp_path / "nothing"))  # no data, so no time is measured
    monkeypatch.setattr(fashion_mnist, "SYSTEM", tmp_path)
    assert cli.main(["study", "page.toml", "--plan"]) == 0
    said = capsys.readouterr().out
    assert "144 runs, seeds 0, 1, 2, 3; in runs/page" in said
    assert "adam+untuned-linear(beta2=0.99)" in said
    assert "batch size 250" in said
