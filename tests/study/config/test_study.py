"""A study as a value: which runs, in which order, and every way in which one is refused before anything runs."""

import json
import shlex

import pytest
import tyro
from rich.console import Console

from rectified import Adam
from rectified.cli.study_command import StudyCommand as Flags
from rectified.study import InvalidOption, Method, Study
from rectified.study.config.methods import parse
from rectified.study.runner import note_long_warmups
from rectified.workloads.tasks import TASKS

MINI = "fashion-mnist-mini"


def names(study):
    return list(dict.fromkeys(run.method.name for run in study.runs()))


def test_the_runs_are_the_grid_in_order_and_a_fixed_lr_runs_once():
    study = Study(MINI, ["adam", "sgd(lr=0.5)"], [0.01, 0.1], [0, 1], epochs=2)
    assert [(run.method.name, run.lr, run.seed) for run in study.runs()] == [
        ("adam", 0.01, 0),
        ("adam", 0.01, 1),
        ("adam", 0.1, 0),
        ("adam", 0.1, 1),
        ("sgd(lr=0.5)", 0.5, 0),
        ("sgd(lr=0.5)", 0.5, 1),
    ]


def test_a_run_carries_its_task_and_its_method():
    (run,) = Study(MINI, "adam+linear-10%", 0.01, 0, epochs=2).runs()
    assert run.task is TASKS[MINI]
    assert isinstance(run.method, Method)
    assert run.method.omega(6) == 0.5, "120 steps, of which the warmup has 12"
    assert run.key.method == "adam+linear-10%"


def test_what_is_not_asked_for_is_the_tasks_own():
    runs = Study("fashion-mnist").runs()
    assert {(run.task.name, run.epochs, run.batch_size) for run in runs} == {("fashion-mnist", 4, 1000)}
    assert {run.seed for run in runs} == {0, 1, 2}
    assert sorted({run.lr for run in runs}) == [0.003, 0.01, 0.025, 0.05]
    assert names(Study("fashion-mnist")) == ["adam", "radam", "adam+untuned-linear"]


def test_tasks_by_batch_sizes_each_with_their_own_defaults():
    study = Study("fashion-mnist, fashion-mnist-mini(loss_scale=10)", batch_sizes=[50, 100], seeds=[7])
    assert list(dict.fromkeys((run.task.name, run.batch_size) for run in study.runs())) == [
        ("fashion-mnist", 50),
        ("fashion-mnist", 100),
        ("fashion-mnist-mini(loss_scale=10.0)", 50),
        ("fashion-mnist-mini(loss_scale=10.0)", 100),
    ]
    assert {run.seed for run in study.runs()} == {7}


