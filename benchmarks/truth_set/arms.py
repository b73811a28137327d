"""Other warmups that observe the run, and GuardedLinear's parts one by one, on the rule-making tasks.

    PYTHONPATH=src python benchmarks/truth_set/arms.py OUT.jsonl [--arms 'a;b'] [--workers 2]

GuardedLinear was made with these runs: one seed, half of the cells (each lr rank with one beta2 per task, in turns).
They say which part matters, with the noise of one seed, and are no evidence for the whole: that is guarded.py's. All
arms but the first let the guard act for as long as omega is below 1, as its first version did.
"""

import argparse
import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tasks
import torch
from guarded import RECORDS
from score import Cell, cells, loss_of, read
from sweep import measured, rounded
from torch import Tensor

from rectified import Adam
from rectified.optim.contrib import GIAdam

BETA1 = 0.9


@dataclass(frozen=True)
class Rule:
    """How omega follows the ratio c of the slopes after and before a step.

    Attributes:
        growth: the largest factor of omega per step; None for 1 / `steps` more at each step with c above the threshold.
        norm: what c is divided by: ``<m_hat, d>``, or ``<g, d>`` with the step's own gradient.
        until: the step after which omega rises whatever c is; None for none.
        after_1: whether it goes on once omega is 1.
        held: whether the first step below the threshold ends all growth.
        soft: whether growth is in proportion to c - threshold, up to c = 1.
    """

    growth: float | None = None
    steps: int = 64
    threshold: float = -0.15
    rate: float = 0.15
    ema: float = 0.7
    first: float = 0.01
    norm: Literal["m", "g"] = "m"
    until: int | None = None
    after_1: bool = False
    held: bool = False
    soft: bool = False


ISSUE = Rule(growth=1.15, norm="g")  # omega grows by a factor
ARMS: dict[str, Rule | str] = {
    "guarded linear": Rule(until=128),
    "without an end": Rule(),
    "128 steps": Rule(steps=128),
    "threshold 0": Rule(threshold=0.0),
    "threshold -0.3": Rule(threshold=-0.3),
    "threshold -0.5": Rule(threshold=-0.5),
    "threshold -0.3, falls 3 times as fast": Rule(threshold=-0.3, rate=0.5),
    "threshold -0.3, averages of 0.9": Rule(threshold=-0.3, ema=0.9),
    "growth in proportion to the ratio": Rule(soft=True),
    "divided by <g, d>": Rule(norm="g"),
    "omega grows by up to 15 % a step": Rule(growth=1.15),
    "the same, divided by <g, d>": ISSUE,
    "the same, until the first overshoot": Rule(growth=1.15, held=True),
    "goes on after omega = 1": Rule(growth=1.15, after_1=True),
    "CDAT, on the edge": "cdat",
    "GI-Adam": "gi-adam",
    "loss gap, f* = the final loss": "gap final",
    "loss gap, f* = half of that": "gap half",
    "loss gap, f* = 0": "gap 0",
}


