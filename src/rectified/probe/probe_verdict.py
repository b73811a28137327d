r"""The verdict of a probe: does this run need a warmup, why, how long, and which lr looks safe.

The gain ratio of a step u is (L(theta + u) - L(theta)) / <g, u> on the same batch. On a quadratic it is 1 - lr / edge,
where edge is the lr at which the step ends as high as it began; so the *reach*

.. math:: \kappa_t = \frac{\gamma}{\text{edge}_t} = \frac{\gamma}{\gamma_t}\, (1 - \rho_t)

says how far a step at the full lr would go, given what the step at the current lr * omega showed: 1/2 is the minimum
along its line, 1 is the edge. If no first step reaches beyond the minimum, no warmup is needed; no number in this is
fitted. If one does, the lr is too large for the first steps. A smaller lr would do as well in many runs, so that is not
yet a need for a warmup. It is called one where gradients differ much in size between the elements of a tensor, as in
Transformers. The numbers behind that, and those behind the advised length, were read off the rule-making tasks of the
truth set (docs/probe.md).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from .signals import Observation

Answer = Literal["needed", "not needed", "cannot tell"]

FIRST_STEPS = 8  # the steps that are judged
MINIMUM = 0.5  # the reach of a step that ends at the minimum along its line
EDGE = 1.0
SHARE = 0.8  # of the run, for a warmup that must be long: 512 steps was the best of 8, 32, 64, 128 and 512 in 640
SHORT = 0.1  # of the run, where steps are a little too long and gradients are even
FAR = 0.8  # the reach from which even gradients need the long one, too
UNEVEN = 1.7  # spread of log 1 / sqrt(v) in the first step; 1.11 if all elements of a tensor have one law
# Right answers on held-out tasks of the truth set, and all of them there; tests/docs/test_truth_set.py counts again.
HITS: dict[Answer, tuple[int, int]] = {"needed": (18, 24), "not needed": (26, 26)}
LARGE_STEP = 0.1  # of the weights' norm, in one step
LOUD = 0.7  # root mean square of a step over lr


@dataclass(frozen=True)
class Verdict:
    """What a probe concludes.

    Attributes:
        answer: whether the run needs a warmup, also one that it has. It needs none if a smaller lr would do as well.
        why: the reason, in a sentence.
        mechanism: what makes the first steps too long, if they are.
        reach: the largest reach of the first steps; NaN if it was not measured.
        at_step: the step with the largest reach.
        share: the advised length of a linear warmup as a share of the run; 0 for none.
        length: the same in steps; 0 also if the number of steps of the run is unknown.
        safe_lr: the lr at which the longest of these steps would have ended at the minimum along its line.
        covered: whether the run's own warmup keeps its first steps before that minimum.
    """

    answer: Answer
    why: str
    mechanism: str = ""
    reach: float = math.nan
    at_step: int = 0
    share: float = 0.0
    length: int = 0
    safe_lr: float = math.nan
    covered: bool = False

    @property
    def hits(self) -> tuple[int, int] | None:
        """How many such answers were right on held-out tasks of the truth set, and of how many; None for no answer.

        >>> Verdict("needed", "").hits
        (18, 24)
        """
        return HITS.get(self.answer)

    def as_dict(self) -> dict[str, Any]:
        """The verdict as plain values; a number that is not finite is None."""
        values = {**self.__dict__, "hits": self.hits}.items()
        return {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in values}


def reaches(history: Sequence[Observation], lr: float) -> list[tuple[int, float]]:
    """The step and its reach at the full lr, for each observed step whose gain ratio is known."""
    found = []
    for o in history:
        s = o.model
        if s.lr > 0 and not math.isnan(s.gain_ratio):
            found.append((s.step, lr / s.lr * (1 - s.gain_ratio)))
    return found


def verdict_of(history: Sequence[Observation], lr: float, steps: int | None = None) -> Verdict:
    """The verdict on observed steps.

    Args:
        lr: the full lr, without a warmup.
        steps: the number of steps of the run, if known.
    """
    found = _judged(history, lr)
    return replace(found, length=max(1, round(found.share * steps))) if found.share and steps else found


def _judged(history: Sequence[Observation], lr: float) -> Verdict:
    first = [o for o in history if o.step <= FIRST_STEPS]
    if not first:
        at = f"the first observed step is {history[0].step}" if history else "no step was observed"
        return Verdict("cannot tell", f"{at}, and the first {FIRST_STEPS} steps decide")
    known = reaches(first, lr)
    if not known:
        return _without_gain_ratio(first)
    step, reach = max(known, key=lambda pair: pair[1])
    safe = lr * MINIMUM / reach if reach > 0 else math.nan
    if reach <= MINIMUM:
        why = f"the first steps go at most {reach:.2g} of the way to where the loss is level again, and 0.5 is best"
        return Verdict("not needed", why, reach=reach, at_step=step, safe_lr=safe)
    if len(known) < 2 and reach < math.inf:
        return Verdict("cannot tell", "only one step was measured", reach=reach, at_step=step, safe_lr=safe)
    taken = max(1 - o.model.gain_ratio for o in first if not math.isnan(o.model.gain_ratio))
    covered = taken <= MINIMUM
    if covered:
        why = (
            f"step {step} would reach {reach:.2g} of the way to the edge at lr {lr:.3g}; the run's own warmup keeps "
            f"its first steps within {max(taken, 0.0):.2g}"
        )
    elif reach == math.inf:
        why = f"after step {step} at lr {lr:.3g} the loss of its batch is not finite"
    else:
        beyond = "beyond the edge, so that the loss rises" if reach > EDGE else "beyond the minimum along its direction"
        why = f"step {step} at lr {lr:.3g} reaches {reach:.2g} of the way to the edge, {beyond}"
    answer, why = _too_long(first, why)
    long = answer == "needed" or reach > FAR
    share = 0.0 if covered else SHARE if long else SHORT
    return Verdict(answer, why, _mechanism(first), reach, step, share, safe_lr=safe, covered=covered)


def _too_long(first: Sequence[Observation], why: str) -> tuple[Answer, str]:
    """The answer where first steps are too long, and why."""
    if first[0].model.spread >= UNEVEN:
        return "needed", why
    return "cannot tell", f"{why}; a warmup or a smaller lr would help, and watching does not show which: try both"


def _without_gain_ratio(first: Sequence[Observation]) -> Verdict:
    back = min((o.model.gain_left for o in first if math.isfinite(o.model.gain_left)), default=math.nan)
    if back < -1:
        why = (
            f"a gradient among the first steps points back along its step {-back:.2g} times as steeply as it went down"
        )
        answer, why = _too_long(first, why)
        return Verdict(answer, why, _mechanism(first), share=SHARE)
    return Verdict(
        "cannot tell", "no second loss of a batch was measured: pass again= to observe, or run `rectified probe`"
    )


def _mechanism(first: Sequence[Observation]) -> str:
    """Which of the signals is out of the ordinary in the first steps."""
    size = max(o.model.size for o in first)
    signs = max(o.model.update_rms for o in first)
    if size > LARGE_STEP:
        return f"steps are large for the weights: one moves them by {size:.0%} of their size"
    if signs > LOUD:
        return f"steps are nearly signs of the gradient (root mean square {signs:.2g}): v rests on few samples"
    return "the loss is curved along the first steps"