def test_vary_is_every_method_with_every_combination():
    study = Study("fashion-mnist", "adam,radam(lr=0.1)", vary={"beta2": [0.9, 0.99], "eps": ["1e-8", "1e-4"]})
    assert names(study) == [
        "adam(beta2=0.9,eps=1e-8)",
        "adam(beta2=0.9,eps=1e-4)",
        "adam(beta2=0.99,eps=1e-8)",
        "adam(beta2=0.99,eps=1e-4)",
        "radam(lr=0.1,beta2=0.9,eps=1e-8)",
        "radam(lr=0.1,beta2=0.9,eps=1e-4)",
        "radam(lr=0.1,beta2=0.99,eps=1e-8)",
        "radam(lr=0.1,beta2=0.99,eps=1e-4)",
    ]
    assert study.runs()[0].method.options == {"eps": 1e-8, "betas": (0.9, 0.9)}


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"tasks": "fashion"}, "tasks is fashion: unknown task 'fashion'; use one of fashion-mnist"),
        ({"tasks": ""}, "tasks is empty: give at least one"),
        ({"tasks": []}, "tasks is empty: give at least one"),
        ({"tasks": [3]}, "tasks is 3: it must be a name or a Task"),
        (
            {"tasks": "fashion-mnist(loss_scale=2),fashion-mnist(loss_scale=2.0)"},
            "tasks is fashion-mnist(loss_scale=2.0): it appears twice",
        ),
        ({"tasks": "fashion-mnist,fashion-mnist(loss_scale=1)"}, "tasks is fashion-mnist: it appears twice"),
        ({"methods": "qwertz"}, "methods is qwertz: unknown method 'qwertz': there are adam"),
        ({"methods": "adam,adam"}, "methods is adam: it appears twice"),
        ({"methods": " , "}, "methods is empty: give at least one"),
        ({"methods": ()}, "methods is empty: give at least one"),
        ({"methods": [7]}, "methods is 7: it must be a name or a Method"),
        (
            {"methods": "adam,adam(eps=1e-8)"},
            "methods is adam, adam(eps=1e-8): they are the same at lr 0.003;",
        ),
        ({"methods": "sgd,sgd(lr=0.01)"}, "methods is sgd, sgd(lr=0.01): they are the same at lr 0.01; give one"),
        ({"methods": "adam+linear-12,adam+linear-10%", "epochs": 2}, "they are the same at lr 0.003"),
        ({"lrs": [0.1, -0.1]}, "lrs is -0.1: a learning rate must be a positive number"),
        ({"lrs": [float("nan")]}, "lrs is nan: a learning rate must be a positive number"),
        ({"lrs": [float("inf")]}, "lrs is inf: a learning rate must be a positive number"),
        ({"lrs": [0]}, "lrs is 0: a learning rate must be a positive number"),
        ({"lrs": [0.1, 0.1]}, "lrs is 0.1: it appears twice"),
        ({"lrs": ()}, "lrs is empty: give at least one"),
        ({"lrs": ["fast"]}, "lrs is fast: it must be a number"),
        ({"lrs": [True]}, "lrs is True: it must be a number"),
        ({"lrs": [None]}, "lrs is None: it must be a number"),
        ({"lrs": "0.1"}, "lrs is 0.1: it must be a number"),
        ({"seeds": [1.5]}, "seeds is 1.5: it must be a whole number"),
        ({"seeds": [float("nan")]}, "seeds is nan: it must be a whole number"),
        ({"seeds": [1, 1]}, "seeds is 1: it appears twice"),
        ({"seeds": []}, "seeds is empty: give at least one"),
        (
            {"seeds": [2**64]},
            "seeds is 18446744073709551616: it must be from -9223372036854775808 to 1844",
        ),
        ({"epochs": 0}, "epochs is 0: it must be a whole number, at least 1"),
        ({"epochs": 1.5}, "epochs is 1.5: it must be a whole number, at least 1"),
        ({"batch_sizes": [0]}, "batch_sizes is 0: it must be at least 1"),
        ({"batch_sizes": 0}, "batch_sizes is 0: it must be at least 1"),
        ({"batch_sizes": [8, 8]}, "batch_sizes is 8: it appears twice"),
        ({"batch_sizes": [60_001]}, "batch_sizes is 60001: fashion-mnist has training data for 60,000"),
        ({"vary": {"beta2": []}}, "vary is beta2=: it must be an option with its values, such as beta2=0.9,0.999"),
        ({"vary": {"beta 2": [0.9]}}, "vary is beta 2=0.9: it must be an option with its values"),
        ({"vary": {"beta2": [0.9, 0.9]}}, "vary is 0.9: it appears twice"),
        ({"vary": {"beta2": [2]}}, "vary is adam(beta2=2): method 'adam(beta2=2)': Invalid beta parameter"),
        ({"vary": {"speed": [2]}}, "vary is adam(speed=2): method 'adam(speed=2)'"),
        ({"methods": "adam,sgd", "baseline": "radam"}, "baseline is radam: the methods are adam, sgd"),
    ],
)
def test_what_is_wrong_is_refused_by_the_name_of_its_option(asked, says):
    with pytest.raises(InvalidOption) as refused:
        Study(**{"tasks": "fashion-mnist", **asked})
    assert says in str(refused.value)
    assert str(refused.value).startswith(f"{refused.value.name} is ")
    assert refused.value.name in asked


