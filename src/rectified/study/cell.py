"""One run: a model trained by one method at one lr from one seed, its folder written as it goes."""

import json
import math
import platform
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from .methods import Method, parse
from .plan import Cell
from .store import Row, write_json
from .tasks import parse_task

Report = Callable[[Row], None]


def run(cell: Cell, data: Any, folder: Path, attempt: int = 1, on_row: Report = lambda row: None) -> str:
    """Train; returns the status, ``"done"`` or ``"diverged"``.

    The same seed gives every method the same initial weights and the same order of the data.

    Args:
        cell: what to run.
        data: what the task's ``load`` returned.
        folder: an empty folder; done.json is written into it last.
        attempt: counts from 1, for done.json.
        on_row: called with each epoch's row.
    """
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and only runs need it

    began = time.perf_counter()
    task, method = parse_task(cell.task), parse(cell.method)
    write_json(folder / "config.json", {"cell": asdict(cell), "versions": versions(), "command": cell.command})
    torch.manual_seed(cell.seed)
    model = task.model()
    optimizer = method.build(model.parameters(), cell.lr)
    order = torch.Generator().manual_seed(cell.seed)
    step, status = 0, "done"
    with closing(SummaryWriter(str(folder))) as board, (folder / "rows.jsonl").open("w") as rows:
        for epoch in range(1, cell.epochs + 1):
            losses = []
            model.train()
            for batch in task.batches(data, cell.batch_size, order):
                loss = task.loss(model, batch)
                losses.append(loss.item())
                if not math.isfinite(losses[-1]):
                    break
                optimizer.zero_grad()
                (loss * task.loss_scale).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                step += 1
            model.eval()
            with torch.inference_mode():
                measured = task.evaluate(model, data)
            row = {"epoch": epoch, "step": step, "train_loss": sum(losses) / len(losses), **measured}
            if not all(math.isfinite(value) for value in row.values()):
                status = "diverged"
                break
            rows.write(json.dumps(row) + "\n")
            rows.flush()
            _draw(board, row, method, model)
            on_row(row)
        _label(board, cell, row, task.metric)
    done = {"status": status, "step": step, "seconds": time.perf_counter() - began, "attempts": attempt}
    write_json(folder / "done.json", {**done, **circumstances()})
    return status


def _draw(board: Any, row: Row, method: Method, model: torch.nn.Module) -> None:
    step = int(row["step"])
    for name, value in row.items():
        if name not in ("epoch", "step"):
            board.add_scalar(name, value, step)
    board.add_scalar("omega", method.omega(step), step)
    for name, weights in model.named_parameters():
        board.add_histogram(name, weights.detach(), step)


def _label(board: Any, cell: Cell, row: Row, metric: str) -> None:
    """What TensorBoard's HPARAMS page needs to tell the runs apart."""
    from torch.utils.tensorboard.summary import hparams

    values = {"method": cell.method, "lr": cell.lr, "seed": cell.seed}
    for summary in hparams(values, {metric: row.get(metric, math.nan)}):  # type: ignore[no-untyped-call]
        board.file_writer.add_summary(summary)


def circumstances() -> dict[str, Any]:
    """What a repetition would not reproduce, for done.json: when, where and on what it ended."""
    return {
        "ended": datetime.now(UTC).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "versions": versions(),
    }


@cache
def versions() -> dict[str, str]:
    """What a run ran on, for its configuration: packages, and the commit of this source tree if it is in one."""
    found = {"rectified": __version__, "torch": torch.__version__, "python": platform.python_version()}
    here = Path(__file__).parent
    git = ["git", "-C", str(here)]
    try:
        subprocess.run([*git, "ls-files", "--error-unmatch", __file__], check=True, capture_output=True, timeout=10)
        commit = subprocess.run(
            [*git, "describe", "--always", "--dirty", "--abbrev=12"],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return found
    return {**found, "commit": commit.stdout.strip()}
