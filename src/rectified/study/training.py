"""A run under way, as far as what is still to come depends on it."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from .checkpoint import CheckpointError
from .methods import parse
from .plan import Cell
from .store import Row
from .tasks import Task


@dataclass
class Training:
    """Model, optimizer, generators and position of a run.

    Attributes:
        order: the state that the data order's generator was in when the epoch under way began.
        step: steps taken.
        losses: of the epoch under way, one a batch: their number is the position in the data.
        rows: of the epochs that are over.
        seconds: spent so far.
        versions: what it runs on; of the commits, all that it has seen.
    """

    cell: Cell
    model: torch.nn.Module
    optimizer: torch.optim.Optimizer
    order: Tensor
    versions: dict[str, str]
    step: int = 0
    losses: list[float] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    seconds: float = 0.0

    @classmethod
    def begin(cls, cell: Cell, task: Task, versions: dict[str, str]) -> "Training":
        """Before the first step. The same seed gives every method the same initial weights and order of the data."""
        torch.manual_seed(cell.seed)
        model = task.model()
        optimizer = parse(cell.method).build(model.parameters(), cell.lr)
        return cls(cell, model, optimizer, torch.Generator().manual_seed(cell.seed).get_state(), versions)

    @property
    def epoch(self) -> int:
        """The epoch under way, from 1."""
        return len(self.rows) + 1

    def generator(self) -> torch.Generator:
        """Of the order of the data, as it was when the epoch under way began."""
        generator = torch.Generator()
        generator.set_state(self.order)
        return generator

    def take(self, task: Task, batch: Any) -> bool:
        """One step, unless the loss is not finite; whether it was."""
        loss = task.loss(self.model, batch)
        self.losses.append(loss.item())
        if not math.isfinite(self.losses[-1]):
            return False
        self.optimizer.zero_grad()
        (loss * task.loss_scale).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        return True

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
        return {
            "cell": asdict(self.cell),
            "versions": self.versions,
            "step": self.step,
            "losses": torch.tensor(self.losses, dtype=torch.float64),
            "rows": self.rows,
            "seconds": self.seconds,
            "order": self.order,
            "random": torch.get_rng_state(),
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
            changed = [f"{name} {then.get(name)}, now {now.get(name)}" for name in now if then.get(name) != now[name]]
            raise CheckpointError(f"its checkpoint is of {'; '.join(changed) or 'something else'}")
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(f"its checkpoint is of another model or optimizer: {error}") from None
        if any(commits):
            self.versions = {**now, "commit": " then ".join(dict.fromkeys(filter(None, commits)))}
        self.step, self.rows, self.seconds = state["step"], state["rows"], state["seconds"]
        self.losses, self.order = state["losses"].tolist(), state["order"]
        torch.set_rng_state(state["random"])
