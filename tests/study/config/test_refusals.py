"""Whatever a text holds, every way into a study answers with a value or with one line that says what is wrong."""

import itertools

import pytest
import torch

from rectified import Adam
from rectified.cli import main
from rectified.study import InvalidOption, Method, Study
from rectified.study.config.methods import parse, read_method
from rectified.workloads.numbers import learning_rate, number, whole_number
from rectified.workloads.specs import LONGEST
from rectified.workloads.tasks import Task, parse_task

MINI = "fashion-mnist-mini"

METHODS = {
    "adam()+(1)": "options go last",
    "adam(eps={[]:1})": "{[]: 1} is not a plain value",
    "adam(eps={1: 2})": "{1: 2} is not a plain value",
    "adam(eps=...)": "... is not a plain value",
    "adam(eps=b'1')": "b'1' is not a plain value",
    "adam(eps=1+2j)": "is not a plain value",
    "..x": "'..x' is not a dotted path",
    "x..y": "'x..y' is not a dotted path",
    f"adam(lr=1{400 * '0'})": "a number is too long; it must be finite",
    f"adam(eps={5000 * '-'}1)": "5,011 characters; the most allowed is 500",
    f"adam(eps={300 * '-'}1)": "is not a plain value",
    f"adam(eps={400 * '('})": "cannot parse the options",
    f"adam(eps={200 * '('}1{200 * ')'})": "cannot parse the options",
    f"adam+linear-{5000 * '9'}": "characters; the most allowed is 500",
    f"{400 * 'matched-lr('}radam{400 * ')'}": "characters; the most allowed is 500",
    "adam+linear-1000000000000000000000": "unknown warmup",
    "adam+linear-\u0661\u0660": "unknown warmup",
    "adam(eps=\u0661)": "cannot parse the options",
    "adam(eps=1)(eps=2)": "cannot parse the options",
    "adam(eps=1)#": "cannot parse the options",
    "adam(eps=1\n)": "cannot parse the options",
    "adam(eps=1\0)": "cannot parse the options",
    "adam(eps='\ud800')": "cannot parse the options",
    "\ud800": "unknown method '\\ud800'",
    "": "unknown method ''",
    " \t\n": "unknown method ''",
    "adam(eps=1,eps=2)": "'eps' appears twice",
    "adam(**x)": "write options as name=value",
    "adam(betas=(0.8,0.9),beta2=0.95)": "give betas, or beta1 and beta2",
    "adam(lr=0)": "lr is 0: a learning rate must be a positive number",
    "adam(lr=-0.0)": "lr is -0.0: a learning rate must be a positive number",
    "adam(lr=1e-999)": "lr is 0.0: a learning rate must be a positive number",
    "adam(lr=1e999)": "a number is inf; it must be finite",
    "adam(lr=nan)": "lr is 'nan': it must be a number",
    "adam(lr=None)": "lr is None: it must be a number",
    "yellowfin(lr=0)": "lr is 0: a learning rate must be a positive number",
    "torch.optim.SGD(lr=0)": "lr is 0: a learning rate must be a positive number",
    "adam+linear-5(lr=0)": "lr is 0: a learning rate must be a positive number",
    "matched-lr(radam(lr=0))": "lr is 0: a learning rate must be a positive number",
    "adam(eps=1e999)": "a number is inf; it must be finite",
    "adam(weight_decay=-1e999)": "a number is inf; it must be finite",
    "adam(state_dtype=float32)": "it must be 8bit, or leave it out",
    "adam(foreach=3)": "foreach is 3; it must be True or False",
    "adam(fused=x)": "fused is 'x'; it must be True or False",
    "adam(amsgrad=3)": "amsgrad is 3; it must be True or False",
    "adam(eps=True)": "eps is True; it must be a number",
    "sgd(nesterov=1)": "nesterov is 1; it must be True or False",
    "adam(differentiable=True)": "fails at its first step",
    "adam+sys.exit(3)": "sys.exit does not make a warmup: SystemExit: 3",
}


def one_line(error, longest=300):
    text = str(error)
    assert "\n" not in text
    assert text.isprintable()
    assert len(text) <= longest, text
    return text


