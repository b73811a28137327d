"""The complete training state of a run: everything that its remaining steps depend on."""

import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ...workloads.numbers import is_finite
from ..config.runs import Run, RunKey
from ..storage import validation
from ..storage.records import Row
from .checkpoint import CheckpointError
from .first_steps import StepRecord, checked_steps, is_recorded
from .gradients import Histogram, checked_histograms, histogram
from .provenance import versions
from .ranks import ALONE, Ranks, device_of


@dataclass
class Training:
    """The training state of a run: model, optimizer, random generators and position in the data.

    Attributes:
        order: the state of the data order's generator at the start of the current epoch.
        step: the number of steps taken.
        losses: the losses of the current epoch, one per batch; their number is the position in the data.
        rows: one row per finished epoch.
        seconds: the time spent so far.
        steps: loss and omega of single steps, see :mod:`.first_steps`.
        gradients: histograms of the gradients of the first ``recorded`` steps.
        mean: the mean of the weights at the ends of the last epochs, if the task averages several.
        versions: the versions that the run is computed with, including every commit it has seen.
        ranks: the processes that train the run.
    """

    run: Run
    model: nn.Module
    optimizer: torch.optim.Optimizer
    order: Tensor
    versions: dict[str, str]
    ranks: Ranks = ALONE
    step: int = 0
    losses: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    steps: list[StepRecord] = field(default_factory=list)
    mean: dict[str, Tensor] = field(default_factory=dict)
    gradients: list[Histogram] = field(default_factory=list)
    recorded: int = 0
    _omega: Callable[[int], float] | None = None

    @classmethod
    def begin(cls, run: Run, data: Any, device: str = "cpu", ranks: Ranks = ALONE) -> "Training":
        """The state before the first step: a seed gives every method the same initial weights and data order."""
        torch.manual_seed(run.seed)
        model = run.task.model(data).to(device)
        ranks.part_ways()
        optimizer = run.method.build(model.parameters(), run.lr, run.task.weight_decay)
        order = torch.Generator().manual_seed(run.seed).get_state()
        several = {"ranks": str(ranks.count)} if ranks.count > 1 else {}
        training = cls(run, model, optimizer, order, {**versions(device), **several}, ranks)
        training.switch(training=True)
        return training

    @property
    def epoch(self) -> int:
        """The current epoch, from 1."""
        return len(self.rows) + 1

    @property
    def device(self) -> torch.device:
        """The device that the run trains on."""
        return device_of(self.model)

    def generator(self) -> torch.Generator:
        """A generator for the order of the data, in its state at the start of the current epoch."""
        generator = torch.Generator()
        generator.set_state(self.order)
        return generator

    def take(self, batch: Any) -> bool:
        """Take one step unless the loss is not finite; return whether the loss was finite."""
        task = self.run.task
        loss, whole = self.ranks.loss(task, self.model, batch)
        self.losses.append(whole)
        if not is_finite(whole):
            return False
        self.optimizer.zero_grad()
        (loss * task.loss_scale).backward()  # type: ignore[no-untyped-call]
        if self.step < self.recorded:
            found = (p.grad for p in self.model.parameters() if p.grad is not None)
            self.gradients.append(histogram(self.step + 1, found, task.loss_scale))
        if task.clip < math.inf:
            nn.utils.clip_grad_norm_(self.model.parameters(), task.clip)
        lr = self._set_lr()
        if self.run.method.observes:
            self.optimizer.observe_loss(whole)  # type: ignore[attr-defined]  # ours, or rectify's
        self.optimizer.step()
        self.step += 1
        if is_recorded(self.step):
            self.steps.append(StepRecord(self.step, whole, self.omega, lr))
        return True

    def _set_lr(self) -> float:
        """Apply the task's lr schedule, in proportion if the optimizer sets its own lr; return the schedule's lr."""
        run, schedule = self.run, self.run.task.schedule
        lr = run.lr * schedule(self.step, run.steps)
        before = run.lr * schedule(self.step - 1, run.steps) if self.step else run.lr
        for group in self.optimizer.param_groups:
            if "lr" in group and group["lr"] != before and before:
                group["lr"] *= lr / before
            elif "lr" in group:
                group["lr"] = lr
        return lr

    @property
    def omega(self) -> float:
        """The warmup's factor of the last step."""
        if self.run.method.observes:
            return float(self.optimizer.param_groups[0]["omega"])
        if self._omega is None:
            self._omega = self.run.method.omega_function()
        return self._omega(self.step)

    def switch(self, training: bool) -> None:
        """Switch model and optimizer to training or evaluation; schedule-free optimizers use different weights."""
        self.model.train(training)
        switch = getattr(self.optimizer, "train" if training else "eval", None)
        if callable(switch):
            switch()

    def average(self, epochs: int) -> None:
        """Include the weights at the end of the current epoch in their mean over the run's last `epochs`."""
        count = self.epoch - max(0, self.run.epochs - epochs)
        if epochs > 1 and count > 0:
            for name, weights in self.model.state_dict().items():
                if count == 1 or not weights.is_floating_point():
                    self.mean[name] = weights.clone()
                else:
                    self.mean[name].lerp_(weights, 1 / count)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """A context in which the model has the mean weights, if there are any."""
        if not self.mean:
            yield
            return
        own = {name: weights.clone() for name, weights in self.model.state_dict().items()}
        self.model.load_state_dict(self.mean)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def row(self, measured: dict[str, float]) -> Row:
        """The row of the current epoch."""
        loss = sum(self.losses) / len(self.losses)
        return {"epoch": self.epoch, "step": self.step, "train_loss": loss, **measured}

    def end_epoch(self, row: Row, order: torch.Generator) -> None:
        """Move on to the next epoch, given the generator that produced this epoch's order."""
        self.rows.append(row)
        self.losses, self.order = [], order.get_state()

    def state(self) -> dict[str, Any]:
        """The complete state for a checkpoint, from which :meth:`load` restores the run bit for bit."""
        on_device = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {
            "run": self.run.key.as_dict(),
            "versions": self.versions,
            "step": self.step,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "rows": self.rows,
            "seconds": self.seconds,
            "mean": self.mean,
            "steps": torch.tensor([(s.step, s.loss, s.omega, s.lr) for s in self.steps], dtype=torch.float64),
            "gradients": [(h.step, h.zeros, h.counts) for h in self.gradients],
            "order": self.order,
            "random": self.ranks.gather(torch.get_rng_state()),
            "random_on_device": None if on_device is None else self.ranks.gather(on_device),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint.

        Raises:
            CheckpointError: the state belongs to another run or to versions that may compute differently, or is
                invalid. This object is then unusable.
        """
        try:
            self._load(state)
        except CheckpointError:
            raise
        except Exception as error:  # a checkpoint that this program did not write
            raise CheckpointError(f"its checkpoint is not the state of a run: {error!r}") from None

    def _load(self, state: dict[str, Any]) -> None:
        theirs = RunKey(**(state["run"] if "run" in state else state["cell"]))  # its name in earlier versions
        if theirs != self.run.key:
            raise CheckpointError(f"its checkpoint belongs to another run, {theirs}")
        then, now = dict(state["versions"]), dict(self.versions)
        commits = [*then.pop("commit", "").split(" then "), now.pop("commit", "")]
        if then != now:
            names = dict.fromkeys([*now, *then])
            pairs = [(name, then.get(name, "none"), now.get(name, "none")) for name in names]
            changed = [f"{name} {before}, now {after}" for name, before, after in pairs if before != after]
            raise CheckpointError(f"its checkpoint has other versions: {'; '.join(changed)}")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"its checkpoint belongs to another model or optimizer: {error}") from None
        if any(commits):
            self.versions = {**now, "commit": " then ".join(dict.fromkeys(filter(None, commits)))}
        # The digest detects damage, but a stranger's checkpoint may hold anything.
        validation.texts(self.versions, "versions")
        self.rows = validation.rows("\n".join(map(json.dumps, state["rows"])).encode())
        self.step, self.seconds = (
            validation.count(state["step"], "step"),
            validation.seconds(state["seconds"], "seconds"),
        )
        if self.step > self.run.steps or self.epoch > self.run.epochs:
            raise CheckpointError(
                f"its checkpoint is at epoch {self.epoch}, step {self.step}, beyond the end of the run"
            )
        self.losses = state["losses"].tolist()
        if not all(map(is_finite, self.losses)):
            raise CheckpointError("its checkpoint has a loss that is not finite")
        self.order = torch.Generator().set_state(state["order"]).get_state()
        self.mean = state["mean"] if self.ranks.first else {}  # the rank that evaluates also averages
        if self.mean and _shapes(self.mean) != _shapes(self.model.state_dict()):
            raise CheckpointError("its checkpoint has the mean weights of another model")
        self.steps = checked_steps(state.get("steps", torch.empty(0, 4)).tolist())
        self.gradients = checked_histograms([step, zeros, *counts] for step, zeros, counts in state["gradients"])
        torch.set_rng_state(self.ranks.own(state["random"]))
        if state["random_on_device"] is not None:
            torch.cuda.set_rng_state(self.ranks.own(state["random_on_device"]), self.device)


def _shapes(state: dict[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (values.shape, values.dtype) for name, values in state.items()}
