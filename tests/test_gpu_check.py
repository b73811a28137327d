"""The GPU check, rehearsed on the CPU: all of its parts run, and its results are where and what they should be."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_a_rehearsal_runs_every_part(tmp_path):
    out = tmp_path / "out"
    environment = {**os.environ, "PYTHON": sys.executable}
    command = [str(ROOT / "benchmarks/gpu/check.sh"), str(out), "--cpu"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads((out / "cpu-rehearsal.json").read_text())
    assert {name: part["exit_status"] for name, part in found["parts"].items()} == dict.fromkeys(
        ("tests", "step_times", "image_training", "study"), 0
    )
    assert found["tests"]["counts"]["passed"] > 50
    assert found["tests"]["failed"] == {}
    cnn = found["step_times"]["models"]["cnn"]
    assert cnn["failed"] == {}
    for name in ("rectified RAdam", "torch RAdam foreach", "torch AdamW bf16 fused"):
        assert cnn["entries"][name]["device_us"] > 0
        assert cnn["entries"][name]["of_copy"] > 0
    runs = found["study"]["studies"]["cpu"]["runs"]
    assert len(runs) == 12
    assert all(run["status"] == "done" and run["test_accuracy"] > 5 for run in runs)
    page = (out / "cpu-rehearsal.md").read_text()
    assert all(
        title in page
        for title in ("## In short", "## Tests", "## Step times", "### cnn", "## Image training", "## Study")
    )
    files = [path.name for path in out.iterdir()]
    assert len(files) <= 10
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in files)


def test_without_a_gpu_it_says_so(tmp_path):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    command = [str(ROOT / "benchmarks/gpu/check.sh"), str(tmp_path / "out")]
    done = subprocess.run(command, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--cpu" in done.stderr
    assert not (tmp_path / "out").exists()