@pytest.mark.parametrize("text", METHODS, ids=lambda text: ascii(text[:30]))
def test_a_method_that_cannot_be_read_or_cannot_run_is_a_value_error_of_one_line(text):
    with pytest.raises(ValueError, match="method") as refused:
        parse(text)
    assert METHODS[text] in one_line(refused.value)
    assert read_method(text) is None


@pytest.mark.parametrize("text", METHODS, ids=lambda text: ascii(text[:30]))
def test_a_study_refuses_it_as_its_methods_before_it_plans_anything(text):
    with pytest.raises(InvalidOption) as refused:
        Study(MINI, [text])
    assert refused.value.name == "methods"
    assert one_line(refused.value, 400).startswith("methods is ")


@pytest.mark.parametrize("text", [text for text in METHODS if "\0" not in text], ids=lambda text: ascii(text[:30]))
def test_the_command_line_says_it_in_one_line_and_writes_nothing(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", MINI, "--methods", text, "--out", "out"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("rectified: --methods is ")
    assert said.count("\n") == 1
    assert len(said) <= 420
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("lr", [0, -1, 0.0, float("inf"), float("nan"), 10**400, True, "0.1", b"1", None, [1], 1j])
@pytest.mark.parametrize("way", ["lrs", "method", "task"])
def test_an_lr_is_a_positive_finite_number_wherever_it_is_from(lr, way):
    if way == "method" and lr is None:
        return  # the study's
    data = (torch.ones(4, 2), torch.zeros(4, dtype=torch.long))
    ways = {
        "lrs": lambda: Study(MINI, "adam", [lr]),
        "method": lambda: Study(MINI, [Method("mine", Adam, lr=lr)]),
        "task": lambda: Task("mine", model=lambda: torch.nn.Linear(2, 2), train=data, valid=data, lrs=[lr]),
    }
    with pytest.raises(ValueError, match=r"lrs? is .*a (positive )?number") as refused:
        ways[way]()
    one_line(refused.value)
    with pytest.raises(ValueError, match="number"):
        learning_rate(lr)


@pytest.mark.parametrize("options", [{"eps": -1}, {"betas": 3}, {"color": 1}, {"amsgrad": "x"}, {"foreach": 7}])
def test_a_method_of_python_is_tried_when_the_study_is_planned(options):
    with pytest.raises(InvalidOption) as refused:
        Study(MINI, [Method("mine", Adam, options)])
    assert refused.value.name == "methods"
    assert "method 'mine'" in one_line(refused.value)


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ({"lrs": torch.tensor(float("nan"))}, "lrs"),
        ({"lrs": [torch.ones(2)]}, "lrs"),
        ({"lrs": itertools.count(1)}, "lrs"),
        ({"seeds": range(10**12)}, "seeds"),
        ({"seeds": 10**30}, "seeds"),
        ({"seeds": -(10**30)}, "seeds"),
        ({"seeds": float("inf")}, "seeds"),
        ({"seeds": True}, "seeds"),
        ({"epochs": 10**400}, "epochs"),
        ({"epochs": float("inf")}, "epochs"),
        ({"epochs": True}, "epochs"),
        ({"epochs": "3"}, "epochs"),
        ({"batch_sizes": 10**400}, "batch_sizes"),
        ({"batch_sizes": 1e999}, "batch_sizes"),
        ({"vary": ["beta2"]}, "vary"),
        ({"vary": {3: [1]}}, "vary"),
        ({"vary": {"beta2": [float("nan")]}}, "vary"),
        ({"vary": {"lr": [0]}}, "vary"),
        ({"vary": {"eps": ["1)+(1"]}}, "vary"),
        ({"vary": {"eps": ["x" * 9999]}}, "vary"),
        ({"methods": "adam(beta2=0.9)", "vary": {"beta2": [0.99]}}, "vary"),
        ({"baseline": 3}, "baseline"),
        ({"baseline": "x" * 9999}, "baseline"),
        ({"control": ["matched-lr"]}, "control"),
        ({"control": "x\ny"}, "control"),
        ({"data": 3}, "data"),
        ({"data": "~no-such-user-here/x"}, "data"),
        ({"data": "a\0b"}, "data"),
        ({"tasks": 3.5}, "tasks"),
        ({"tasks": None}, "tasks"),
        ({"tasks": "x" * 99_999}, "tasks"),
        ({"methods": 3.5}, "methods"),
    ],
)
def test_an_option_of_another_kind_is_refused_by_its_name(asked, name):
    with pytest.raises(InvalidOption) as refused:
        Study(**{"tasks": MINI, "methods": "adam,radam", **asked})
    assert refused.value.name == name
    one_line(refused.value, 400)


