"""Studies from scripts as people write them: no guard around the call, a task and a method of the script's own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rectified

NO_GUARD = """
from rectified.study import Study

print("the script begins")
study = Study("fashion-mnist-mini", ["adam", "radam"], 0.01, [0, 1], epochs=1, batch_sizes=500)
results = study.run("study", workers=2)
print("statuses:", [record.status for record in results.records])
"""

# Everything that a run needs of the user's is defined in __main__: model, data, loss, measure, warmup, optimizer.
OWN = """
import json
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console
from rectified import Adam
from rectified.study import Method, Study, Task
from rectified.study.execution.execute import execute
from rectified.study.executors import LocalExecutor
from rectified.study.runner import run_study
from rectified.warmup import Warmup

LINE = torch.linspace(-1, 1, 60).unsqueeze(1)

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = torch.nn.Linear(1, 8), torch.nn.Linear(8, 1)

    def forward(self, x):
        return self.out(torch.tanh(self.hidden(x)))

def squares(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()

@dataclass(frozen=True)
class Halfway(Warmup):
    steps: int

    def omega(self, t, beta2):
        return 0.5 if t <= self.steps else 1.0

class Signed(torch.optim.SGD):
    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.sign_()
        super().step(closure)

DATA = (LINE, torch.sin(3 * LINE))
TASK = Task("sine", model=Net, train=DATA, loss=squares, batch_size=10,
            evaluate=lambda model: {"error": float(squares(model, DATA))}, larger_is_better=False, margin=0.01)
METHODS = [Method("halfway", Adam, warmup=Halfway(4)), Method("signed", Signed)]
STUDY = Study(TASK, METHODS, 0.01, 0, epochs=2)
print("the script begins")
%s
for run in STUDY.runs():
    list(execute(run, TASK.load(TASK.find(None, print)), Path("alone", run.method.name)))
    (folder,) = Path("study/runs").glob(f"{run.method.name}-*")
    for name in ("rows.jsonl", "steps.csv"):
        assert (folder / name).read_bytes() == (Path("alone", run.method.name) / name).read_bytes()
steps = Path("alone/halfway/steps.csv").read_text().splitlines()[1:]
print("omegas:", [float(step.split(",")[2]) for step in steps][:6])
print("statuses:", [json.loads(path.read_text())["status"] for path in Path("study/runs").glob("*/done.json")])
"""

RANKS = 'run_study(STUDY, Path("study"), LocalExecutor(1, ranks=2), "this script", Console())'


def python(*arguments, folder):
    """What a script printed."""
    environment = {**os.environ, "PYTHONPATH": str(Path(rectified.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=folder, env=environment, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_a_script_without_a_guard_runs_once_and_has_its_results(tmp_path):
    (tmp_path / "compare.py").write_text(NO_GUARD)
    said = python("compare.py", folder=tmp_path)
    assert said.count("the script begins") == 1, "no worker runs it again"
    assert "statuses: ['done', 'done', 'done', 'done']" in said
    assert "[4/4]" in said
    assert len(list((tmp_path / "study" / "runs").iterdir())) == 4


@pytest.mark.slow
def test_a_task_and_methods_of_a_scripts_own_are_trained_by_the_workers_as_by_the_script(tmp_path):
    """As typed at a prompt too, where there is no file that a worker could import."""
    said = python("-c", OWN % 'STUDY.run("study", workers=2)', folder=tmp_path)
    assert said.count("the script begins") == 1
    assert "omegas: [0.5, 0.5, 0.5, 0.5, 1.0, 1.0]" in said
    assert "statuses: ['done', 'done']" in said


@pytest.mark.slow
def test_so_they_are_on_a_ray_cluster(tmp_path):
    pytest.importorskip("ray")
    (tmp_path / "compare.py").write_text(OWN % 'STUDY.run("study", workers=2, executor="ray")')
    said = python("compare.py", folder=tmp_path)
    assert said.count("the script begins") == 1
    assert "statuses: ['done', 'done']" in said


@pytest.mark.slow
def test_so_they_are_by_several_ranks(tmp_path):
    """To round-off, which is not compared here."""
    lines = (OWN % RANKS).splitlines()
    text = "\n".join(line for line in lines if "read_bytes" not in line and "for name in" not in line)
    (tmp_path / "compare.py").write_text(text)
    said = python("compare.py", folder=tmp_path)
    assert said.count("the script begins") == 1
    assert "statuses: ['done', 'done']" in said
