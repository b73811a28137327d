"""Adam from scratch at its full lr in the first step.

False positives: fine-tuning at small lrs, reinforcement learning, and convolutional nets with batch norm often train
without a warmup. Whether a run needs one cannot be seen in its settings: watch it with a Probe. A run that continues
(moments exist) is not judged, nor are optimizers without Adam's v, such as Lion, and those that warm up by themselves.
"""

import math
from collections.abc import Iterator

from ..finding import Finding
from ..play.curve import NEARLY
from ..play.own_warmup import rectification_of
from ..play.played import Played

LEAST_BETA2 = 0.9  # below it v forgets so fast that no theory asks for a warmup


def no_warmup(run: Played) -> Iterator[Finding]:
    """The first step has the full lr, though v rests on one gradient."""
    for group in () if run.is_incomplete else run.shapes:
        betas = group.betas
        if betas is None or not LEAST_BETA2 <= betas[1] < 1 or group.taken or not group.peak or run.steps < 10:
            continue
        if group.effective(1) < NEARLY * group.peak or rectification_of(run.optimizer, group.options) is not None:
            continue
        untuned = 2 / (1 - betas[1])
        # A twentieth of the run, but not so short that it is over before v rests on a tenth of its memory.
        length = max(1, round(run.steps / 20), min(math.ceil(untuned / 20), run.steps // 10))
        yield Finding(
            "no-warmup",
            "warning",
            f"Adam starts at {group.effective(1) / group.peak:.0%} of its peak lr: there is no warmup",
            f"If the first steps are unstable, try rectified.RAdam, or warmup=Linear({length}); "
            f"at beta2 = {betas[1]:g} the untuned warmup would take {untuned:,.0f} steps.",
            group.indexes,
            (1, 1),
            {"first_lr": group.effective(1), "peak_lr": group.peak, "beta2": betas[1], "untuned_steps": untuned},
            "many runs train well without a warmup; only the run itself shows whether it needs one",
        )