def test_a_number_without_dimensions_is_one():
    assert Study(MINI, "adam", torch.tensor(0.5), torch.tensor(3)) == Study(MINI, "adam", 0.5, 3)


@pytest.mark.parametrize(
    "text", ["", " ", "1_0", "\u0661", "1,5", "0x10", "1e", "--1", "nan1", "\ud800", "1\0", "9" * 101]
)
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(ValueError, match="is not a whole number") as refused:
        whole_number(text)
    one_line(refused.value)
    if not text.isdigit() or not text.isascii():
        with pytest.raises(ValueError, match="is not a number"):
            number(text)


@pytest.mark.parametrize(
    ("flag", "text"),
    [
        ("--lrs", "1_0"),
        ("--lrs", "\u0660.\u0661"),
        ("--lrs", "1e999"),
        ("--lrs", "nan"),
        ("--lrs", "0"),
        ("--lrs", ","),
        ("--seeds", "1_0"),
        ("--seeds", "\u0661"),
        ("--seeds", "1.0"),
        ("--seeds", "9" * 5000),
        ("--seeds", "x" * 5000),
        ("--batch-sizes", "1e3"),
        ("--batch-sizes", "9" * 99),
        ("--vary", "=1"),
        ("--vary", "eps"),
        ("--vary", "eps=(("),
        ("--baseline", "\ud800"),
        ("--control", "x"),
        ("--data", "~no-such-user-here/x"),
        ("--out", "~no-such-user-here/x"),
        ("--checkpoint-every", "nan"),
        ("--run-minutes", "inf"),
        ("--gradients", "-1"),
    ],
)
def test_a_flag_is_refused_in_one_line_and_nothing_is_written(flag, text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    call = ["study", MINI, "--methods", "adam", "--lrs", "0.01", "--seeds", "0", "--epochs", "1", flag, text]
    assert main(call) == 2
    said = capsys.readouterr().err
    assert said.startswith("rectified: ")
    assert said.count("\n") == 1
    assert len(said) <= 420
    assert not list(tmp_path.iterdir())


TASKS = {
    "": "unknown task ''",
    "\ud800": "unknown task",
    "fashion-mnist(loss_scale=1e999)": "must be finite",
    f"fashion-mnist(loss_scale=1{400 * '0'})": "must be finite",
    "fashion-mnist(loss_scale=nan)": "loss_scale is 'nan'; it must be a number",
    "fashion-mnist(loss_scale=(1,2))": "loss_scale is (1, 2); it must be a number",
    "fashion-mnist(loss_scale={})": "{} is not a plain value",
    "fashion-mnist(loss_scale=1,loss_scale=2)": "appears twice",
    "cifar10(subset=True)": "subset is True; it must be a whole number",
    f"cifar10(subset={5000 * '-'}1)": f"the most allowed is {LONGEST}",
    "x" * 100_000: f"the most allowed is {LONGEST}",
    "~no-such-user-here/a.py": "no-such-user-here",
    f"{300 * 'a'}.py": "there is no file",
    "a\0b.py": "cannot contain null characters",
    "\ud800.py": "there is no file",
    "a..b:x": "does not load",
}


@pytest.mark.parametrize("text", TASKS, ids=lambda text: ascii(text[:30]))
def test_a_task_that_cannot_be_read_is_a_value_error_of_one_line(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r".") as refused:
        parse_task(text)
    assert TASKS[text] in one_line(refused.value, 400)


@pytest.mark.parametrize(
    "text",
    [
        "tasks = " + 5000 * "[",
        "tasks = " + 5000 * "{a=",
        "seeds = " + 5000 * "9",
        "a" * 2_000_000,
        "tasks = 1\0",
        "=",
        'tasks = ["fashion-mnist-mini"]\nepochs = 1e999',
        'tasks = ["fashion-mnist-mini"]\nepochs = true',
        f'tasks = ["fashion-mnist-mini"]\nrun-minutes = 1{400 * "0"}',
        "tasks = 1979-13-45",
        "tasks = [[1]]",
        'tasks = ["fashion-mnist-mini"]\nlrs = [nan]',
        'tasks = ["fashion-mnist-mini"]\nlrs = [0]',
        'tasks = ["fashion-mnist-mini"]\nseeds = [1e30]',
        'tasks = ["fashion-mnist-mini"]\nvary = {eps = 1}',
        'tasks = ["fashion-mnist-mini"]\nout = "a\\u0000b"',
        'tasks = ["fashion-mnist-mini"]\ndata = "~no-such-user/x"',
        'tasks = ["fashion-mnist-mini"]\n"\\u0000" = 1',
        'tasks = ["fashion-mnist-mini"]\n' + "x" * 9999 + " = 1",
        'tasks = ["fashion-mnist-mini"]\nmethods = ["adam(lr=0)"]',
        'tasks = ["fashion-mnist-mini"]\nlrs = [true]',
    ],
    ids=range(21),
)
def test_a_file_is_refused_in_one_line_and_nothing_is_written(text, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.toml").write_text(text)
    assert main(["study", "grid.toml"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("rectified: grid.toml")
    assert said.count("\n") == 1
    assert len(said) <= 450
    assert [path.name for path in tmp_path.iterdir()] == ["grid.toml"]


ROWS = "method,lr,seed,val_loss\nadam,0.1,0,0.5\nadam,0.1,1,0.6\nradam,0.1,0,0.4\nradam,0.1,1,0.5\n"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (ROWS.replace("0.1,0", "0,0"), []),
        (ROWS.replace("0.1,0", "1e999,0"), []),
        (ROWS.replace("0.1,0", "1_0,0"), []),
        (ROWS.replace("0.1,0", "\u0661,0"), []),
        (ROWS.replace("0.1,0", "0.1,1.5"), []),
        (ROWS.replace("0.1,0", "0.1,inf"), []),
        (ROWS.replace("0.1,0", "0.1,"), []),
        (ROWS.replace("radam,", ","), []),
        (ROWS.replace("radam,", f"{'r' * 9999},x"), []),
        (ROWS.replace("val_loss", "lr"), ["--metric", "lr"]),
        ("epochs," + ROWS.replace("\n", "\nnan,", 4), []),
        ("epochs," + ROWS.replace("\n", "\n1e999,", 4), []),
        (ROWS, ["--margin", "nan"]),
        (ROWS, ["--margin", "0"]),
        (ROWS, ["--margin", "-1"]),
        (ROWS, ["--chance", "nan"]),
        (ROWS, ["--chance", "inf"]),
        (ROWS, ["--baseline", "x\ny"]),
        (ROWS, ["--metric", "x" * 9999]),
        (ROWS, ["--out", "~no-such-user-here/x"]),
        ("a" * 200_000 + "\n" + "b" * 200_000, []),
    ],
    ids=range(21),
)
def test_results_from_elsewhere_are_refused_in_one_line(text, flags, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results.csv").write_text(text, encoding="utf-8")
    metric = [] if "--metric" in flags else ["--metric", "val_loss"]
    assert main(["verdict", "results.csv", *metric, *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("rectified: ")
    assert said.count("\n") == 1
    assert len(said) <= 400
    assert [path.name for path in tmp_path.iterdir()] == ["results.csv"]


def test_a_seed_from_elsewhere_keeps_every_digit(tmp_path, capsys):
    seeds = ("9007199254740992", "9007199254740993")
    text = "method,lr,seed,val_loss\n" + "".join(f"{m},0.1,{seed},0.5\n" for m in ("adam", "radam") for seed in seeds)
    (tmp_path / "results.csv").write_text(text)
    assert main(["verdict", str(tmp_path / "results.csv"), "--metric", "val_loss"]) == 0
