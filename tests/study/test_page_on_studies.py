"""docs/study.md: its code runs and prints what the page shows, and its commands are ones that there are."""

import re
import shlex
import statistics

import pytest
import tyro

import pages
from rectified import cli
from rectified.study.stats import t_interval


@pytest.fixture(scope="module")
def page():
    return pages.run("study.md", {})


def test_the_code_of_the_page_runs(page):
    assert page["found"].open is False


def test_the_numbers_of_its_prose(page):
    assert round(t_interval(list(page["adam"].values())).half, 1) == 1.2
    assert round(t_interval(list(page["ours"].values())).half, 1) == 1.1
    assert round(page["difference"].half, 1) == 0.2
    assert statistics.fmean(page["ours"].values()) > statistics.fmean(page["adam"].values())


def test_its_commands_are_read_by_the_command_line():
    text = (pages.DOCS / "study.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    rectified (.*?)(?:  +#.*)?$", text, re.MULTILINE)
    assert len(commands) == 4
    for command in commands:
        tyro.cli(cli.Command, args=shlex.split(command))
