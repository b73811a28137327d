"""A counterfactual: the same training from one snapshot, with and without a warmup, at a smaller lr, and clipped.

A warmup is also a smaller lr, and clipping also shortens the first steps. So these two are arms as well: a warmup is
advised only if it does better than the unchanged run by more than the noise of the seeds.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Sequence
from contextlib import contextmanager, nullcontext
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from ..optim.base import BaseOptimizer
from ..optim.step.options import value_of
from ..optim.wrap.compat import unwrapped
from ..optim.wrap.scaling import active
from ..warmup import Linear
from .probe_verdict import SHARE, SHORT, Verdict
from .snapshot import Snapshot, generators, kept_generators, set_generators
from .trial_result import AS_IS, Arm, TrialResult, result_of
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
            small: it decays where the run would decay. A warmup of its own acts in every arm; make it without one, to
            compare it with others.
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
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
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
        TypeError: the optimizer has no betas, or the scheduler steps with a loss.
        ValueError: an argument is out of range, the batches end before `steps`, or the loss is not finite before
            training.

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
    with kept_generators():
        for number, seed in enumerate(seeds):
            torch.manual_seed(seed)
            run = make_run(seed)
            batches, start = _batches(run, steps), _snapshot(run)
            index = 0
            while index < len(arms):
                arm = arms[index]
                if on_progress is not None:
                    done = number * len(arms) + index
                    total = len(seeds) * (len(arms) if found else 6)
                    left = (time.monotonic() - began) / done * (total - done) if done else math.nan
                    on_progress(TrialProgress(arm.name, done, total, left))
                probe = _probe(run, steps) if watching is None else None
                try:
                    losses[index].append(_train(run, arm, batches, probe))
                finally:
                    start.restore()
                    if probe is not None:
                        probe.close()
                taken += steps
                if probe is not None:
                    watching, found = probe, probe.verdict()
                    arms += _arms(run, steps, lengths or _lengths(found, steps))
                    losses += [[] for _ in arms[1:]]
                index += 1
    assert found is not None
    assert watching is not None
    return result_of(arms, losses, found, watching, taken, time.monotonic() - began)


def watch(run: TrialRun, steps: int) -> Probe:
    """Train a run unchanged with a probe, and leave it where it was.

    Raises:
        TypeError: the optimizer has no betas, or the scheduler steps with a loss.
        ValueError: the batches end before `steps`, or the loss is not finite before training.
    """
    batches, start = _batches(run, steps), _snapshot(run)
    with _probe(run, steps) as probe:
        try:
            _train(replace(run, evaluate=None), AS_IS, batches, probe)
        finally:
            start.restore()
    return probe


def _probe(run: TrialRun, steps: int) -> Probe:
    return Probe(run.optimizer, run.model, steps=run.steps or steps)


def _snapshot(run: TrialRun) -> Snapshot:
    if isinstance(run.scheduler, ReduceLROnPlateau):
        raise TypeError(
            "scheduler is a ReduceLROnPlateau, which steps with a loss; a trial needs one that counts steps"
        )
    return Snapshot(run.model, run.optimizer, [x for x in (run.scheduler, run.scaler) if x is not None])


def _batches(run: TrialRun, steps: int) -> list[Any]:
    batches = [_owned(batch) for batch in islice(iter(run.batches), steps)]
    if len(batches) < steps:
        raise ValueError(
            f"the run has {len(batches)} batches, and steps is {steps}; let batches go through the data several times, "
            "or pass fewer steps"
        )
    return batches


def _owned(batch: Any) -> Any:
    """A batch without tensors in shared memory: a DataLoader's workers put them there, and a process may hold few."""
    if isinstance(batch, Tensor):
        return batch.clone() if batch.is_cpu and batch.is_shared() else batch  # type: ignore[no-untyped-call]
    if isinstance(batch, dict):
        return {key: _owned(x) for key, x in batch.items()}
    if type(batch) in (list, tuple):
        return type(batch)(map(_owned, batch))
    return batch


