"""The parts of the GPU check one after the other, each with a time of its own, and their results in one place.

Run by check.sh. A part that is late is killed; what it had written stays. The exit status is 1 if a test or a run of
the study failed, or a part did not finish.
"""

import argparse
import importlib.util
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import image_training
import small_study
import step_times
import torch

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Part:
    """A command, and the seconds that it may take."""

    name: str
    command: list[str]
    seconds: float
    environment: Mapping[str, str]


def parts(out: Path, cpu: bool) -> list[Part]:
    """The check's parts, whose times add up to less than six minutes."""
    several = ["-n", "4"] if importlib.util.find_spec("xdist") and not cpu else []
    some = ["-k", "(radam and float64) or rectify"] if cpu else []
    pytest = [
        *(sys.executable, "-m", "pytest", "tests/cuda", "-v", "--tb=short", "-W", "default", "-p", "no:cacheprovider"),
        *("-o", "addopts=", f"--junitxml={out / 'tests.xml'}", *several, *some),
    ]
    device = ["--device", "cpu" if cpu else "cuda"]
    small = ["--models", "cnn", "--seconds", "1", "--rounds", "3"] if cpu else []
    short = ["--workers", "2", "--epochs", "1"] if cpu else []
    brief = ["--seconds", "1"] if cpu else []
    return [
        Part("tests", pytest, 120, {"RECTIFIED_TEST_DEVICE": "cpu" if cpu else "cuda"}),
        Part(
            "step_times",
            [sys.executable, str(HERE / "step_times.py"), str(out / "step_times.json"), *device, *small],
            90,
            {},
        ),
        Part(
            "image_training",
            [sys.executable, str(HERE / "image_training.py"), str(out / "image_training.json"), *device, *brief],
            70,
            {},
        ),
        Part("study", [sys.executable, str(HERE / "small_study.py"), str(out / "study.json"), *device, *short], 75, {}),
    ]


def run(part: Part, out: Path) -> dict[str, Any]:
    """Run a part, with its output in a log; how it ended."""
    began = time.monotonic()
    with (out / f"{part.name}.log").open("w") as log:
        process = subprocess.Popen(
            part.command,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, **part.environment},
            start_new_session=True,  # so that its workers can be ended with it
        )
        try:
            status: int | None = process.wait(part.seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = None
    return {"exit_status": status, "late": status is None, "seconds": round(time.monotonic() - began, 1)}


def machine(cpu: bool) -> dict[str, Any]:
    """The card, the versions and the day."""
    found: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda,
        "card": None,
        "driver": None,
        "triton": None,
    }
    try:
        import triton

        found["triton"] = triton.__version__
    except ImportError:
        pass
    if not cpu and torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {"card": properties.name, "memory_GiB": round(properties.total_memory / 2**30, 1)}
        ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        with suppress(OSError, subprocess.SubprocessError):
            found["driver"] = subprocess.run(ask, capture_output=True, text=True, timeout=20).stdout.strip()
    return found


def outcomes(out: Path) -> dict[str, Any]:
    """How many tests passed, failed, were skipped, and which failed and why; from the log if they were not done."""
    xml, log = out / "tests.xml", (out / "tests.log").read_text(errors="replace")
    if not xml.exists():
        words = re.findall(r"\b(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS)\b", log)
        failed = sorted(set(re.findall(r"(?:FAILED|ERROR) (tests/\S+::.+)|(tests/\S+::.+) (?:FAILED|ERROR)", log)))
        return {
            "counts": {w.lower(): words.count(w) for w in sorted(set(words))},
            "failed": {a or b: "" for a, b in failed},
        }
    counts: dict[str, int] = {}
    failed_tests: dict[str, str] = {}
    for case in ET.parse(xml).getroot().iter("testcase"):
        kinds = [child for child in case if child.tag in ("failure", "error", "skipped")]
        kind = {"failure": "failed"}.get(kinds[0].tag, kinds[0].tag) if kinds else "passed"
        if kind == "skipped" and "xfail" in (kinds[0].get("type") or ""):
            kind = "xfailed"
        counts[kind] = counts.get(kind, 0) + 1
        if kind in ("failed", "error"):
            failed_tests[case.get("name", "?")] = (kinds[0].get("message") or "")[:300]
    return {"counts": counts, "failed": failed_tests}


