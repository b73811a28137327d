"""`rectified probe`: from a user's task to a verdict, a trial and files; wrong calls are one line."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import rectified
from rectified import cli
from rectified.cli.init import template
from rectified.cli.probe_command import RunMaker
from rectified.study.config.study import Study
from rectified.workloads.tasks import parse_task

SOURCES = str(Path(rectified.__file__).parents[1])
TASK = """
import torch
from torch import nn
from rectified.study import Task

generator = torch.Generator().manual_seed(0)
x = torch.randn(200, 4, generator=generator)
y = (x.sum(1) > 0).long()
calls = 0

def loss(model, batch):
    global calls
    calls += 1
    {loss}
    return nn.functional.cross_entropy(model(batch[0]), batch[1])

def evaluate(model):
    {evaluate}
    logits = model(x)
    right = 100 * float((logits.argmax(1) == y).float().mean())
    return {measured}

task = Task("tiny", model=lambda: nn.Linear(4, 2), train=(x, y), loss=loss, evaluate=evaluate, metric="{metric}",
            larger_is_better={larger}, margin=1.0, batch_size=20, methods="adam,radam", lrs=[0.01, 0.1, 1.0],
            seeds=[0], epochs=5, {options})
"""
QUICK = ["--steps", "12", "--seeds", "0,1"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("tiny", None)


def task(loss="pass", evaluate="pass", measured='{"accuracy": right}', metric="accuracy", larger=True, options=""):
    Path("tiny.py").write_text(
        TASK.format(loss=loss, evaluate=evaluate, measured=measured, metric=metric, larger=larger, options=options)
    )


def probe(*args):
    return cli.main(["probe", "tiny.py", *args])


def test_the_text_has_verdict_trial_and_advice(capsys):
    task()
    assert probe(*QUICK) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert re.match("warmup (needed|not needed|cannot tell): ", lines[0])
    arms = [line.split("  ")[0] for line in lines if "−accuracy" in line]
    assert arms == ["as is", "warmup 8%", "warmup 17%", "warmup 83%", "lr / 3", "clipped to 1"]
    assert any(re.fullmatch(r"144 steps, \d+ s, 2 seeds", line) for line in lines)
    assert lines[-1].startswith("Change in your script: ")


def test_the_template_of_init_runs(capsys):
    Path("tiny.py").write_text(template("plain").replace("{file}", "tiny.py"))
    assert probe(*QUICK, "--lr", "0.03") == 0
    said = capsys.readouterr().out
    assert "valid_loss" in said
    assert "Change in your script: " in said


def test_json_is_all_that_stdout_holds(capsys):
    task()
    assert probe(*QUICK, "--json", "--out", "out") == 0
    content = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert content == json.loads(Path("out/probe.json").read_text())
    assert content["verdict"]["answer"] in ("needed", "not needed", "cannot tell")
    assert content["signals"][0]["step"] == 1
    assert content["signals"][0]["lr"] == pytest.approx(0.1), "the middle one of the task's"
    assert [len(arm["losses"]) for arm in content["trial"]["arms"]] == [2] * 6
    assert content["trial"]["steps"] == 12 * 2 * 6


def test_the_files(capsys):
    task(options="title='A <b>small</b> task'")
    assert probe(*QUICK, "--out", "a/b", "--lr", "0.5", "--method", "adamw") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "page: a/b/probe.html"
    assert sorted(p.name for p in Path("a/b").iterdir()) == ["probe.html", "probe.json", "signals.csv", "tensorboard"]
    page = Path("a/b/probe.html").read_text()
    assert "A &lt;b&gt;small&lt;/b&gt; task, adamw at lr 0.5: does this run need a warmup?" in page
    assert "rectified probe tiny.py --steps 12 --seeds 0,1 --out a/b --lr 0.5 --method adamw" in page
    assert ">weight<" in page, "tensors have their names"


def test_without_a_trial_only_one_run_is_watched(capsys):
    task(loss="assert calls < 30, 'another run'")  # 12 steps with a second loss each, and one before
    assert probe("--steps", "12", "--no-trial", "--json", "--seeds", "3") == 0
    content = json.loads(capsys.readouterr().out)
    assert content["trial"] is None
    assert content["signals"][-1]["step"] == 11


def test_the_watched_run_is_that_of_a_study(capsys):
    """The first loss is that of the study's weights and first batch, the size that of its first step."""
    task()
    assert probe("--steps", "12", "--no-trial", "--json", "--seeds", "3", "--method", "radam", "--lr", "0.2") == 0
    (first, *_) = json.loads(capsys.readouterr().out)["signals"]
    (run,) = Study(parse_task("tiny.py"), "radam", 0.2, 3).runs()
    from rectified.study.execution.training import Training

    training = Training.begin(run, run.task.load(Path()))
    batch = next(run.task.batches(run.task.load(Path()), run.batch_size, training.generator()))
    before = [p.detach().clone() for p in training.model.parameters()]
    training.take(batch)
    moved = torch.cat([(p.detach() - b).flatten() for p, b in zip(training.model.parameters(), before, strict=True)])
    after = torch.cat([p.detach().flatten() for p in training.model.parameters()])
    assert first["loss"] == pytest.approx(training.losses[0], rel=1e-6)
    assert first["size"] == pytest.approx(float(moved.norm() / after.norm()), rel=1e-4)


