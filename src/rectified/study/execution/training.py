"""A run under way, as far as what is still to come depends on it."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ...workloads.tasks import Task
from ..config.methods import parse
from ..config.runs import Cell
from ..storage.records import Row
from .checkpoint import CheckpointError
from .gradients import Histogram, histogram
from .provenance import versions

T = TypeVar("T")


class Ranks:
    """The processes that train a run together, as one of them sees it: here there is one. Several are in rank.py.

    All of them take the same steps and decide alike; the first alone reads the clock, evaluates, writes and tells.

    Attributes:
        count: how many they are.
        first: whether this is the one that measures.
    """

    count = 1
    first = True

    def part_ways(self) -> None:
        """After the model was made, alike everywhere, let each draw random numbers of its own."""

    def loss(self, task: Task, model: nn.Module, batch: Any) -> tuple[Tensor, float]:
        """What this one is to differentiate, so that gradients are the whole batch's, and the whole batch's loss."""
        loss = task.loss(model, moved(batch, device_of(model)))
        return loss, loss.item()

    def from_first(self, compute: Callable[[], T]) -> T:
        """What it returns, computed by the first, for which the others wait."""
        return compute()

    def agreed(self, ask: Callable[[], bool]) -> Callable[[], bool]:
        """The same question, answered alike everywhere: as the first answered it when a loss was last shared."""
        return ask

    def gather(self, mine: Tensor) -> Tensor:
        """At the first, what each of them has, for a checkpoint."""
        return mine

    def own(self, gathered: Tensor) -> Tensor:
        """What this one had when it was gathered."""
        return gathered


ALONE = Ranks()


@dataclass
class Training:
    """Model, optimizer, generators and position of a run.

    Attributes:
        order: the state that the data order's generator was in when the epoch under way began.
        step: steps taken.
        losses: of the epoch under way, one a batch: their number is the position in the data.
        rows: of the epochs that are over.
        seconds: spent so far.
        gradients: histograms of the first `recorded` steps'.
        mean: of the weights at the ends of the last epochs, where a task asks for more than one.
        versions: what it runs on; of the commits, all that it has seen.
        ranks: who trains it.
    """

    cell: Cell
    model: nn.Module
    optimizer: torch.optim.Optimizer
    order: Tensor
    versions: dict[str, str]
    ranks: Ranks = ALONE
    step: int = 0
    losses: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0
    mean: dict[str, Tensor] = field(default_factory=dict)
    gradients: list[Histogram] = field(default_factory=list)
    recorded: int = 0

    @classmethod
    def begin(cls, cell: Cell, task: Task, data: Any, device: str = "cpu", ranks: Ranks = ALONE) -> "Training":
        """Before the first step. The same seed gives every method the same initial weights and order of the data."""
        torch.manual_seed(cell.seed)
        model = task.model(data).to(device)
        ranks.part_ways()
        optimizer = parse(cell.method).build(model.parameters(), cell.lr, task.weight_decay)
        order = torch.Generator().manual_seed(cell.seed).get_state()
        several = {"ranks": str(ranks.count)} if ranks.count > 1 else {}
        training = cls(cell, model, optimizer, order, {**versions(device), **several}, ranks)
        training.switch(training=True)
        return training

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.rows) + 1

    @property
    def device(self) -> torch.device:
        """Where it runs."""
        return device_of(self.model)

    def generator(self) -> torch.Generator:
        """Of the order of the data, as it was when the epoch under way began."""
        generator = torch.Generator()
        generator.set_state(self.order)
        return generator

    def take(self, task: Task, batch: Any) -> bool:
        """One step, unless the loss is not finite; whether it was."""
        loss, whole = self.ranks.loss(task, self.model, batch)
        self.losses.append(whole)
        if not math.isfinite(whole):
            return False
        self.optimizer.zero_grad()
        (loss * task.loss_scale).backward()  # type: ignore[no-untyped-call]
        if self.step < self.recorded:
            found = (p.grad for p in self.model.parameters() if p.grad is not None)
            self.gradients.append(histogram(self.step + 1, found, task.loss_scale))
        if task.clip < math.inf:
            nn.utils.clip_grad_norm_(self.model.parameters(), task.clip)
        self._set_lr(task)
        self.optimizer.step()
        self.step += 1
        return True

    def _set_lr(self, task: Task) -> None:
        """By the task's schedule. Where an optimizer sets its own lr, in proportion."""
        steps = self.cell.epochs * task.steps_per_epoch(self.cell.batch_size)
        lr = self.cell.lr * task.schedule(self.step, steps)
        before = self.cell.lr * task.schedule(self.step - 1, steps) if self.step else self.cell.lr
        for group in self.optimizer.param_groups:
            if "lr" in group and group["lr"] != before and before:
                group["lr"] *= lr / before
            elif "lr" in group:
                group["lr"] = lr

    def switch(self, training: bool) -> None:
        """Model and optimizer to training or to evaluation: schedule-free ones have other weights for each."""
        self.model.train(training)
        switch = getattr(self.optimizer, "train" if training else "eval", None)
        if callable(switch):
            switch()

    def average(self, epochs: int) -> None:
        """Have the weights at the end of the epoch under way in their mean over the run's last `epochs`."""
        count = self.epoch - max(0, self.cell.epochs - epochs)
        if epochs > 1 and count > 0:
            for name, weights in self.model.state_dict().items():
                if count == 1 or not weights.is_floating_point():
                    self.mean[name] = weights.clone()
                else:
                    self.mean[name].lerp_(weights, 1 / count)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The model with the mean weights meanwhile, if there are any."""
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
        """What the epoch under way comes to."""
        loss = sum(self.losses) / len(self.losses)
        return {"epoch": self.epoch, "step": self.step, "train_loss": loss, **measured}

    def end_epoch(self, row: Row, order: torch.Generator) -> None:
        """Go on to the next epoch; the generator has given this one's order."""
        self.rows.append(row)
        self.losses, self.order = [], order.get_state()

    def state(self) -> dict[str, Any]:
        """All of it, for a checkpoint: what :meth:`load` makes the same run of, bit for bit."""
        on_device = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None
        return {
            "cell": asdict(self.cell),
            "versions": self.versions,
            "step": self.step,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "rows": self.rows,
            "seconds": self.seconds,
            "mean": self.mean,
            "gradients": [(h.step, h.zeros, h.counts) for h in self.gradients],
            "order": self.order,
            "random": self.ranks.gather(torch.get_rng_state()),
            "random_on_device": None if on_device is None else self.ranks.gather(on_device),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load(self, state: dict[str, Any]) -> None:
        """Become the run that state was taken of.

        Raises:
            CheckpointError: it is of another run, or of versions that may compute otherwise. This one is then unusable.
        """
        if state["cell"] != asdict(self.cell):
            raise CheckpointError(f"its checkpoint is of another run, {Cell(**state['cell'])}")
        then, now = dict(state["versions"]), dict(self.versions)
        commits = [*then.pop("commit", "").split(" then "), now.pop("commit", "")]
        if then != now:
            names = dict.fromkeys([*now, *then])
            pairs = [(name, then.get(name, "none"), now.get(name, "none")) for name in names]
            changed = [f"{name} {before}, now {after}" for name, before, after in pairs if before != after]
            raise CheckpointError(f"its checkpoint is of {'; '.join(changed)}")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"its checkpoint is of another model or optimizer: {error}") from None
        if any(commits):
            self.versions = {**now, "commit": " then ".join(dict.fromkeys(filter(None, commits)))}
        self.step, self.rows, self.seconds = state["step"], state["rows"], state["seconds"]
        self.losses, self.order = state["losses"].tolist(), state["order"]
        self.mean = state["mean"] if self.ranks.first else {}  # whoever measures takes the mean, too
        self.gradients = [Histogram(*values) for values in state["gradients"]]
        torch.set_rng_state(self.ranks.own(state["random"]))
        if state["random_on_device"] is not None:
            torch.cuda.set_rng_state(self.ranks.own(state["random_on_device"]), self.device)


def device_of(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def moved(batch: Any, device: torch.device) -> Any:
    """The batch on the device: a tensor, or a tuple or list of such."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    return type(batch)(moved(part, device) for part in batch)
