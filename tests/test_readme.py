"""The front page: its code runs, and its commands are there."""

import re

from pages import DOCS

TEXT = (DOCS.parent / "README.md").read_text(encoding="utf-8")


def test_the_code_runs_and_says_where_the_warmup_stands(capsys):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    exec(code, {})
    assert "omega" in capsys.readouterr().out


def test_it_is_a_page_that_one_reads():
    assert len(TEXT.splitlines()) <= 65
    makefile = (DOCS.parent / "Makefile").read_text()
    for target in ("study", "test"):
        assert f"`make {target}`" in TEXT or f"    make {target} " in TEXT
        assert f"\n{target}:" in makefile
