"""An lr that is negative or not a number: the step ascends, or destroys the weights.

False positives: gradient ascent by a negative lr on purpose; torch's optimizers offer maximize=True for that. Numbers
below 0 by rounding are not reported.
"""

from collections.abc import Iterator

from ..finding import Finding
from ..play.curve import as_tensor, first
from ..play.played import Played


def invalid(run: Played) -> Iterator[Finding]:
    """The lr of some step is negative, infinite or not a number; no other rule judges such a group's lr."""
    for group in run.unsound:
        lr = as_tensor(group.lr)
        finite = lr.isfinite()
        begin = first(~finite | (lr < -1e-9 * lr[finite].abs().max() if finite.any() else ~finite)) or 0
        bad = group.lr[begin]
        what = f"negative, {bad:.3g}: its steps go uphill" if bad < 0 and finite[begin] else f"{bad}"
        yield Finding(
            "lr-invalid",
            "error",
            f"at step {begin + 1:,} of {run.steps:,} the lr is {what}",
            "Let the schedule's factor be a finite number of 0 or more at every step of the run, as max(0.0, factor) "
            "is; the other rules see this group's lr once it is.",
            group.indexes,
            (begin + 1, run.steps),
            {"step": begin + 1, "lr": bad},
            "gradient ascent by a negative lr on purpose",
        )