@pytest.mark.parametrize("workers", ["3", 2.5, 0, -1, True, [2]])
def test_so_are_its_workers(workers, tmp_path):
    study = Study("fashion-mnist-mini")
    with pytest.raises(InvalidOption, match=r"^workers is .*: it must be a whole number, at least 1$"):
        study.run(tmp_path / "study", workers=workers)


@pytest.mark.parametrize("out", [5, None, ["runs"]])
def test_so_is_its_folder(out):
    with pytest.raises(ValueError, match="is no path"):
        Study("fashion-mnist-mini").run(out)


@pytest.mark.parametrize(
    ("name", "optimizer", "says"),
    [
        (5, Adam, "a method's name is 5; it must be a line of text"),
        ("a\nb", Adam, "it must be a line of text"),
        ("\ud800", Adam, "it must be a line of text"),
        ("mine", "Adam", "method 'mine': 'Adam' is no class of optimizers"),
        ("mine", object, "is no class of optimizers"),
    ],
)
def test_a_method_is_a_name_and_a_class_of_optimizers(name, optimizer, says):
    with pytest.raises(ValueError, match=says):
        Method(name, optimizer)


def test_a_refused_option_is_a_flag_a_line_and_a_keyword():
    refused = InvalidOption("batch_sizes", 0, "it must be at least 1")
    assert str(refused) == "batch_sizes is 0: it must be at least 1"
    assert refused.text("--batch-sizes") == "--batch-sizes is 0: it must be at least 1"
    assert isinstance(refused, ValueError)


def test_objects_and_names_and_single_values_are_the_same():
    by_name = Study(MINI, "adam,radam", 0.1, 3, batch_sizes=50, baseline="radam")
    objects = [parse("adam"), parse("radam")]
    assert Study(TASKS[MINI], objects, (0.1,), range(3, 4), batch_sizes=[50], baseline=objects[1]) == by_name
    assert Study([TASKS[MINI]], ["adam", objects[1]], [0.1], [3], batch_sizes=(50,), baseline="radam") == by_name
    assert Study(MINI, "adam,radam", 0.1, 3, batch_sizes=50) != by_name


STUDIES = [
    Study(MINI),
    Study(f"{MINI},fashion-mnist", "adam+linear-10%,radam(eps=1)", (0.01, 1e-7), (0, 5), baseline="radam(eps=1)"),
    Study(MINI, "adam", 1.0, vary={"beta2": (0.9, 0.99), "amsgrad": (True,)}, epochs=2, batch_sizes=(10, 20)),
]


@pytest.mark.parametrize("study", STUDIES)
def test_its_command_makes_the_same_study(study):
    words = shlex.split(study.command)
    assert words[:2] == ["rectified", "study"]
    assert tyro.cli(Flags, args=words[2:])._value() == study


@pytest.mark.parametrize("study", STUDIES)
def test_json_gives_it_back(study):
    stored = json.loads(json.dumps(study.as_dict()))
    assert Study(**stored) == study


def test_a_warmup_longer_than_the_run_is_noted_with_its_last_omega(capsys):
    console = Console(width=200)
    study = Study(
        MINI, "adam,adam+linear-100,adam+linear-1000,radam,adam+linear-40%", 0.01, 0, epochs=2, batch_sizes=60
    )
    assert {run.steps for run in study.runs()} == {200}
    note_long_warmups(study.runs(), console)
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2
    assert said[0] == (
        "note: the warmup of adam+linear-1000 is longer than the run: it ends at omega 0.20 after 200 steps. "
        "Train longer, or take a shorter warmup or a smaller beta2"
    )
    assert said[1].startswith("note: the warmup of radam is longer than the run: it ends at omega 0.31")
