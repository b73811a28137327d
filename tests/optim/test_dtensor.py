"""FSDP2 and DDP on two processes (gloo) step as one; FSDP2 on the fused op, with checkpoints for any world size."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from fsdp_worker import METHODS, OTHERS

HERE = Path(__file__).parent

on_cpus = pytest.mark.skipif(
    not hasattr(torch.cpu.Stream, "record_event"), reason="FSDP2 of this torch does not run on a CPU"
)


def torchrun(ranks, *args):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    path = os.pathsep.join([str(HERE.parent), str(HERE), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [*command, str(HERE / "fsdp_worker.py"), *map(str, args)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line for line in done.stdout.splitlines() if line.endswith(": right")] == [
        f"{args[0]} {name}: right" for name in (OTHERS if args[0] == "others" else METHODS)
    ]


@on_cpus
def test_two_processes_take_the_steps_of_one(tmp_path):
    torchrun(2, "train", tmp_path)


@pytest.mark.slow
@on_cpus
def test_four_processes_with_tensor_parallelism_take_the_steps_of_one(tmp_path):
    torchrun(4, "tensor-parallel", tmp_path)


@pytest.mark.slow
@on_cpus
def test_so_it_is_with_the_other_methods(tmp_path):
    torchrun(2, "others", tmp_path)


@pytest.mark.slow
def test_two_replicas_take_the_steps_of_one(tmp_path):
    torchrun(2, "ddp", tmp_path)


@pytest.mark.slow
@on_cpus
def test_saved_on_two_it_goes_on_on_one(tmp_path):
    torchrun(2, "save", tmp_path)
    torchrun(1, "load", tmp_path)


@pytest.mark.slow
@on_cpus
def test_saved_on_one_it_goes_on_on_two(tmp_path):
    torchrun(1, "save", tmp_path)
    torchrun(2, "load", tmp_path)