def test_schedule_clip_and_loss_scale_are_those_of_the_task():
    task(options="schedule=lambda step, steps: 1 - step / steps, clip=0.5")
    (run,) = Study(parse_task("tiny.py"), "adam", 0.2, 0).runs()
    made = RunMaker(run, run.task.load(Path()), "cpu", run.steps)(0)
    assert made.clip == 0.5
    lrs = []
    for _ in range(run.steps + 2):
        lrs.append(made.optimizer.param_groups[0]["lr"])
        made.optimizer.step()
        made.scheduler.step()
    expected = [0.2 * (1 - min(step, run.steps - 1) / run.steps) for step in range(run.steps + 2)]
    assert lrs == pytest.approx(expected)
    scaled = parse_task("fashion-mnist-mini(loss_scale=1e3)")
    (run,) = Study(scaled, "adam", 0.01, 0).runs()
    plain = RunMaker(
        Study("fashion-mnist-mini", "adam", 0.01, 0).runs()[0], scaled.load(scaled.find(None, print)), "cpu", 20
    )
    thousand = RunMaker(run, plain.data, "cpu", 20)
    losses = [made.loss(made.model, next(iter(made.batches))).item() for made in (plain(0), thousand(0))]
    assert losses[1] == pytest.approx(1e3 * losses[0])


def test_lengths_of_my_own(capsys):
    task()
    assert probe(*QUICK, "--lengths", "3,5", "--json") == 0
    arms = json.loads(capsys.readouterr().out)["trial"]["arms"]
    assert [arm["warmup"] for arm in arms if arm["warmup"]] == [3, 5]


@pytest.mark.parametrize(
    ("measured", "metric", "larger", "measure", "sign"),
    [
        ('{"accuracy": right}', "accuracy", True, "−accuracy", -1),
        ('{"error": 100 - right}', "error", False, "error", 1),
        ('{"accuracy": right, "valid_loss": 3.0}', "accuracy", True, "valid_loss", 1),
        ('{"negative_loss": right}', "negative_loss", True, "−negative_loss", -1),
    ],
)
def test_what_is_better_is_smaller(measured, metric, larger, measure, sign, capsys):
    task(measured=measured, metric=metric, larger=larger)
    assert probe(*QUICK, "--json") == 0
    trial = json.loads(capsys.readouterr().out)["trial"]
    assert trial["measure"] == measure
    for arm in trial["arms"]:
        assert all(sign * loss >= 0 for loss in arm["losses"])


def test_an_lr_that_is_too_small_loses_whichever_direction_the_metric_has(capsys):
    for measured, metric, larger in (
        ('{"accuracy": right}', "accuracy", True),
        ('{"error": 100 - right}', "error", False),
    ):
        task(measured=measured, metric=metric, larger=larger)
        assert probe("--steps", "40", "--seeds", "0,1,2,3", "--lr", "0.03", "--json") == 0
        arms = json.loads(capsys.readouterr().out)["trial"]["arms"]
        (third,) = (arm for arm in arms if arm["name"] == "lr / 3")
        assert third["difference"]["mean"] > 0
        sys.modules.pop("tiny", None)


