"""The tables of docs/guarded-warmup.md are those of the committed results, and their tests keep what they promise."""

import random
import sys
from statistics import mean

import pytest

from pages import DOCS

sys.path += [str(DOCS), str(DOCS.parent / "benchmarks" / "truth_set")]

import guarded
import score
import score_guarded

WARMUPS = ("linear-8", "linear-32", score_guarded.GUARDED, *score_guarded.RIVALS.values())


def test_the_page_has_the_tables_of_the_committed_results():
    page = (DOCS / "guarded-warmup.md").read_text(encoding="utf-8")
    for name, table in guarded.page_tables().items():
        assert table.strip() in page, name


def cells(draw, tasks=5, seeds=3):
    """Cells whose final losses are drawn: four learning rates and two beta2 per task."""
    records = []
    for task in range(tasks):
        for lr in (0.1, 0.3, 1.0, 3.0):
            for beta2 in (0.95, 0.999):
                for warmup in WARMUPS:
                    for seed in range(seeds):
                        key = {"task": f"toy {task}", "lr": lr, "beta2": beta2, "warmup": warmup, "seed": seed}
                        final = 1 + draw(task, lr, warmup)
                        records.append(
                            {**key, "pilot": False, "first": 2.0, "final": final, "signals": {}, "status": "done"}
                        )
    return score.cells(records)


@pytest.mark.slow
def test_alike_warmups_are_rarely_called_better_or_worse():
    """Noise that grows with the lr, as on the truth set: at most 5 % of studies call any of 280 pairs different."""
    generator = random.Random(0)
    called = 0
    for _ in range(40):
        found = cells(lambda task, lr, warmup: generator.gauss(0, 0.01 * lr))
        called += any(d.better or d.worse for d in score_guarded.differences(found))
    assert called <= 5  # of 40 at 5 %: more with a probability of 1 %


@pytest.mark.slow
def test_the_interval_over_tasks_covers_the_mean_of_all_rivals_together():
    """A difference per task, normal around 0 and shared by its cells."""
    generator = random.Random(1)
    covered = 0
    for _ in range(60):
        shift = {(task, w): generator.gauss(0, 0.1) for task in range(5) for w in WARMUPS}
        found = cells(lambda task, lr, warmup, shift=shift: shift[task, warmup] + generator.gauss(0, 0.001))
        covered += all(d.low <= 0 <= d.high for d in score_guarded.differences(found))
    assert covered >= 51  # of 60 at 95 %: fewer with a probability below 1 %


def test_a_better_warmup_is_called_better_in_its_cells():
    generator = random.Random(2)
    found = cells(lambda task, lr, w: generator.gauss(-0.2 if w == score_guarded.GUARDED and lr == 3 else 0, 0.01))
    for d in score_guarded.differences(found):
        assert (d.better, d.worse) == (10, 0)
        assert d.difference == pytest.approx(-0.05, abs=0.02)


def test_regrets_dead_runs_and_widths():
    def draw(task, lr, warmup):
        return 0.9 if warmup == "none" and lr == 3 else 0.02 if warmup == "none" else 0.0

    none, guarded_ = (score_guarded.standing(cells(draw), name, name) for name in ("none", score_guarded.GUARDED))
    assert (none.dead, none.runs, guarded_.dead) == (30, 120, 0)
    assert (none.width, guarded_.width) == (3.0, 4.0)
    assert none.regret == pytest.approx(mean((0.02, 0.02, 0.02, 0.9)), abs=1e-3)
    assert none.worst == pytest.approx(0.9, abs=1e-3)
