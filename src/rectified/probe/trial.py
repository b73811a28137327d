"""A counterfactual: the same training from one snapshot, with and without a warmup, at a smaller lr, and clipped.

A warmup is also a smaller lr, and clipping also shortens the first steps. So these two are arms as well: a warmup is
advised only if it does better than the unchanged run by more than the noise of the seeds.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn

from ..optim.base import BaseOptimizer
from ..optim.step.options import value_of
from ..optim.wrap.compat import unwrapped
from ..optim.wrap.scaling import active
from ..warmup import Linear
from .snapshot import Snapshot
from .trial_result import AS_IS, Arm, TrialResult, result_of
from .verdict import SHARE, SHORT, Verdict
from .watch import Probe

SHARES = (0.05, 0.2, SHARE)  # of the run; SHORT takes the place of the first where that is advised


@dataclass
class TrialRun:
    """What a trial trains: the parts of a training loop.

    Attributes:
        model: the model, on its device.
        optimizer: its optimizer, as the run uses it.
        batches: the training batches; as many as the trial takes are kept in memory, and every arm sees them.
        loss: a function of ``(model, batch)`` to a scalar tensor.
        evaluate: a function of the model to a loss, on data that is not trained on; smaller is better. If None, an arm
            is judged by the mean loss over its last quarter of batches.
        scheduler: an lr scheduler, stepped after every step. Make it for the steps of the trial, which is the run in
            small: it decays where the run would decay.
        scaler: a GradScaler.
        clip: the norm to which the run clips its gradients.
        steps: the number of steps of the whole run, for the lengths in the advice; those of the trial if None.
    """

    model: nn.Module
    optimizer: Any
    batches: Iterable[Any]
    loss: Callable[[nn.Module, Any], Tensor]
    evaluate: Callable[[nn.Module], float] | None = None
    scheduler: Any = None
    scaler: Any = None
    clip: float = math.inf
    steps: int | None = None


@dataclass(frozen=True)
class TrialProgress:
    """How far a trial is.

    Attributes:
        arm: the arm that is trained now.
        done, total: arms trained so far and in all, over all seeds.
        seconds_left: an estimate; NaN before the first arm is done.
    """

    arm: str
    done: int
    total: int
    seconds_left: float


def trial(
    make_run: Callable[[int], TrialRun],
    *,
    steps: int = 200,
    seeds: Sequence[int] = (0, 1, 2),
    lengths: Sequence[int] = (),
    on_progress: Callable[[TrialProgress], None] | None = None,
) -> TrialResult:
    """Train short paired arms from one snapshot per seed, and advise the best one that is clearly better.

    The arms are: the unchanged run; linear warmups over 5, 20 and 80 % of it, or 10, 20 and 80 % where watching advises
    10 %; a third of the lr; gradients clipped to norm 1. All of them start from the same weights and see the same
    batches. Differences are paired by seed, with 95 % t intervals for all arms together (Bonferroni).

    A trial is the run in small: warmups are shares of it, and a scheduler should decay within it. What a longer run
    would need may differ.

    Args:
        make_run: a function of a seed that makes a new run; torch's global generator is seeded before.
        steps: the length of each arm, at least 8.
        seeds: one snapshot each; with a single one there are no intervals, and no arm is advised.
        lengths: warmup lengths to try, in steps of the trial, in place of those shares.
        on_progress: called before each arm.

    Raises:
        ValueError: an argument is out of range, or the batches end before `steps`.

    >>> def make_run(seed):
    ...     model = nn.Linear(4, 1)
    ...     x = torch.randn(50, 32, 4)
    ...     optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    ...     return TrialRun(model, optimizer, x, lambda model, x: (model(x) - x.sum(1, keepdim=True)).square().mean())
    >>> result = trial(make_run, steps=40, seeds=(0, 1))
    >>> result.best.name, result.steps
    ('as is', 480)
    """
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 8:
        raise ValueError(f"steps is {steps!r}; it must be a whole number, 8 or more")
    if not seeds:
        raise ValueError("seeds is empty; pass at least one, and two or more for intervals")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds is {list(seeds)}; each must appear once, or the intervals would be too narrow")
    for length in lengths:
        if isinstance(length, bool) or not isinstance(length, int) or not 1 <= length <= steps:
            raise ValueError(f"lengths has {length!r}; each must be a whole number from 1 to the {steps} steps")
    began, taken = time.monotonic(), 0
    arms: list[Arm] = [AS_IS]
    losses: list[list[float]] = [[]]
    found: Verdict | None = None
    watching: Probe | None = None
    for number, seed in enumerate(seeds):
        torch.manual_seed(seed)
        run = make_run(seed)
        batches = _batches(run, steps)
        start = Snapshot(run.model, run.optimizer, [x for x in (run.scheduler, run.scaler) if x is not None])
        index = 0
        while index < len(arms):
            arm = arms[index]
            if on_progress is not None:
                done = number * len(arms) + index
                total = len(seeds) * (len(arms) if found else 6)
                left = (time.monotonic() - began) / done * (total - done) if done else math.nan
                on_progress(TrialProgress(arm.name, done, total, left))
            probe = Probe(run.optimizer, steps=run.steps or steps) if watching is None else None
            losses[index].append(_train(run, arm, batches, probe))
            taken += steps
            if probe is not None:
                probe.close()
                watching, found = probe, probe.verdict()
                arms += _arms(run, steps, lengths or _lengths(found, steps))
                losses += [[] for _ in arms[1:]]
            start.restore()
            index += 1
    assert found is not None
    assert watching is not None
    return result_of(arms, losses, found, watching, taken, time.monotonic() - began)


def watch(run: TrialRun, steps: int) -> Probe:
    """Train a run unchanged with a probe, and leave it where it was.

    Raises:
        ValueError: the batches end before `steps`.
    """
    batches = _batches(run, steps)
    start = Snapshot(run.model, run.optimizer, [x for x in (run.scheduler, run.scaler) if x is not None])
    try:
        with Probe(run.optimizer, steps=run.steps or steps) as probe:
            _train(replace(run, evaluate=None), AS_IS, batches, probe)
    finally:
        start.restore()
    return probe


def _batches(run: TrialRun, steps: int) -> list[Any]:
    batches = list(islice(iter(run.batches), steps))
    if len(batches) < steps:
        raise ValueError(
            f"the run has {len(batches)} batches, and steps is {steps}; let batches go through the data several times, "
            "or pass fewer steps"
        )
    return batches


def _lengths(found: Verdict, steps: int) -> list[int]:
    """The lengths of warmups to try: the advised one and two others."""
    shares = (SHORT, *SHARES[1:]) if found.share == SHORT else SHARES
    return [max(1, round(share * steps)) for share in shares]


def _arms(run: TrialRun, steps: int, lengths: Sequence[int]) -> list[Arm]:
    """The arms besides the unchanged run."""
    scale, tried = (run.steps or steps) / steps, dict.fromkeys(lengths)
    warmups = [Arm(f"warmup {n / steps:.0%}", warmup=n, line=_line(run, round(scale * n))) for n in tried]
    if _own_warmup(run.optimizer):
        warmups.append(Arm("no warmup", warmup=0, line="remove the warmup"))
    lr = value_of(unwrapped(run.optimizer).param_groups[0]["lr"])
    others = [Arm("lr / 3", factor=1 / 3, line=f"lr={lr / 3:.3g} instead of {lr:.3g}")]
    if run.clip > 1:
        clip = "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) before optimizer.step()"
        others.append(Arm("clipped to 1", clip=1.0, line=clip))
    return [*warmups, *others]


def _own_warmup(optimizer: Any) -> bool:
    inner = unwrapped(optimizer)
    return active(inner) is not None or any(group.get("warmup") is not None for group in inner.param_groups)


def _line(run: TrialRun, length: int) -> str:
    inner = unwrapped(run.optimizer)
    if isinstance(inner, BaseOptimizer) and any("warmup" in group for group in inner.param_groups):
        return f"warmup=rectified.warmup.Linear({length}) in rectified.{type(inner).__name__}"
    return f"optimizer = rectified.rectify(optimizer, rectified.warmup.Linear({length}))"


def _train(run: TrialRun, arm: Arm, batches: Sequence[Any], probe: Probe | None) -> float:
    """Train an arm, and return its loss; the loss before training if it diverged."""
    inner, losses = unwrapped(run.optimizer), []
    params = _parameters(run)
    run.model.train()
    before = _evaluated(run) if run.evaluate is not None else math.nan
    run.model.train()
    with _changed(inner, arm):
        for batch in batches:
            state = _random_state(params)
            loss = run.loss(run.model, batch)
            losses.append(loss.item())
            if not math.isfinite(losses[-1]):
                return losses[0] if run.evaluate is None else before
            run.optimizer.zero_grad()
            (loss if run.scaler is None else run.scaler.scale(loss)).backward()
            if min(run.clip, arm.clip) < math.inf:
                if run.scaler is not None:
                    run.scaler.unscale_(inner)
                nn.utils.clip_grad_norm_(params, min(run.clip, arm.clip))
            if run.scaler is None:
                run.optimizer.step()
            else:
                run.scaler.step(inner)
                run.scaler.update()
            if run.scheduler is not None:
                run.scheduler.step()
            if probe is not None:
                probe.observe(losses[-1], again=partial(_again, run, batch, state))
    worst = losses[0] if run.evaluate is None else before
    quarter = losses[-max(1, len(losses) // 4) :]
    end = mean(quarter) if run.evaluate is None else _evaluated(run)
    return min(end, worst) if math.isfinite(end) else worst


def _parameters(run: TrialRun) -> list[Tensor]:
    return [p for group in unwrapped(run.optimizer).param_groups for p in group["params"]]


def _evaluated(run: TrialRun) -> float:
    assert run.evaluate is not None
    state = _random_state(_parameters(run))
    run.model.eval()
    with torch.no_grad():
        loss = float(run.evaluate(run.model))
    _set_random_state(state)
    return loss


def _again(run: TrialRun, batch: Any, state: list[Any]) -> Tensor:
    """The loss of a batch once more, with the same random numbers, leaving buffers unchanged."""
    buffers = [(x, x.clone()) for x in run.model.buffers()]
    _set_random_state(state)
    loss = run.loss(run.model, batch)
    for x, before in buffers:
        x.copy_(before)
    return loss


def _random_state(params: Sequence[Tensor]) -> list[Any]:
    device = params[0].device
    return [torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None, device]


def _set_random_state(state: list[Any]) -> None:
    torch.set_rng_state(state[0])
    if state[1] is not None:
        torch.cuda.set_rng_state(state[1], state[2])


@contextmanager
def _changed(optimizer: torch.optim.Optimizer, arm: Arm) -> Iterator[None]:
    """The optimizer with the arm's warmup and lr; its options come back with the snapshot."""
    own = active(optimizer)
    if arm.warmup is not None:
        for group in optimizer.param_groups:
            if group.get("warmup") is not None:
                group["warmup"] = None
        if own is not None:
            own.detach(optimizer)
    warmup = Linear(arm.warmup) if arm.warmup else None
    step = 0
    before: list[Any] = []

    def scale(*_: Any) -> None:
        nonlocal step
        step += 1
        factor = arm.factor * (warmup.omega(step, 0.0) if warmup else 1.0)
        before.extend(group["lr"] for group in optimizer.param_groups)
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] * factor

    def put_back(*_: Any) -> None:
        for group, lr in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = lr
        before.clear()

    hooks = []
    if warmup is not None or arm.factor != 1:
        hooks = [optimizer.register_step_pre_hook(scale), optimizer.register_step_post_hook(put_back)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
        if arm.warmup is not None and own is not None:
            own.attach(optimizer)
