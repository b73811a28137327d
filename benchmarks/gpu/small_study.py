"""A small Fashion-MNIST study on a GPU and the same on the CPU, by the package's own study code, without its CLI.

    PYTHONPATH=src python benchmarks/gpu/small_study.py OUT.json [--device cuda|cpu] [--workers N] [--epochs N]

Three methods x two lrs x two seeds on the 6,000 pictures that the package ships: no network, no tyro. rich, which the
study's progress display imports, has to be there; where it is not, the JSON says that the study was skipped.
"""

import argparse
import importlib.util
import json
import os
import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

NEEDED = ("rich", "numpy", "matplotlib", "jinja2", "tensorboard", "cloudpickle")
METHODS, LRS, SEEDS = ["adam", "radam", "adam+untuned-linear"], [0.003, 0.01], [0, 1]


def study(device: str, workers: int, epochs: int, log: Any) -> dict[str, Any]:
    """Run it; its exit status, its seconds, what its report answers, and each run's end."""
    from rich.console import Console

    from rectified.study import Study
    from rectified.study.executors import LocalExecutor
    from rectified.study.runner import run_study
    from rectified.study.storage.store import Store

    asked = Study("fashion-mnist-mini", METHODS, LRS, SEEDS, epochs=epochs)
    began = time.monotonic()
    with TemporaryDirectory() as folder:
        out = Path(folder) / "study"
        executor = LocalExecutor(workers, ("cuda:0",) if device == "cuda" else ("cpu",))
        status = run_study(asked, out, executor, "benchmarks/gpu/small_study.py", Console(file=log, width=120))
        records = Store.open(out).records()
    runs = [
        {
            "method": record.run.method,
            "lr": record.run.lr,
            "seed": record.run.seed,
            "status": record.status,
            "reason": record.reason,
            "seconds": record.seconds,
            **(record.rows[-1] if record.rows else {}),
        }
        for record in records
    ]
    return {"exit_status": status, "seconds": time.monotonic() - began, "runs": runs}


def tables(found: dict[str, Any], card: str) -> str:
    """The outcome as Markdown: each setting's mean test accuracy on the card and on the CPU beside it."""
    if "skipped" in found:
        return f"Skipped: {found['skipped']}.\n"
    accuracy: dict[tuple[str, float], dict[str, list[float]]] = {}
    for device, one in found["studies"].items():
        for run in one["runs"]:
            of = accuracy.setdefault((run["method"], run["lr"]), {}).setdefault(device, [])
            of += [run["test_accuracy"]] if run["status"] == "done" else []
    devices = list(found["studies"])
    called = {device: "the CPU" if device == "cpu" else card for device in devices}
    lines = [f"Mean test accuracy in % on {' and on '.join(called.values())}:", ""]
    lines.append(f"| method | lr | {' | '.join(called.values())} |")
    lines.append("|---|---:|" + "---:|" * len(devices))
    for (method, lr), by_device in accuracy.items():
        means = [f"{statistics.mean(x):.1f} ({len(x)} runs)" if (x := by_device.get(d)) else "-" for d in devices]
        lines.append(f"| {method} | {lr:g} | {' | '.join(means)} |")
    took = ", ".join(f"{one['seconds']:.1f} s on {called[device]}" for device, one in found["studies"].items())
    failed = {run["reason"] for one in found["studies"].values() for run in one["runs"] if run["status"] == "failed"}
    return "\n".join([*lines, "", f"From start to report: {took}.", *(f"Failed: {why}" for why in failed), ""])


def main() -> int:
    """Run the study on the device, then on the CPU, and write what came out after each; 1 if a run failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--workers", type=int, default=min(4, len(os.sched_getaffinity(0))))
    parser.add_argument("--epochs", type=int, default=2)
    given = parser.parse_args()
    found: dict[str, Any]
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        found = {"skipped": f"the study's code needs {', '.join(missing)}, which this Python does not have"}
        given.out.write_text(json.dumps(found, indent=1))
        print(tables(found, given.device))
        return 0
    found = {"studies": {}}
    with Path(os.devnull).open("w") as log:
        for device in dict.fromkeys((given.device, "cpu")):
            found["studies"][device] = study(device, given.workers, given.epochs, log)
            given.out.write_text(json.dumps(found, indent=1))
    print(tables(found, given.device))
    return max(one["exit_status"] for one in found["studies"].values())


if __name__ == "__main__":
    raise SystemExit(main())
