"""Texts that nobody has thought of: every parser gives a value or one line, and writes nothing."""

import random
import sys
from pathlib import Path

import pytest

from rectified.cli.study_command import _KINDS, numbers
from rectified.study import InvalidOption, Study
from rectified.study.analysis.from_csv import CsvColumns, read_csv
from rectified.study.config.methods import known, parse, read_method
from rectified.study.config.toml_file import read
from rectified.workloads.data import DataNotFoundError
from rectified.workloads.specs import split
from rectified.workloads.tasks import TASKS, parse_task

LONGEST = 400  # characters of a message; it may list what there is

METHODS = [
    *(name.replace("N%", "10%").replace("-N", "-5") for name in known()),
    "adam(beta2=0.95,eps=1e-6)",
    "sgd(lr=0.1,momentum=0.9,nesterov=True)",
    "adam(betas=(0.8,0.9))",
    "matched-lr(adam+linear-10%)",
    "matched-lr(radam)",
    "torch.optim.NAdam(betas=(0.9,0.99))",
    "torch.optim.Adagrad+linear-500",
    "adam+linear-5(weight_decay=0.01)",
    "lamb(eps=-1)",
    "nowhere.Adam(x='y')",
]
SPECS = [
    *TASKS,
    "fashion-mnist(loss_scale=1e3)",
    "cifar10(subset=5000)",
    "translation(norm=pre,tokenizer=13a)",
    "my_task.py",
    "my_task.py:NAME",
    "package.module:NAME",
    "~/my_task.py",
    "my_task.py(x=1)",
]
NUMBERS = ["0.1,0.01", "1e-3", "0,1,2", "-5", "18446744073709551615", "1e999", "nan", ".5", "1_000", "0x10"]
STUDIES = [
    'tasks = ["fashion-mnist-mini"]\nmethods = ["adam", "radam(beta2=0.95)"]\nlrs = [0.1, 1e-2]\nseeds = [0, 1]\n',
    "tasks = 'fashion-mnist-mini'\nepochs = 2\nbatch-sizes = [100]\n[vary]\nbeta2 = [0.9, 0.99]\neps = ['1e-8']\n",
    'tasks = ["fashion-mnist-mini"]\nbaseline = "radam"\ncontrol = "matched-lr"\ndata = "~/x"\nrun-minutes = 3\n',
]
RESULTS = [
    "method,lr,seed,val_loss\nadam,0.1,0,0.5\nadam,0.1,1,0.6\nradam,0.1,0,0.4\nradam,0.1,1,nan\n",
    "task,epochs,batch_size,method,lr,seed,status,val_loss\nt,1,8,adam,1,0,done,1\nt,1,8,sgd,1,0,failed,\n",
]
PIECES = [
    "(",
    ")",
    "()",
    "+",
    "-",
    "--",
    ",",
    "=",
    ".",
    "..",
    ":",
    ";",
    "#",
    "'",
    '"',
    "\\",
    "\n",
    "\r",
    "\t",
    "\0",
    " ",
    "%",
    "[",
    "]",
    "{",
    "}",
    "{[]:1}",
    "**x",
    "*x",
    "lambda: 1",
    "1e999",
    "-1e999",
    "nan",
    "inf",
    "0",
    "-0.0",
    "True",
    "None",
    "1" + 400 * "0",
    5000 * "9",
    5000 * "-",
    3000 * "(",
    3000 * "[",
    600 * "a",
    "\u0661",
    "\u0967",
    "\xb2",
    "\ud800",
    "\udcff",
    "\u202e",
    "\ufeff",
    "\U0001f600",
    "1_0",
    "0x1F",
    "1j",
    "...",
    "f'{1}'",
    "lr=0",
    "lr=",
    "eps=1,eps=2",
    "beta1=2",
    "foreach=3",
    "matched-lr(",
    "+linear-",
    "+linear-0%",
    "torch.optim.",
    "os.getcwd",
    "__import__('os')",
    ".py",
    "~",
    "~nobody-x/",
    "/",
    "[vary]",
    "[[",
    "1979-05-27",
    '"""',
    "\ud83d",
]


def mutated(text, dice):
    """The text with one to four pieces put in, taken out, doubled or exchanged."""
    for _ in range(dice.randint(1, 4)):
        at, to = sorted(dice.choices(range(len(text) + 1), k=2))
        text = dice.choice(
            [
                text[:at] + dice.choice(PIECES) + text[at:],
                text[:at] + dice.choice(PIECES) + text[to:],
                text[:at] + text[to:],
                text[:to] + text[at:],
                text[:at] + text[at : at + 1].swapcase() + chr(dice.randrange(0x20, 0x2FF)) + text[at + 1 :],
            ]
        )[:12_000]
    return text


def number_list(text):
    numbers("lrs", text, float)
    numbers("seeds", text, int)
    Study("fashion-mnist-mini", "adam", numbers("lrs", text, float))


def grid(text):
    Path("grid.toml").write_bytes(text.encode(errors="surrogatepass"))
    asked = dict(read(Path("grid.toml"), _KINDS).values)
    names = ("tasks", "methods", "lrs", "seeds", "epochs", "batch_sizes", "vary", "baseline", "control", "data")
    Study(**{"tasks": "fashion-mnist-mini", **{name: asked[name] for name in names if name in asked}})


def results(text):
    Path("results.csv").write_bytes(text.encode(errors="surrogatepass"))
    found = read_csv(Path("results.csv"), CsvColumns("val_loss"))
    assert found.verdict
    assert found.table()


def folder(text):
    if read_method(text) is None:
        raise ValueError("no method of this version")


def study(text):
    Study("fashion-mnist-mini", split(text))


# Each with the texts that it begins with, and how many of a hundred it gets.
PARSERS = {
    "methods": (parse, METHODS, 35),
    "folders": (folder, METHODS, 10),
    "studies": (study, METHODS, 5),
    "tasks": (parse_task, SPECS, 15),
    "numbers": (number_list, NUMBERS, 10),
    "TOML": (grid, STUDIES, 15),
    "CSV": (results, RESULTS, 10),
}


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def fuzz(name, cases, here):
    call, seeds, share = PARSERS[name]
    dice, refused = random.Random(f"{name} 1"), 0
    count = cases * share // 100
    for _ in range(count):
        text = mutated(dice.choice(seeds), dice)
        try:
            call(text)
        except (ValueError, DataNotFoundError) as error:
            said = error.text("--option") if isinstance(error, InvalidOption) else str(error)
            assert "\n" not in said, ascii(text)
            assert len(said) <= LONGEST, (ascii(text), said)
            refused += 1
        except BaseException as error:
            raise AssertionError(f"{type(error).__name__} for {text!a}") from error
    assert {path.name for path in here.iterdir()} <= {"grid.toml", "results.csv"}, "and nothing is written"
    assert refused >= count // 3, "most are wrong"


@pytest.mark.parametrize("name", PARSERS)
def test_a_mutated_text_is_a_value_or_one_line(name, here):
    fuzz(name, 300, here)


@pytest.mark.slow
@pytest.mark.parametrize("name", PARSERS)
def test_thousands_of_mutated_texts_are_values_or_one_line(name, here):
    fuzz(name, 30_000, here)
