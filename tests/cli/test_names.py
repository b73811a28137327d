"""A command or a flag that does not exist is one line with the nearest that does."""

import re

import pytest

from rectified import cli
from rectified.cli.names import check_names


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["studyy", "x"], "there is no command 'studyy'; did you mean study? `rectified --help` lists the commands"),
        (["zzz"], "there is no command 'zzz'; `rectified --help` lists the commands"),
        (
            ["study", "x", "--lr", "1"],
            "study has no '--lr'; did you mean --lrs? `rectified study --help` lists its flags",
        ),
        (["study", "x", "--seed=1"], "study has no '--seed'; did you mean --seeds? `rectified study --help` lists"),
        (["export", "x", "--zzz"], "export has no '--zzz'; `rectified export --help` lists its flags"),
    ],
)
def test_another_name_is_one_line(args, says, capsys):
    assert cli.main(args) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert says in said


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_flag_of_help_is_one(name, capsys):
    with pytest.raises(SystemExit):
        cli.main([name, "--help"])
    flags = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", capsys.readouterr().out))
    assert "--help" in flags
    for flag in flags:
        check_names(cli.COMMANDS, [name, flag])
        check_names(cli.COMMANDS, [name, f"{flag.replace('-', '_').replace('__', '--', 1)}=1"])


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"], ["study", "x", "--", "--lr"]])
def test_what_is_no_name_is_let_through(args):
    check_names(cli.COMMANDS, args)
