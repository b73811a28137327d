"""What a trial found: the losses of its arms, differences with intervals, and the arm that is advised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import mean, stdev

from .probe_verdict import Verdict
from .watch import Probe

CONFIDENCE = 0.95  # of all arms' intervals together


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        name: in words.
        warmup: the length of a linear warmup that replaces the run's own; 0 for none; None for the run's own.
        factor: of the lr.
        clip: the norm to which gradients are clipped.
        line: what to change in a script to train like this.
    """

    name: str
    warmup: int | None = None
    factor: float = 1.0
    clip: float = math.inf
    line: str = ""


AS_IS = Arm("as is", line="nothing: no arm is clearly better")


@dataclass(frozen=True)
class Difference:
    """An arm's loss minus that of the unchanged run, over seeds.

    Attributes:
        mean: negative if the arm is better.
        low, high: the interval; infinite with one seed.
    """

    mean: float
    low: float
    high: float

    @property
    def better(self) -> bool:
        return self.high < 0


@dataclass(frozen=True)
class TrialResult:
    """What a trial found.

    Attributes:
        arms: the arms; the unchanged run comes first.
        losses: one loss per arm and seed.
        differences: each arm against the unchanged run.
        best: the arm that is advised: the best of those that are clearly better than the unchanged run, or that run.
        verdict: what a probe concluded from the unchanged run, before the other arms.
        steps, seconds: what it cost.
        contradicts: whether the trial does not bear the verdict out; False with one seed, which shows nothing.
        probe: what watched the unchanged run of the first seed.
        measure: what the losses are, for readers.
    """

    arms: tuple[Arm, ...]
    losses: tuple[tuple[float, ...], ...]
    differences: tuple[Difference, ...]
    best: Arm
    verdict: Verdict
    steps: int
    seconds: float
    contradicts: bool
    probe: Probe = field(repr=False, compare=False)
    measure: str = "loss"

    def __str__(self) -> str:
        width = max(len(arm.name) for arm in self.arms)
        lines = [f"{self.arms[0].name:<{width}}  {self.measure} {mean(self.losses[0]):.4g}"]
        for arm, values, d in zip(self.arms[1:], self.losses[1:], self.differences[1:], strict=True):
            interval = f" ({d.low:+.3g} to {d.high:+.3g})" if math.isfinite(d.low) else ""
            mark = "  better" if d.better else "  worse" if d.low > 0 else ""
            lines.append(f"{arm.name:<{width}}  {self.measure} {mean(values):.4g}, {d.mean:+.3g}{interval}{mark}")
        seeds = len(self.losses[0])
        lines.append(f"{self.steps:,} steps, {self.seconds:.0f} s, {seeds} seed{'s' * (seeds > 1)}")
        if self.contradicts:
            lines.append(f'This does not bear out the verdict from watching, "{self.verdict.answer}".')
        lines.append(f"Change in your script: {self.best.line}")
        return "\n".join(lines)


def result_of(
    arms: Sequence[Arm],
    losses: Sequence[Sequence[float]],
    found: Verdict,
    probe: Probe,
    steps: int,
    seconds: float,
) -> TrialResult:
    differences = against_first(losses)
    best = arms[advised(differences)]
    helps = any(arm.warmup for arm, d in zip(arms, differences, strict=True) if d.better)
    several = len(losses[0]) > 1
    contradicts = several and found.answer == ("not needed" if helps else "needed")
    return TrialResult(
        arms=tuple(arms),
        losses=tuple(map(tuple, losses)),
        differences=tuple(differences),
        best=best,
        verdict=found,
        steps=steps,
        seconds=seconds,
        contradicts=contradicts,
        probe=probe,
    )


def against_first(losses: Sequence[Sequence[float]]) -> list[Difference]:
    """Each arm against the first, by losses per arm and seed; all intervals hold together."""
    others = [difference(values, losses[0], len(losses) - 1) for values in losses[1:]]
    return [Difference(0.0, 0.0, 0.0), *others]


def advised(differences: Sequence[Difference]) -> int:
    """The arm to advise: the best of those that are clearly better, or the unchanged run."""
    return min((i for i, d in enumerate(differences) if d.better), key=lambda i: differences[i].mean, default=0)


def difference(ours: Sequence[float], theirs: Sequence[float], comparisons: int = 1) -> Difference:
    """The mean paired difference with its t interval, so that `comparisons` of them hold together.

    >>> d = difference([1.0, 1.1, 0.9], [2.0, 2.2, 1.8])
    >>> round(d.mean, 3), round(d.low, 3), round(d.high, 3)
    (-1.0, -1.248, -0.752)
    """
    pairs = [a - b for a, b in zip(ours, theirs, strict=True)]
    if len(pairs) < 2:
        return Difference(pairs[0], -math.inf, math.inf)
    half = _quantile(comparisons, len(pairs) - 1) * stdev(pairs) / math.sqrt(len(pairs))
    return Difference(mean(pairs), mean(pairs) - half, mean(pairs) + half)


@cache
def _quantile(comparisons: int, freedom: int) -> float:
    """The quantile of Student's t for intervals that hold together."""
    from scipy.stats import t  # part of the extra "study"

    return float(t.ppf(1 - (1 - CONFIDENCE) / 2 / comparisons, freedom))
