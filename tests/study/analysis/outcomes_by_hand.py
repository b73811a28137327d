"""Outcomes of a study written by hand, and the verdict on them."""

from rectified.study.analysis.comparisons import compare_methods
from rectified.study.analysis.outcomes import Metric, Outcome, Outcomes
from rectified.study.analysis.verdict import in_words

ACCURACY = Metric(
    "test_accuracy", "test accuracy, %", "test accuracy", " %", " points", larger_is_better=True, margin=1.0, chance=10
)
LOSS = Metric("valid_ppl", "valid ppl", "valid ppl", "", "", larger_is_better=False, margin=0.5)
X, RAISED, MACHINE, OPEN = "diverged", "raised", "machine", "missing"  # in place of a value
WIGGLE = (0.3, -0.2, 0.1, -0.3, 0.2, -0.1)


def study(_metric=ACCURACY, **methods):
    """Outcomes of methods; of each, by lr, what its seeds 0, 1, ... came to: a value, or one of the words above."""
    values = [v for by_lr in methods.values() for found in by_lr.values() for v in found if not isinstance(v, str)]
    worst = (min if _metric.larger_is_better else max)(values, default=None)
    floor = _metric.chance if _metric.chance is not None else worst

    def outcome(value):
        if isinstance(value, str):
            fate = {RAISED: "failed", MACHINE: "failed"}.get(value, value)
            return Outcome(fate, floor, floor) if value in (X, RAISED) else Outcome(fate)
        return Outcome("at chance" if _metric.at_chance(value) else "trained", value, value)

    return Outcomes(
        {
            method: {lr: {seed: outcome(v) for seed, v in enumerate(found)} for lr, found in by_lr.items()}
            for method, by_lr in methods.items()
        }
    )


def near(mean, n, phase=0):
    """Values around a mean; those of two phases differ in more than the mean."""
    return [mean + WIGGLE[(i + phase) % 6] for i in range(n)]


def judge(outcomes, metric=ACCURACY, baseline=None, first=None):
    """The verdict and the numbers that it rests on."""
    found = compare_methods(outcomes, metric, baseline, first)
    return in_words(found, outcomes, metric), found


def told(outcomes, metric=ACCURACY, baseline=None, first=None):
    """All of the verdict's sentences but the last, which is about all of them, and the numbers."""
    verdict, found = judge(outcomes, metric, baseline, first)
    parts = (verdict.answer, verdict.at_best, verdict.at_lr, verdict.beyond_lr, verdict.robust, verdict.runs)
    return " ".join(sentence for part in parts for sentence in part), found
