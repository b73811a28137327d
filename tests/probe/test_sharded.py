"""A Probe under FSDP2 and DDP on two processes (gloo) sees what it sees of the whole model, and changes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sharded_worker import OPTIMIZERS

HERE = Path(__file__).parent

ON_CPUS = hasattr(torch.cpu.Stream, "record_event")  # else FSDP2 of this torch does not run on a CPU


@pytest.mark.slow
def test_two_processes_see_what_one_sees_and_train_as_without_a_probe():
    kinds = ["fsdp", "hsdp", "ddp"] if ON_CPUS else ["ddp"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*command, str(HERE / "sharded_worker.py"), *kinds],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found = [line for line in done.stdout.splitlines() if line.endswith(": right")]
    assert found == [f"{kind} {name}: right" for name in OPTIMIZERS for kind in kinds]
