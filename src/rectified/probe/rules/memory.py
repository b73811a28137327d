"""beta2's memory, 1 / (1 - beta2) steps, compared with the run and the warmup; betas in the wrong order.

False positives: short fine-tuning runs with beta2 = 0.999 are common and work; a memory longer than the run is a note.
"""

from collections.abc import Iterator

from ..finding import Finding
from ..play.played import Played


def betas_swapped(run: Played) -> Iterator[Finding]:
    """beta1 is larger than beta2."""
    for group in run.groups:
        if group.betas is not None and group.betas[0] > group.betas[1]:
            beta1, beta2 = group.betas
            yield Finding(
                "betas-swapped",
                "error",
                f"beta1 is {beta1:g} and beta2 is {beta2:g}: Adam's usual order is (0.9, 0.999)",
                "Swap them: v must remember longer than m, or m and v do not match.",
                group.indexes,
                None,
                {"beta1": beta1, "beta2": beta2},
            )


def longer_than_run(run: Played) -> Iterator[Finding]:
    """v remembers more steps than the run has."""
    for group in run.groups:
        if group.betas is None or group.betas[0] > group.betas[1] or group.betas[1] >= 1:
            continue
        memory = 1 / (1 - group.betas[1])
        if memory > group.taken + run.steps:
            yield Finding(
                "memory-longer-than-run",
                "note",
                f"v remembers {memory:,.0f} steps and the run has {run.steps:,}: it averages all gradients equally",
                _smaller_beta2(*group.betas, run.steps),
                group.indexes,
                None,
                {"memory": memory, "steps": run.steps, "beta2": group.betas[1]},
                "fine-tuning in few steps, where this is common and works",
            )


def _smaller_beta2(beta1: float, beta2: float, steps: int) -> str:
    """Advice to use a beta2 with a fifth of the run as its memory, but not below beta1, or v forgets before m."""
    smaller = float(f"{max(beta1, 0.9, 1 - 5 / steps):.3g}")
    if beta1 <= smaller < beta2:
        return f"A smaller beta2, such as {smaller:g}, lets v follow the gradients."
    return "Train for longer, or use smaller betas."


def shorter_warmup(run: Played) -> Iterator[Finding]:
    """The warmup is over when v rests on few gradients compared with its memory."""
    for group in run.shapes:
        ramp = group.warmup
        if group.betas is None or not ramp or group.betas[1] >= 1 or group.betas[0] > group.betas[1]:
            continue
        memory = 1 / (1 - group.betas[1])
        if ramp < 0.1 * memory < 0.1 * run.steps:
            yield Finding(
                "warmup-shorter-than-memory",
                "note",
                f"the warmup takes {ramp:,} steps, v remembers {memory:,.0f}",
                f"If the steps after it are unstable, try {min(memory, run.steps / 10):,.0f} steps or a smaller beta2.",
                group.indexes,
                (1, ramp),
                {"warmup": ramp, "memory": memory},
                "a short warmup is often enough: the best length does not follow 1 / (1 - beta2) in our studies",
            )
