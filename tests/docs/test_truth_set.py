"""The truth set's labels and scores: what they promise, by simulation, and the committed file behind docs/probe.md."""

import random
import sys
from functools import cache
from statistics import mean

import pytest

import drawn
from pages import DOCS
from rectified.probe.probe_verdict import HITS

sys.path += [str(DOCS), str(DOCS.parent / "benchmarks" / "truth_set")]

import need
import score
import score_trials

FILE = DOCS.parent / "benchmarks" / "results" / "truth_set.jsonl.gz"
SIGNALS = ("step", "lr", "loss", "update_rms", "size", "angle", "angle_ratio", "gain_left", "snr", "spread")
SIGNALS += ("surprise", "grad_norm", "gain_ratio")


def record(warmup, seed, final, lr=0.1, task="toy", ratio=0.9, loss=2.0, beta2=0.999, spread=3.0):
    signals = {name: [0.5, 0.5, 0.5] for name in SIGNALS}
    signals |= {"step": [1, 2, 3], "lr": [lr] * 3, "gain_ratio": [ratio] * 3, "loss": [2.0, 2.0, loss]}
    signals["spread"] = [spread] * 3
    key = {"task": task, "lr": lr, "beta2": beta2, "warmup": warmup, "seed": seed, "pilot": False}
    return {**key, "status": "done", "first": 2.0, "final": final, "train": [], "signals": signals}


def cell_of(finals, control=None, **options):
    """One cell: the final losses of each warmup, by seed."""
    records = [record(w, s, x, **options) for w, values in finals.items() for s, x in enumerate(values)]
    records += [record("matched-lr(x)", s, x, **options) for s, x in enumerate(control or ())]
    (cell,) = score.cells(records)
    return cell


def flat(value=1.0, spread=(0.0, 0.01, -0.01)):
    return {w: [value + x for x in spread] for w in ("none", *score.SWEPT)}


def test_a_warmup_helps_if_it_beats_none_and_its_control():
    better = flat() | {"linear-128": [0.5, 0.51, 0.49]}
    assert cell_of(better).helps
    assert cell_of(better, control=[0.9, 0.91, 0.89]).helps
    assert not cell_of(better, control=[0.5, 0.51, 0.49]).helps  # a smaller lr does as well
    assert not cell_of(flat()).helps


