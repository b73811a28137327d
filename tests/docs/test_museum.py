"""The museum: every mistake is found by its rule, and no correct recipe is called an error."""

import sys

import pytest

from pages import DOCS

sys.path.append(str(DOCS / "museum"))

from mistakes import MISTAKES
from recipes import RECIPES

from rectified.probe.rules import RULES


@pytest.mark.parametrize("case", MISTAKES, ids=lambda case: case.name)
def test_the_mistake_is_found(case):
    assert case.rule in [finding.rule for finding in case.findings()]


@pytest.mark.parametrize("case", RECIPES, ids=lambda case: case.name)
def test_the_recipe_is_no_error(case):
    assert not [str(finding) for finding in case.findings() if finding.severity == "error"]


def test_the_museum_is_as_large_as_it_says():
    assert len(MISTAKES) >= 25
    assert len(RECIPES) >= 25
    assert len({case.name for case in [*MISTAKES, *RECIPES]}) == len(MISTAKES) + len(RECIPES)


def test_nearly_every_rule_has_a_mistake():
    # What no configuration shows alone: whether decay is scaled is a note beside another finding.
    assert len({case.rule for case in MISTAKES}) >= len(RULES) - 1
