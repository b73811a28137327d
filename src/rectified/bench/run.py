"""Running the benchmark: workers measure entries in turn, and results are printed and written."""

import json
import os
import platform
import random
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from ..files import write
from .entries import BASE, BY_NAME, ENTRIES
from .models import MODELS
from .ratios import Measured, Outcome, Results
from .tables import markdown, show
from .worker import Worker

# Rounds per model, and the number of parameters above which no cache holds a step's tensors. There the placement of
# pages changes a block's time by about 10 %, which many rounds average out, so entries close to the base get additional
# short rounds.
_ROUNDS = {"cnn": 60, "resnet20": 40, "vit-s16": 10, "resnet50": 10, "gpt2": 6, "gpt2-medium": 4}
_UNCACHED = 10_000_000
_SHORT, _NEAR = 5, 2.0  # short rounds per full one, for peers' entries up to this many times slower than the base
_SPARE, _FAR = 3, 8.0  # entries more than this many times slower take part in every third full round only
_BLOCK_SECONDS = 0.1  # of the base's steps in a block, which has 3 to 50 steps


@dataclass(frozen=True)
class BenchSettings:
    """What the benchmark measures, and where.

    Args:
        models, entries: names in :data:`MODELS` and of :data:`ENTRIES`; the base is always included.
        rounds: multiplies the number of rounds.
        pythons: interpreters whose environments are measured; earlier ones have priority for an entry.
    """

    models: tuple[str, ...]
    entries: tuple[str, ...]
    device: str
    threads: int
    pythons: tuple[str, ...]
    rounds: float = 1.0


@contextmanager
def _workers(settings: BenchSettings, model: str | None = None) -> Iterator[dict[str, Worker]]:
    """Start a worker in each environment, for one model."""
    shared = {"device": settings.device, "threads": settings.threads, "model": model}
    with ExitStack() as stack:
        workers = {}
        for python in settings.pythons:
            workers[python] = Worker(python, shared)
            stack.callback(workers[python].end)
        yield workers


def run_bench(settings: BenchSettings, command: str, out: Path | None, console: Console) -> int:
    """Run the benchmark, print its tables and write its files; return the exit status.

    Each model's results are written as soon as they are available.

    Raises:
        ValueError: an interpreter cannot run the worker.
    """
    places, versions, absent = _who(settings)
    results = Results(command, _machine(settings), settings.device, versions, absent)
    for name in settings.models:
        if why := _too_large(name, settings.device):
            console.print(f"{name}: left out; {why}", soft_wrap=True)
            continue
        results.outcomes.append(_measure(name, settings, places, console))
        if out is not None:
            _write(results, out)
    if not results.outcomes:
        return 1
    show(results, console)
    if out is not None:
        console.print(f"bench: {out / 'bench.json'}, bench.md, bench.svg", soft_wrap=True)
    return 0


def _who(settings: BenchSettings) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """The interpreter that has each entry, the versions of packages, and why other entries are absent."""
    places: dict[str, str] = {}
    versions: dict[str, str] = {}
    absent: dict[str, str] = {}
    with _workers(settings) as workers:
        for python, worker in workers.items():
            try:
                found = worker.ask("entries")
            except RuntimeError as error:
                raise ValueError(f"{python} cannot take part: {error}") from None
            versions = {**found["versions"], **versions}
            for name, why in found["absent"].items():
                if name in settings.entries and why is None:
                    places.setdefault(name, python)
                elif name in settings.entries:
                    absent.setdefault(name, why)
    return places, versions, {name: why for name, why in absent.items() if name not in places}


def _measure(model: str, settings: BenchSettings, places: dict[str, str], console: Console) -> Outcome:
    """Measure every entry on one model, round by round."""
    shapes = MODELS[model]()
    size = sum(torch.Size(shape).numel() for shape in shapes)
    rounds = max(2, round(_ROUNDS[model] * settings.rounds))
    cold = 3 if size < _UNCACHED else 0
    outcome = Outcome(model, size, len(shapes), 0, {}, [], {})
    short = 0 if cold else _SHORT
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:.0f} %"),
        TimeRemainingColumn(),
    )
    with _workers(settings, model) as workers, Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(f"{outcome.title}: memory", total=len(places) * (rounds + 1))
        for name, python in places.items():  # this also warms up each entry and compiles those that compile
            try:
                outcome.entries[name] = Measured(**workers[python].ask("memory", entry=name))
            except RuntimeError as error:
                outcome.failed[name] = str(error)
                progress.update(task, total=(progress.tasks[0].total or 0) - rounds)
            progress.advance(task)
        once = workers[places[BASE.name]].ask("block", entry=BASE.name, steps=3, cold=0)["warm"]
        outcome.steps = min(50, max(3, round(_BLOCK_SECONDS / once)))
        for done in range(rounds * (1 + short)):
            full, rest = divmod(done, 1 + short)
            outcome.bandwidth.append(workers[places[BASE.name]].ask("bandwidth"))
            for name in _turn(outcome, full, bool(rest)):
                progress.update(task, description=f"{outcome.title}: round {full + 1} of {rounds}, {name}")
                try:
                    found = workers[places[name]].ask("block", entry=name, steps=outcome.steps, cold=cold)
                except RuntimeError as error:
                    outcome.failed[name] = str(error)
                    del outcome.entries[name]
                    continue
                outcome.entries[name].warm[done] = found["warm"]
                outcome.entries[name].cold[done] = found["cold"]
            progress.update(task, completed=len(places) * (1 + (done + 1) / (1 + short)))
    more = f" and {rounds * short} short rounds" if short else ""
    console.print(f"{outcome.title}: {rounds} rounds of {len(outcome.entries)} entries{more}", soft_wrap=True)
    return outcome