@pytest.mark.parametrize("seeds", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_noise_is_rarely_called_help(seeds):
    """All warmups are the same: the best of six, chosen on the other seeds, is no better than none."""
    generator = random.Random(0)
    cells = 1500
    records = []
    for i in range(cells):
        for w in ("none", *score.SWEPT, "matched-lr(x)"):
            records += [record(w, s, generator.gauss(1, 0.1), lr=i) for s in range(seeds)]
    found = score.cells(records)
    assert abs(mean(c.over_none for c in found)) < 0.01
    assert mean(c.over_none > c.threshold for c in found) < 0.06
    assert mean(c.helps for c in found) < 0.05


def test_a_run_that_diverged_counts_as_not_trained():
    assert score.loss_of(record("none", 0, None)) == 2.0
    assert score.loss_of(record("none", 0, 5.0)) == 2.0


def test_regret_is_a_share_of_what_training_gains():
    cell = cell_of(flat() | {"linear-128": [0.5] * 3})
    assert cell.regret("linear-128") == 0
    assert cell.regret("none") == pytest.approx(0.5 / 1.5)


def test_answers_and_advice():
    needed = cell_of(flat() | {"linear-512": [0.5] * 3}, ratio=0.2)
    assert score.answers(needed) == [True] * 3
    assert score.advised(needed) == "linear-512"
    assert score.answers(cell_of(flat(), ratio=0.9)) == [True] * 3
    assert score.answers(cell_of(flat(), ratio=0.2)) == [False] * 3
    assert score.answers(cell_of(flat(), ratio=0.2, spread=1.2)) == [None] * 3
    assert score.advised(cell_of(flat(), ratio=0.4, spread=1.2)) == "linear-64"
    assert score.advised(cell_of(flat(), ratio=0.9)) == "none"


@pytest.mark.parametrize(("length", "name"), [(0, "none"), (8, "linear-8"), (20, "linear-32"), (300, "linear-512")])
def test_the_nearest_swept_length(length, name):
    assert score.nearest(length) == name


def test_a_failing_run_is_called_before_its_loss_shows_it():
    records = []
    for rank, (final, ratio, loss) in enumerate([(0.6, 0.9, 2.0), (0.5, 0.8, 2.0), (0.7, 0.4, 2.0), (1.9, 0.1, 9.0)]):
        for w in ("none", *score.SWEPT):
            records += [record(w, s, final, lr=10.0**rank, ratio=ratio, loss=loss) for s in range(2)]
    assert score.calls(score.cells(records)) == score.Calls(failing=2, called=2, silent=0, sound=4, alarms=0)


def test_the_advice_of_a_trial_is_compared_with_whole_runs():
    records = []
    for rank, finals in enumerate([(0.6, 0.6), (0.5, 0.5), (1.0, 0.4), (1.9, 1.95)]):
        for w in ("none", *score.SWEPT):
            middle = finals[w == "linear-512"]
            records += [record(w, s, middle + x, lr=10.0**rank) for s, x in enumerate((0.0, 0.01, -0.01))]
    advised = {0: "lr / 3", 1: "as is", 2: "warmup 80%", 3: "warmup 80%"}
    trials = []
    for r, name in advised.items():
        losses = {arm: [0.5 if arm == name else 1.0] * 3 + [9.0] for arm in ("as is", "warmup 80%", "lr / 3")}
        trials.append({"task": "toy", "lr": 10.0**r, "beta2": 0.999, "steps": 200, "losses": losses})
    found = score_trials.advice(score.cells(records), trials, seeds=3)
    assert found == score_trials.Advice(trials=4, advised=2, better=1, worse=1, unknown=1, missed=0, steps=1800)


def test_the_interval_over_tasks_is_wider_than_over_cells():
    low, high = score.over_tasks([[0.0] * 50, [1.0] * 50])
    assert (low, high) == (0.0, 1.0)


def test_the_map_has_a_ring_where_it_helps_and_a_dot_where_the_verdict_says_so(monkeypatch):
    records = []
    for rank, (gain, ratio) in enumerate([(0.0, 0.9), (0.0, 0.2), (0.5, 0.9), (0.5, 0.2)]):
        for w in ("none", *score.SWEPT):
            final = [1.0 + x - gain * (w == "linear-128") for x in (0.0, 0.01, -0.01)]
            records += [record(w, s, x, lr=10.0**rank, ratio=ratio) for s, x in enumerate(final)]
    figures = []
    monkeypatch.setattr(need, "saved", lambda figure, *_: figures.append(figure) or b"")
    need.picture(score.cells(records))
    (axes,) = figures[0].axes
    marks = [(float(line.get_xdata()[0]), line.get_markersize()) for line in axes.lines]
    assert sorted(x for x, size in marks if size == 11) == [2.5, 3.5]
    assert sorted(x for x, size in marks if size == 4) == [1.5, 3.5]
    shades = [patch.get_facecolor()[0] for patch in axes.patches]
    assert shades[2] < shades[0]
    assert drawn.same(shades[2:], [shades[2]] * 2)


@cache
def committed():
    records = score.read(FILE)
    return records, score.cells(records)


def test_the_hits_of_a_verdict_are_those_of_held_out_tasks():
    found = [c for c in committed()[1] if c.held_out]
    pairs = [(v.answer, right) for c in found for v, right in zip(c.verdicts, score.answers(c), strict=True)]
    for answer, hits in HITS.items():
        rights = [right for other, right in pairs if other == answer]
        assert hits == (sum(rights), len(rights))


def test_the_committed_file_gives_the_pages_tables():
    records, found = committed()
    page = (DOCS / "probe.md").read_text(encoding="utf-8")
    trials = need.read(FILE.with_name("trials.jsonl"))
    for table in (
        need.tried(found, trials),
        need.answers(found),
        need.called(found),
        need.regrets(found),
        need.by_reach(found),
    ):
        assert table.strip() in page
    gaps = [min(r["train"]) > r["target"] for r in records if r["warmup"] == "loss-gap"]
    assert f"{len(records):,} runs, three seeds" in page
    assert f"{sum(gaps)} of its {len(gaps)} runs never get" in page
