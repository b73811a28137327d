"""A study's folder or table with numbers near the ends of what a float can hold: no command stops for one."""

import json

import pytest
from mini_runs import a_run, new_store

from rectified import cli

RUNS = [a_run(method, lr, seed) for method in ("adam", "radam") for lr in (0.01, 0.1) for seed in (0, 1)]
NUMBERS = ["1e308", "-1e308", "1e-320", "NaN", "Infinity", "1" + 400 * "0", "1e100"]
PLACES = ["metric", "train_loss", "row", "loss", "omega", "lr", "step", "seconds", "margin", "chance", "every"]


@pytest.fixture
def study(tmp_path):
    """The folder of a study of eight runs, with a number in one place or in all."""

    def make(place, text):
        def at(here, usual):
            return text if place in (here, "every") else usual

        store = new_store(tmp_path / "study", RUNS)
        for i, run in enumerate(RUNS):
            folder = store.folder(run.key)
            folder.mkdir(parents=True)
            last = i % 2 == 0
            rows = [
                f'{{"epoch": 1, "step": {at("row", "12")}, "train_loss": {at("train_loss", "1.5")}, '
                f'"test_accuracy": {at("metric", "80.5") if last else 81 + i}}}'
            ]
            (folder / "rows.jsonl").write_text("\n".join(rows) + "\n")
            (folder / "steps.csv").write_text(
                f"step,loss,omega,lr\n1,2.3,1.0,0.1\n{at('step', '2')},{at('loss', '2.2')},{at('omega', '1.0')},"
                f"{at('lr', '0.1')}\n"
            )
            (folder / "done.json").write_text(
                f'{{"status": "done", "rows": 1, "step": 12, "seconds": {at("seconds", "2.0")}}}'
            )
        path = store.out / "study.json"
        content = json.loads(path.read_text())
        content.pop("sha256")
        for task in content["tasks"].values() if isinstance(content["tasks"], dict) else content["tasks"]:
            for name in ("margin", "chance"):
                if place in (name, "every"):
                    task[name] = "HERE"
        path.write_text(json.dumps(content).replace('"HERE"', text))
        return store.out

    return make


def check(place, out, capsys):
    """Each command reads the folder, or says in a line which part of study.json is wrong."""
    for command in ("status", "report", "export"):
        status = cli.main([command, str(out)])
        said = "".join(capsys.readouterr())
        assert status in ((0, 1, 2) if place in ("margin", "chance", "every") else (0, 1)), said
        assert "Traceback" not in said
        if status == 2:
            assert "study.json" in said


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("text", ["-1e308", "NaN"])
@pytest.mark.parametrize("place", ["metric", "margin"])
def test_every_command_reads_it_or_says_what_is_wrong(place, text, study, capsys):
    check(place, study(place, text), capsys)


@pytest.mark.slow
@pytest.mark.parametrize("text", NUMBERS)
@pytest.mark.parametrize("place", PLACES)
def test_so_they_do_with_figures(place, text, study, capsys):
    check(place, study(place, text), capsys)


@pytest.mark.parametrize("lrs", [("1e-100", "1e100"), ("1e-320", "1e308"), ("0.1", "1e-101")])
@pytest.mark.parametrize("value", ["1e308", "-1e308", "1e100", "5"])
def test_a_table_with_such_numbers_has_a_verdict_or_is_refused_by_its_line(value, lrs, tmp_path, capsys):
    rows = [f"{m},{lr},{seed},{value if seed else 3}" for m in ("adam", "radam") for lr in lrs for seed in (0, 1)]
    (tmp_path / "results.csv").write_text("method,lr,seed,val_loss\n" + "\n".join(rows) + "\n")
    status = cli.main(["verdict", str(tmp_path / "results.csv"), "--metric", "val_loss"])
    said = "".join(capsys.readouterr())
    if lrs == ("1e-100", "1e100"):
        assert status == 0
        assert "adam" in said
    else:
        assert status == 2
        assert "a learning rate must be a positive number, from 1e-100 to 1e+100" in said