def _handed(batch: Any) -> Any:
    """A batch for a loss that may take things out of it."""
    return copy(batch) if isinstance(batch, MutableMapping | list) else batch


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
    group = unwrapped(run.optimizer).param_groups[0]
    lr = value_of(group.get("initial_lr", group["lr"]))
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
    params = [p for group in inner.param_groups for p in group["params"]]
    before = _evaluated(run) if run.evaluate is not None else math.nan
    if run.evaluate is not None and not math.isfinite(before):
        raise ValueError(f"evaluate gives {before} before training; it must be a finite loss")
    warmup = Linear(arm.warmup) if arm.warmup else None
    observe_loss = getattr(run.optimizer, "observe_loss", getattr(inner, "observe_loss", None))
    with _without_own_warmup(inner) if arm.warmup is not None else nullcontext():
        for step, batch in enumerate(batches, start=1):
            state = generators() if probe is not None else {}
            loss = run.loss(run.model, _handed(batch))
            losses.append(loss.item())
            if not math.isfinite(losses[0]):
                raise ValueError(f"the loss of the first batch is {losses[0]}; it must be finite")
            if not math.isfinite(losses[-1]):
                return losses[0] if run.evaluate is None else before
            run.optimizer.zero_grad()
            (loss if run.scaler is None else run.scaler.scale(loss)).backward()
            norm = None
            if min(run.clip, arm.clip) < math.inf:
                if run.scaler is not None:
                    run.scaler.unscale_(inner)
                norm = nn.utils.clip_grad_norm_(params, min(run.clip, arm.clip))
            if observe_loss is not None:
                observe_loss(losses[-1])
            with _scaled_lr(inner, arm.factor * (warmup.omega(step, 0.0) if warmup else 1.0)):
                if run.scaler is None:
                    run.optimizer.step()
                else:
                    run.scaler.step(inner)
            if run.scaler is not None:
                run.scaler.update()
            if run.scheduler is not None:
                run.scheduler.step()
            if probe is not None:
                probe.observe(losses[-1], again=partial(_again, run, batch, state), grad_norm=norm)
    worst = losses[0] if run.evaluate is None else before
    quarter = losses[-max(1, len(losses) // 4) :]
    end = mean(quarter) if run.evaluate is None else _evaluated(run)
    return min(end, worst) if math.isfinite(end) else worst


def _evaluated(run: TrialRun) -> float:
    """The loss on other data; modes and generators are as before."""
    assert run.evaluate is not None
    modes = [(module, module.training) for module in run.model.modules()]
    switches = hasattr(run.optimizer, "eval") and hasattr(run.optimizer, "train")  # as ScheduleFree's optimizers do
    with kept_generators(), torch.no_grad():
        run.model.eval()
        if switches:
            run.optimizer.eval()
        try:
            return float(run.evaluate(run.model))
        finally:
            for module, training in modes:
                module.training = training
            if switches:
                run.optimizer.train()


def _again(run: TrialRun, batch: Any, state: dict[str, Any]) -> Tensor:
    """The loss of a batch once more, with the same random numbers."""
    set_generators(state)
    return run.loss(run.model, _handed(batch))


@contextmanager
def _scaled_lr(optimizer: torch.optim.Optimizer, factor: float) -> Iterator[None]:
    """The optimizer with its lr times a factor, around a warmup's own scaling."""
    if factor == 1:
        yield
        return
    before = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] = group["lr"] * factor
    try:
        yield
    finally:
        for group, lr in zip(optimizer.param_groups, before, strict=True):
            group["lr"] = lr


@contextmanager
def _without_own_warmup(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """The optimizer without its warmup; its options come back with the snapshot."""
    own = active(optimizer)
    for group in optimizer.param_groups:
        if group.get("warmup") is not None:
            group["warmup"] = None
    if own is not None:
        own.detach(optimizer)
    try:
        yield
    finally:
        if own is not None:
            own.attach(optimizer)