def test_a_built_in_task(capsys):
    assert (
        cli.main(["probe", "fashion-mnist-mini", "--steps", "9", "--seeds", "0", "--lr", "0.01", "--lengths", "4"]) == 0
    )
    said = capsys.readouterr().out
    assert "test_loss" in said
    assert "1 seed\n" in said
    assert "bear out" not in said, "one seed shows nothing"


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--steps", "3"], "--steps is 3: it must be 8 or more"),
        (["--lengths", "500"], "--lengths is 500: each must be between 1 and the 200 steps"),
        (["--lengths", "0"], "--lengths is 0: each must be between"),
        (["--lengths", "a"], "--lengths is a: it must be whole numbers separated by commas"),
        (["--seeds", "x"], "--seeds is x: it must be whole numbers separated by commas"),
        (["--seeds", "1,1"], "--seeds is 1: it appears twice"),
        (["--seeds", ""], "--seeds is empty: give at least one"),
        (["--seeds", "99999999999999999999"], "--seeds is 99999999999999999999: it must be from"),
        (["--lr", "0"], "--lr is 0.0: a learning rate must be a positive number"),
        (["--lr", "nan"], "--lr is nan: a learning rate must be a positive number"),
        (["--method", "sgd"], "--method is sgd: a probe reads Adam's moments, exp_avg and exp_avg_sq, and SGD has no"),
        (["--method", "torch.optim.Adamax"], "--method is torch.optim.Adamax: a probe reads Adam's moments"),
        (["--method", "nonsense"], "--method is nonsense: unknown method 'nonsense'"),
        (["--device", "tpu"], "--device is tpu: it must be cpu or cuda"),
        (["--out", "tiny.py/x"], "tiny.py"),
        (["--data", "."], "task tiny has its own data"),
    ],
)
def test_wrong_values_are_one_line_and_nothing_is_trained(args, says, capsys):
    task(loss="assert calls < 2, 'trained'")
    assert probe(*args) == 2
    said, error = capsys.readouterr()
    assert said == ""
    assert error.count("\n") == 1
    assert says in error
    assert "trained" not in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_cuda_without_a_gpu_is_one_line(capsys):
    task()
    assert probe("--device", "cuda") == 2
    assert capsys.readouterr().err == "rectified: --device is cuda: torch finds no GPU here\n"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("absent.py", "there is no file absent.py"),
        ("tiny.py:absent", "there is no absent in it"),
        ("no-such-task", "unknown task 'no-such-task'"),
    ],
)
def test_a_task_that_is_not_there_is_one_line(name, says, capsys):
    task()
    assert cli.main(["probe", name]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


@pytest.mark.parametrize("trial", [[], ["--no-trial"]])
@pytest.mark.parametrize(
    ("broken", "says"),
    [
        ({"loss": "1 / 0"}, "task tiny does not run: tiny.py, line 14: ZeroDivisionError: division by zero"),
        ({"loss": "if calls > 5: 1 / 0"}, "task 'tiny' does not run: tiny.py, line 14: ZeroDivisionError"),
        ({"loss": "if calls > 5: raise SystemExit(3)"}, "task 'tiny' does not run: tiny.py, line 14: SystemExit: 3"),
        (
            {"loss": "if calls > 5: return 3.0"},
            "task 'tiny' does not run: loss returned a float; it must return a tensor",
        ),
    ],
)
def test_a_task_whose_code_raises_is_one_line(broken, says, trial, capsys):
    task(**broken)
    assert probe(*QUICK, *trial, "--out", "out") == 2
    said, error = capsys.readouterr()
    assert said == ""
    assert error.count("\n") == 1
    assert says in error
    assert not any(path.is_file() for path in Path("out").rglob("*"))


def test_an_evaluation_that_raises_is_one_line(capsys):
    task(evaluate="if calls > 5: raise RuntimeError('two\\nlines')")
    assert probe(*QUICK) == 2
    error = capsys.readouterr().err
    assert error == "rectified: task 'tiny' does not run: tiny.py, line 18: RuntimeError: two lines\n"


def test_the_traceback_is_there_where_it_is_asked_for(capsys, monkeypatch):
    monkeypatch.setenv("RECTIFIED_TRACEBACK", "1")
    task(loss="if calls > 5: 1 / 0")
    assert probe(*QUICK) == 2
    error = capsys.readouterr().err
    assert 'tiny.py", line 14, in loss' in error
    assert error.splitlines()[-1].startswith("rectified: task 'tiny' does not run")


def test_a_run_that_diverges_at_once_has_a_page_that_says_so(capsys):
    task()
    assert probe(*QUICK, "--lr", "1e38", "--out", "out") == 0
    said, error = capsys.readouterr()
    assert "after step 1 at lr 1e+38 the loss of its batch is not finite" in said
    assert "Change in your script: " in said
    assert not error
    assert "not finite" in Path("out/probe.html").read_text()


@pytest.mark.parametrize("when", ["calls > 1", "calls > 30"])
def test_ctrl_c_ends_with_130_and_leaves_no_file(when, capsys):
    task(loss=f"if {when}: raise KeyboardInterrupt")
    assert probe(*QUICK, "--out", "out") == 130
    said, error = capsys.readouterr()
    assert said == error == ""
    assert not any(path.is_file() for path in Path("out").rglob("*"))


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_leaves_no_traceback():
    task(loss="if calls == 40: open('running', 'w').close()")
    command = [sys.executable, "-m", "rectified.cli", "probe", "tiny.py", "--steps", "100000", "--out", "out"]
    environment = {**os.environ, "PYTHONPATH": SOURCES, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        deadline = time.monotonic() + 90
        while not Path("running").exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        said, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert (process.returncode, said, error) == (130, b"", b"")
    assert not any(path.is_file() for path in Path("out").rglob("*"))
