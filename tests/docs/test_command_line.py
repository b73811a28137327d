"""docs/reference/command-line.md has every command with every flag that its --help has."""

import re

import pytest

from pages import DOCS
from rectified import cli

PAGE = (DOCS / "reference" / "command-line.md").read_text(encoding="utf-8")


def section(name):
    """The part of the page that is made of a command's help."""
    return PAGE.split(f"<!-- {name}: made by make docs -->")[1].split(f"<!-- end of {name} -->")[0]


def test_every_command_has_a_section():
    assert re.findall(r"^## rectified (\S+)$", PAGE, re.MULTILINE) == list(cli.COMMANDS)


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_a_section_has_what_help_prints(name, capsys):
    """Letter by letter, but for frames and line breaks, which follow the terminal."""
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    printed, written = (re.sub(r"[\W_]+", "", text) for text in (capsys.readouterr().out, section(name)))
    assert written == f"text{printed}"