def _turn(outcome: Outcome, full: int, short: bool) -> list[str]:
    """The entries of a round, in a random order, so that no entry always follows the same one."""
    names = []
    for name in outcome.entries:
        ratio = outcome.ratio(name)
        if short:
            takes_part = ratio is not None and BY_NAME[name].kind != "ours" and ratio.median < _NEAR
        else:
            takes_part = ratio is None or ratio.median < _FAR or full % _SPARE == 0
        if takes_part or name == BASE.name:
            names.append(name)
    random.Random(f"{outcome.model} {full} {short} {len(outcome.bandwidth)}").shuffle(names)
    return names


def _too_large(model: str, device: str) -> str | None:
    """Why a model cannot be measured here; None if it can."""
    need = (
        4 * 12 * sum(torch.Size(shape).numel() for shape in MODELS[model]())
    )  # states and temporaries of the largest entry
    if device == "cuda":
        free = torch.cuda.mem_get_info()[0]
    elif "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:  # the system does not report it
        return None
    return f"it may need {need / 2**30:.1f} GiB, but only {free / 2**30:.1f} GiB are free" if need > free else None


def _machine(settings: BenchSettings) -> str:
    """The machine and the interpreter on one line."""
    if settings.device == "cuda":
        where = torch.cuda.get_device_name()
    else:
        info = Path("/proc/cpuinfo")
        lines = info.read_text().splitlines() if info.exists() else []
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
        where = f"{cpu}, {settings.threads} threads"
    return f"{where}, Python {platform.python_version()}"


def _write(results: Results, out: Path) -> None:
    from .picture import picture  # imports matplotlib, which other commands do not need

    out.mkdir(parents=True, exist_ok=True)
    write(out / "bench.json", json.dumps(results.plain(), indent=1))
    write(out / "bench.md", markdown(results))
    write(out / "bench.svg", picture(results))


def choose(
    models: str | None,
    methods: str | None,
    rounds: float,
    device: str | None,
    threads: int | None,
    also: Sequence[str],
) -> BenchSettings:
    """Make settings from comma-separated lists as on a command line; None means the default.

    Raises:
        ValueError: a name is unknown or a number is out of range; the message lists the alternatives.
    """
    chosen = tuple(MODELS) if models is None else tuple(part.strip() for part in models.split(",") if part.strip())
    if unknown := [name for name in chosen if name not in MODELS]:
        raise ValueError(f"--models has {unknown[0]!r}; there are {', '.join(MODELS)}")
    parts = [""] if methods is None else [part.strip().lower() for part in methods.split(",") if part.strip()]
    for part in parts:
        if not any(part in entry.name.lower() for entry in ENTRIES):
            raise ValueError(f"--methods has {part!r}; there are {'; '.join(entry.name for entry in ENTRIES)}")
    if not 0 < rounds <= 100:
        raise ValueError(f"--rounds is {rounds:g}; it must be above 0 and at most 100")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
        raise ValueError(
            f"--device is {device!r}; it must be cpu" + (" or cuda" if torch.cuda.is_available() else " here")
        )
    if threads is not None and threads < 1:
        raise ValueError(f"--threads is {threads}; it must be at least 1")
    for python in also:
        if shutil.which(python) is None:
            raise ValueError(f"--also {python}: no such interpreter")
    return BenchSettings(
        models=chosen,
        entries=tuple(e.name for e in ENTRIES if e is BASE or any(part in e.name.lower() for part in parts)),
        device=device,
        threads=threads or torch.get_num_threads(),
        rounds=rounds,
        pythons=(sys.executable, *also),
    )