class Observed:
    """A rule at work on an Adam without a warmup."""

    def __init__(self, rule: Rule, optimizer: torch.optim.Optimizer, beta2: float) -> None:
        self.rule, self.optimizer, self.beta2 = rule, optimizer, beta2
        self.omega, self.over, self.held, self.t = rule.first, False, False, 0
        self.after, self.before, self.last = 0.0, 0.0, 0.0

    def moments(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """The gradient, m_hat and sqrt(v_hat) + eps of each parameter."""
        found = []
        for p in (p for group in self.optimizer.param_groups for p in group["params"]):
            if p.grad is not None and "exp_avg" in self.optimizer.state[p]:
                m, v = (self.optimizer.state[p][name] for name in ("exp_avg", "exp_avg_sq"))
                root = (v / (1 - self.beta2**self.t)).sqrt_() + 1e-8
                found.append((p.grad, m / (1 - BETA1**self.t), root))
        return found

    @torch.no_grad()
    def before_step(self, loss: float) -> float:
        """omega of the step that is about to be taken."""
        if self.t and not self.over:
            self.observe()
            self.over = self.omega >= 1 and not self.rule.after_1
        self.t += 1
        return self.omega

    def observe(self) -> None:
        rule, here = self.rule, self.moments()
        after = sum(float((g * (m / root)).sum()) for g, m, root in here)
        before = self.last if rule.norm == "g" else sum(float((m * (m / root)).sum()) for _, m, root in here)
        self.after = rule.ema * self.after + (1 - rule.ema) * after
        self.before = rule.ema * self.before + (1 - rule.ema) * before
        ratio = self.after / self.before if self.before > 0 else -1.0
        self.omega = min(1.0, self.moved(ratio if math.isfinite(ratio) else -10.0))

    def moved(self, ratio: float) -> float:
        rule = self.rule
        growth = math.log(rule.growth or 1.15)
        change = min(growth, rule.rate * (ratio - rule.threshold))
        if rule.until is not None and self.t >= rule.until:
            change = growth
        if rule.held:
            self.held = self.held or ratio < rule.threshold
            return self.omega * (1.0 if self.held else math.exp(growth))
        if rule.growth is None and change > 0:
            return self.omega + (change / growth if rule.soft else 1.0) / rule.steps
        return self.omega * math.exp(max(-0.5, change))

    @torch.no_grad()
    def after_step(self) -> None:
        if self.rule.norm == "g" and not self.over:
            self.last = sum(float((g * (m / root)).sum()) for g, m, root in self.moments())


class CDAT:
    """lr = 2 n / |d^T H d| of arXiv:2407.06183, with averages of 0.9 and at most the run's own lr.

    The curvature is a difference of two gradients on the same batch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, lr: float, beta2: float) -> None:
        self.optimizer, self.lr, self.beta2 = optimizer, lr, beta2
        self.t, self.n, self.curvature = 0, 0.0, 0.0

    def omega(self, again: Callable[[], Tensor], generator: Tensor) -> float:
        """omega of the step that is about to be taken.

        Args:
            again: computes the loss of the batch a second time.
            generator: torch's, as it was before the first.
        """
        self.t += 1
        params = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        with torch.no_grad():
            grads = [p.grad.clone() for p in params]
            steps = [self.direction(p, g) for p, g in zip(params, grads, strict=True)]
            kept = [p.clone() for p in params]
            norms = (sum(float(x.square().sum()) for x in xs) for xs in (params, steps))
            size = min(1e-3, 1e-3 * math.sqrt(next(norms) / max(1e-20, next(norms))))
            for p, d in zip(params, steps, strict=True):
                p.sub_(size * d)
        now = torch.get_rng_state()
        torch.set_rng_state(generator)
        self.optimizer.zero_grad()
        again().backward()
        torch.set_rng_state(now)
        with torch.no_grad():
            n = max(0.0, sum(float((g * d).sum()) for g, d in zip(grads, steps, strict=True)))
            rows = zip(grads, params, steps, strict=True)
            curvature = abs(sum(float(((g - p.grad) * d).sum()) for g, p, d in rows) / size)
            for p, before, g in zip(params, kept, grads, strict=True):
                p.copy_(before)
                p.grad = g
        self.n, self.curvature = 0.9 * self.n + 0.1 * n, 0.9 * self.curvature + 0.1 * curvature
        return min(1.0, 2 * self.n / max(self.curvature, 1e-30) / self.lr) if math.isfinite(curvature) else 0.0

    def direction(self, p: Tensor, g: Tensor) -> Tensor:
        """d of the step that is about to be taken."""
        state = self.optimizer.state.get(p) or {"exp_avg": torch.zeros_like(g), "exp_avg_sq": torch.zeros_like(g)}
        m = BETA1 * state["exp_avg"] + (1 - BETA1) * g
        v = self.beta2 * state["exp_avg_sq"] + (1 - self.beta2) * g * g
        return m / (1 - BETA1**self.t) / ((v / (1 - self.beta2**self.t)).sqrt() + 1e-8)


class Gap:
    """The loss-gap schedule of arXiv:2602.05813 with a given f*; omega is 1 once the loss has come to `end`."""

    def __init__(self, least: float, end: float) -> None:
        self.least, self.end, self.first, self.mean, self.over = least, end, math.nan, math.nan, False

    def omega(self, loss: float) -> float:
        self.first = loss if math.isnan(self.first) else self.first
        self.mean = loss if math.isnan(self.mean) else 0.9 * self.mean + 0.1 * loss
        first, now, end = (x - self.least for x in (self.first, self.mean, self.end))
        self.over = self.over or now <= end or first <= end
        return 1.0 if self.over else 1 / (1 + 99 * (first / now) * ((now - end) / (first - end)) ** 2)


def run(name: str, lr: float, beta2: float, arm: str, pilot: dict[str, Any]) -> dict[str, Any]:
    """Train one run with seed 0. The pilot is plain Adam's run at its best lr, for the loss gap's f*."""
    torch.set_num_threads(1)
    kind, task = ARMS[arm], tasks.MAKE[name]()
    data = task.load(Path())
    torch.manual_seed(0)
    model = task.model(data)
    optimizer = (GIAdam if kind == "gi-adam" else Adam)(model.parameters(), lr=lr, betas=(BETA1, beta2))
    rule = Observed(kind, optimizer, beta2) if isinstance(kind, Rule) else None
    cdat = CDAT(optimizer, lr, beta2)
    final, tenth = pilot["train"][-1], pilot["train"][tasks.STEPS // 10 // 32]
    gap = Gap({"gap half": final / 2, "gap 0": min(0.0, final)}.get(str(kind), final), tenth)
    first, finite = measured(task, model, data), True
    for step, batch in enumerate(task.batches(data, task.batch_size, torch.Generator().manual_seed(0))):
        generator = torch.get_rng_state()
        loss = task.loss(model, batch)
        if not (finite := math.isfinite(loss.item())):
            break
        optimizer.zero_grad()
        loss.backward()
        omega = 1.0
        if rule is not None:
            omega = rule.before_step(loss.item())
        elif kind == "cdat":
            omega = cdat.omega(lambda batch=batch: task.loss(model, batch), generator)
        elif kind != "gi-adam":
            omega = gap.omega(loss.item())
        for group in optimizer.param_groups:
            group["lr"] = lr * omega * task.schedule(step, tasks.STEPS)
        optimizer.step()
        if rule is not None:
            rule.after_step()
    end = measured(task, model, data) if finite else math.nan
    key = {"task": name, "lr": lr, "beta2": beta2, "seed": 0, "arm": arm}
    return {**key, "first": rounded(first), "final": rounded(end) if math.isfinite(end) else None}


def half(found: list[Cell]) -> list[Cell]:
    """Half of the rule-making cells: of each task and lr one beta2, in turns."""
    made = [cell for cell in found if not cell.held_out]
    names = sorted({cell.task for cell in made})
    return [c for c in made if (c.rank + (c.beta2 > 0.97) + names.index(c.task)) % 2 == 0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--arms", default=";".join(ARMS))
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    asked = parser.parse_args()
    os.nice(10)
    records = read(RECORDS)
    pilots: dict[str, Any] = {}
    for r in (r for r in records if r["pilot"]):
        if r["task"] not in pilots or loss_of(r) < loss_of(pilots[r["task"]]):
            pilots[r["task"]] = r
    done = {(r["task"], r["lr"], r["beta2"], r["arm"]) for r in (read(asked.out) if asked.out.exists() else [])}
    todo = [(c.task, c.lr, c.beta2, arm) for arm in asked.arms.split(";") for c in half(cells(records))]
    with ProcessPoolExecutor(asked.workers) as pool, asked.out.open("a") as out:
        futures = [pool.submit(run, *key, pilots[key[0]]) for key in todo if key not in done]
        for future in as_completed(futures):
            out.write(json.dumps(future.result()) + "\n")
            out.flush()


if __name__ == "__main__":
    main()