def read(path: Path) -> Any:
    """The JSON, or None where there is none."""
    return json.loads(path.read_text()) if path.exists() else None


def page(results: dict[str, Any]) -> str:
    """The results as Markdown, in short first."""
    here = results["machine"]
    card = here["card"] or "the CPU (a rehearsal)"
    memory = [f"{here['memory_GiB']} GiB"] if here["card"] else []
    names = [name for name in ("driver", "torch", "cuda", "triton", "python") if here[name]]
    versions = ", ".join([*memory, *(f"{name} {here[name]}" for name in names)])
    lines = [
        f"# {card[0].upper()}{card[1:]}",
        "",
        f"{here['date']}; {versions}.",
        f"Made by `{results['command']}`.",
        "",
    ]
    if results.get("step_times"):
        lines += ["## In short", "", step_times.summary(results["step_times"], card)]
    lines += [f"The parts of the check on {card}:", "", "| part | outcome | seconds |", "|---|---|---:|"]
    for name, ended in results["parts"].items():
        word = "stopped, it was late" if ended["late"] else "ok" if ended["exit_status"] == 0 else "failed"
        lines.append(f"| {name} | {word} | {ended['seconds']} |")
    if tests := results.get("tests"):
        counts = ", ".join(f"{n} {kind}" for kind, n in tests["counts"].items())
        lines += ["", "## Tests", "", counts or "none ran"]
        lines += [""] * bool(tests["failed"])
        lines += [f"- {name}: {why.splitlines()[0] if why else ''}" for name, why in tests["failed"].items()]
    if results.get("step_times"):
        lines += ["", "## Step times", "", step_times.tables(results["step_times"], card).rstrip()]
    if results.get("image_training"):
        lines += ["", "## Image training", "", image_training.tables(results["image_training"], card).rstrip()]
    if results.get("study"):
        lines += ["", "## Study", "", small_study.tables(results["study"], card).rstrip()]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the parts and write the results after each."""
    parser = argparse.ArgumentParser(prog="benchmarks/gpu/check.sh")
    parser.add_argument("out", type=Path, help="folder for the results")
    parser.add_argument("--cpu", action="store_true", help="a rehearsal on the CPU, at small sizes")
    given = parser.parse_args()
    if not given.cpu and not torch.cuda.is_available():
        print("no NVIDIA GPU that torch can use; --cpu rehearses the check without one", file=sys.stderr)
        return 2
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for old in ("tests.xml", "step_times.json", "image_training.json", "study.json"):  # of another call
        (out / old).unlink(missing_ok=True)
    command = "benchmarks/gpu/check.sh OUT_DIR" + " --cpu" * given.cpu
    results: dict[str, Any] = {"command": command, "machine": machine(given.cpu), "parts": {}}
    name = "cpu-rehearsal" if given.cpu else re.sub(r"[^a-z0-9]+", "-", results["machine"]["card"].lower()).strip("-")
    for part in parts(out, given.cpu):
        ended = results["parts"][part.name] = run(part, out)
        if part.name == "tests":
            results["tests"] = outcomes(out)
        else:
            results[part.name] = read(out / f"{part.name}.json")
        (out / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / f"{name}.md").write_text(page(results))
        print(f"{part.name}: exit status {ended['exit_status']} after {ended['seconds']} s", flush=True)
    print(page(results))
    return int(any(ended["exit_status"] != 0 for ended in results["parts"].values()))


if __name__ == "__main__":
    raise SystemExit(main())
