"""The tables of docs/check.md: what the check finds in each mistake, and in each correct recipe."""

import re

from mistakes import MISTAKES
from recipes import RECIPES

from rectified.probe import Finding

_LEVELS = ("error", "warning", "note")


def rates() -> str:
    """How many mistakes are found, and how many recipes are called wrong, by severity."""
    found = [[f for f in case.findings() if f.rule == case.rule] for case in MISTAKES]
    alarms = [case.findings() for case in RECIPES]
    rows = []
    for level in _LEVELS:
        hit = sum(any(f.severity == level for f in each) for each in found)
        wrong = sum(any(f.severity == level for f in each) for each in alarms)
        rows.append([level, hit, f"{wrong} of {len(alarms)}"])
    rows.append(["any", f"{sum(map(bool, found))} of {len(found)}", f"{sum(map(bool, alarms))} of {len(alarms)}"])
    return _table(["severity", "mistakes found as such", "recipes with such a finding"], rows)


def mistakes() -> str:
    """Each mistake with its source, the rule that finds it, and what else is found in it."""
    rows = []
    for case in MISTAKES:
        found = case.findings()
        rows.append(
            [case.name, _linked(case.source), f"`{case.rule}`", _severity(found, case.rule), _others(found, case.rule)]
        )
    return _table(["mistake", "as in", "rule", "severity", "also found"], rows)


def recipes() -> str:
    """Each correct recipe with its source, and what is found in it."""
    return _table(
        ["recipe", "source", "found"],
        [[case.name, _linked(case.source), _others(case.findings(), "") or "-"] for case in RECIPES],
    )


def _linked(source: str) -> str:
    """A source whose threads and papers are links: owner/name#1 and arXiv:1234.56789."""
    source = re.sub(r"([\w.-]+/[\w.-]+)#(\d+)", r"[\1#\2](https://github.com/\1/issues/\2)", source)
    return re.sub(r"arXiv:([\d.]+\d)", r"[arXiv:\1](https://arxiv.org/abs/\1)", source)


def _severity(found: list[Finding], rule: str) -> str:
    return next((f.severity for f in found if f.rule == rule), "missed")


def _others(found: list[Finding], rule: str) -> str:
    return ", ".join(dict.fromkeys(f"{f.severity}: {f.rule}" for f in found if f.rule != rule))


def _table(heads: list[str], rows: list[list[object]]) -> str:
    """A Markdown table of text, aligned left."""
    lines = [heads, ["---"] * len(heads), *([str(x) for x in row] for row in rows)]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)
