"""The tables of docs/eight-bit.md are those of the committed results, and its test of equivalence keeps its level."""

import random
import sys

from pages import DOCS

sys.path.append(str(DOCS))

import eight_bit


def test_the_page_has_the_tables_of_the_committed_results():
    page = (DOCS / "eight-bit.md").read_text(encoding="utf-8")
    for name, table in eight_bit.page_tables().items():
        assert table.strip() in page, name


def drawn(generator, shift, spread=0.01):
    """Five pairs of runs whose true difference is given."""
    return [
        {"task": "toy", "lr": "0.1", "seed": str(seed), "method": method, "valid_loss": str(base + more)}
        for seed in range(5)
        for base in [generator.gauss(2, 0.1)]
        for method, more in ((eight_bit.FLOATS, 0.0), (eight_bit.EIGHT, generator.gauss(shift, spread)))
    ]


def test_runs_that_are_a_margin_apart_are_rarely_called_equivalent():
    generator = random.Random(0)
    called = sum("| yes |" in eight_bit.equivalence(drawn(generator, eight_bit.MARGIN)) for _ in range(600))
    assert called <= 46  # of 600 at 5 %: more with a probability of 0.1 %


def test_equal_runs_are_called_equivalent():
    generator = random.Random(1)
    assert sum("| yes |" in eight_bit.equivalence(drawn(generator, 0.0)) for _ in range(100)) > 90
