"""Two warmups that multiply each other: one of the optimizer (omega) and one of the schedule.

False positives: RAdam's authors call an additional short warmup harmless; with RAdam this is a warning, not an error.
"""

from collections.abc import Iterator

from ...warmup import Rectified
from ..finding import Finding
from ..play import Played, PlayedGroup


def two_warmups(run: Played) -> Iterator[Finding]:
    """Both the optimizer and the schedule warm up."""
    for group in run.groups:
        if group.lr_ramp < 2 or group.omega_ramp < 2:
            continue
        lr_ramp, omega_ramp = group.lr_ramp, group.omega_length
        middle = max(1, min(lr_ramp, omega_ramp) // 2)
        product = group.effective(middle) / group.peak if group.peak else 0.0
        rectified = _is_rectified(run, group)
        yield Finding(
            "two-warmups",
            "warning" if rectified else "error",
            f"the schedule warms up over {lr_ramp:,} steps and the optimizer over {omega_ramp:,}: they multiply",
            "Keep one: set the trainer's warmup steps to 0, or use the optimizer without a warmup.",
            group.indexes,
            (1, max(lr_ramp, omega_ramp)),
            {"lr_warmup": lr_ramp, "omega_warmup": omega_ramp, "step": middle, "share_of_peak": product},
            "RAdam with a short additional warmup, which its authors call harmless" if rectified else "",
        )


def _is_rectified(run: Played, group: PlayedGroup) -> bool:
    return "RAdam" in type(run.optimizer).__name__ or isinstance(group.options.get("warmup"), Rectified)
