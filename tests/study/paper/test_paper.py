"""The paper's tables and figures: every one plans, a small one runs, and the published numbers are beside ours."""

import csv
from dataclasses import replace

import pytest

from rectified import cli
from rectified.study.config.study import Study
from rectified.study.paper.catalog import EXPERIMENTS, Published, Scaled


@pytest.mark.parametrize("scale", ["cpu", "paper"])
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_each_plans_and_says_what_differs(name, scale):
    found = EXPERIMENTS[name]
    runs = Study(**found.runs[scale].grid).runs()
    assert len(runs) > 1
    assert found.runs[scale].differs
    methods = {run.method.name.partition("(")[0] for run in runs}
    for run in runs:
        fitting = [published for task, published in found.published.items() if run.task.name.startswith(task)]
        assert fitting or not found.published
    if scale == "paper":
        for published in found.published.values():
            assert published.values.keys() <= methods | {"adam+linear-100"}


@pytest.fixture
def small(monkeypatch):
    """A table that runs in seconds."""
    grid = {"tasks": "fashion-mnist-mini", "methods": "adam,radam", "lrs": (0.003,), "seeds": (0, 1)}
    grid |= {"epochs": 1, "batch_sizes": (500,)}
    found = replace(
        EXPERIMENTS["table2"],
        runs={"cpu": Scaled(grid, "everything"), "paper": Scaled(grid, "nothing", "a large machine")},
        published={"fashion-mnist": Published("CIFAR-10", {"radam": "91.38"})},
        picture="robustness",
    )
    monkeypatch.setitem(EXPERIMENTS, "table2", found)
    return found


@pytest.mark.slow
def test_a_table_has_the_published_numbers_beside_ours(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", "table2"]) == 0
    said = capsys.readouterr().out
    assert "Differs from the paper: everything." in said
    assert "time: about" in said
    assert said.index("time: about") < said.index("[1/4]")
    out = tmp_path / "runs" / "paper-table2-cpu"
    rows = list(csv.DictReader((out / "table2.csv").read_text().splitlines()))
    assert [(row["method"], row["seeds"], row["published"]) for row in rows] == [
        ("adam", "2", ""),
        ("radam", "2", "91.38"),
    ]
    results = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    ours = [float(row["test_accuracy"]) for row in results if row["method"] == "radam"]
    assert float(rows[1]["mean"]) == pytest.approx(sum(ours) / 2)
    assert "| 91.38 (CIFAR-10) |" in (out / "table2.md").read_text()
    assert "| 91.38 (CIFAR-10) |" in said
    assert (out / "table2.svg").read_text().startswith("<?xml")
    assert cli.main(["paper", "table2", "--seeds", "0,1,2", "--plan"]) == 0
    assert "6 runs, seeds 0, 1, 2; 4 already finished" in capsys.readouterr().out


@pytest.mark.slow
def test_a_folder_may_hold_several_experiments(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    other = replace(small, name="ablation", runs={"cpu": replace(small.runs["cpu"], grid=_other(small))})
    monkeypatch.setitem(EXPERIMENTS, "ablation", other)
    methods = []
    for command in (["table2"], ["ablation"], ["ablation", "--methods", "adamw"]):
        assert cli.main(["paper", *command, "--seeds", "0", "--out", "both"]) == 0
        rows = csv.DictReader((tmp_path / "both" / f"{command[0]}.csv").read_text().splitlines())
        methods.append({row["method"] for row in rows})
    assert methods == [{"adam", "radam"}, {"adam", "sgd"}, {"adam", "sgd", "adamw"}]


def _other(small):
    return {**small.runs["cpu"].grid, "methods": "adam,sgd"}


def test_what_cannot_be_is_refused_by_name(small, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["paper", "table9"]) == 2
    assert "NAME is 'table9': it must be one of table1, table2" in capsys.readouterr().err
    assert cli.main(["paper", "table2", "--scale", "paper"]) == 2
    said = capsys.readouterr()
    assert "It needs a large machine." in said.out
    assert "--device is cpu: the paper's scale takes weeks" in said.err
    assert not list(tmp_path.iterdir())
