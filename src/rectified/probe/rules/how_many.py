"""No warmup at all, or two that multiply each other: the optimizer's (omega) and a schedule's, or two schedules'.

False positives: RAdam's authors call an additional short warmup harmless; with RAdam this is a warning, not an error.
Fine-tuning at small lrs, reinforcement learning, and convolutional nets with batch norm often train without a warmup.
Whether a run needs one cannot be seen in its settings: watch it with a Probe. A run that continues (moments exist) is
not judged, nor are optimizers without Adam's v, such as Lion, and those that warm up by themselves.
"""

import math
from collections.abc import Iterator, Sequence

from ..finding import Finding
from ..play.curve import NEARLY, warmup_length
from ..play.own_warmup import observes_run, rectification_of
from ..play.played import Played, PlayedGroup
from ..play.schedule_tree import together

LEAST_BETA2 = 0.9  # below it v forgets so fast that no theory asks for a warmup
_ADVICE = "Keep one: set the trainer's warmup steps to 0, or use the optimizer without a warmup."


def two_warmups(run: Played) -> Iterator[Finding]:
    """Both the optimizer and the schedule warm up."""
    for group in run.shapes:
        lr_length, omega_length = group.lr_length, group.omega_length
        if lr_length < 2 or omega_length < 2:
            continue
        middle = max(1, min(lr_length, omega_length) // 2)
        product = group.effective(middle) / group.peak if group.peak else 0.0
        rectified = rectification_of(run.optimizer, group.options) is not None
        yield Finding(
            "two-warmups",
            "warning" if rectified else "error",
            f"the schedule warms up over {lr_length:,} steps and the optimizer over {omega_length:,}: they multiply",
            _ADVICE,
            group.indexes,
            (1, min(run.steps, max(lr_length, omega_length))),
            {"lr_warmup": lr_length, "omega_warmup": omega_length, "step": middle, "share_of_peak": product},
            "RAdam with a short additional warmup, which its authors call harmless" if rectified else "",
        )


def two_schedulers(run: Played) -> Iterator[Finding]:
    """Two schedulers that step together both warm up, and their factors multiply."""
    several = [one for scheduler in run.schedulers for one in together(scheduler)]
    if len(several) < 2:
        return
    for group in run.shapes:
        alone = [run.alone(one, group.index) for one in several]
        ramps = [(length, lr) for lr in alone if (length := warmup_length(lr)) >= 2]
        lengths = sorted(length for length, _ in ramps)
        if len(ramps) < 2 or not _multiply(group, [lr for _, lr in ramps], lengths[0] // 2):
            continue
        yield Finding(
            "two-warmups",
            "error",
            f"{len(ramps)} schedulers warm up, over {' and '.join(f'{length:,}' for length in lengths)} steps: they "
            "multiply",
            "Keep one of them, or run them one after the other in a SequentialLR.",
            group.indexes,
            (1, lengths[-1]),
            {"shortest": lengths[0], "longest": lengths[-1]},
        )


def _multiply(group: PlayedGroup, ramps: Sequence[Sequence[float]], at: int) -> bool:
    """Whether the lr rather is the product of the ramps than the smallest one: some schedulers overwrite others."""
    shares = [lr[at] / max(lr) for lr in ramps]
    product = 1.0
    for share in shares:
        product *= share
    share = group.lr[at] / group.largest_lr
    return abs(share - product) < abs(share - min(shares))


def no_warmup(run: Played) -> Iterator[Finding]:
    """The first step has the full lr, though v rests on one gradient."""
    for group in () if run.is_incomplete else run.shapes:
        betas = group.betas
        if betas is None or not LEAST_BETA2 <= betas[1] < 1 or group.taken or not group.peak or run.steps < 10:
            continue
        if group.effective(1) < NEARLY * group.peak or rectification_of(run.optimizer, group.options) is not None:
            continue
        if observes_run(run.optimizer, group.options):
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
