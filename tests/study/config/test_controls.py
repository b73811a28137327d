"""The control at a matched lr: which methods have one, what it trains with, and where a study puts it."""

from statistics import fmean

import pytest
import torch

from rectified.study.config.controls import control_name, controlled, mean_omega
from rectified.study.config.errors import InvalidOption
from rectified.study.config.methods import parse, read_method
from rectified.study.config.study import Study

WARMED = [
    "radam",
    "radam(beta2=0.95)",
    "radam-hold(variance='exact')",
    "radam-4adam",
    "adam+linear-10%",
    "adamw+untuned-linear",
    "lamb+rectified",
    "nadam+linear-50",
    "torch.optim.NAdam+linear-500",
]


@pytest.mark.parametrize("name", WARMED)
def test_a_control_is_the_method_without_its_warmup_at_its_mean_omega(name):
    method, control = parse(name).over(300), parse(f"matched-lr({name})").over(300)
    mean = fmean(method.omegas(range(1, 301)))
    assert 0 < mean < 1
    assert control.omegas([1, 150, 300]) == pytest.approx([mean] * 3, rel=1e-12)
    assert not control.warms_up


@pytest.mark.parametrize("name", ["adam+linear-10%", "radam(beta2=0.95)", "radam-hold", "rmsprop+untuned-linear"])
def test_it_takes_plain_steps_of_the_smaller_lr(name):
    plain = {"adam+linear-10%": "adam", "rmsprop+untuned-linear": "rmsprop"}.get(name)
    plain = plain or name.replace("radam-hold", "radam").replace("radam", "adam")
    control = parse(f"matched-lr({name})").over(100)
    params = [torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)) for _ in range(2)]
    other = parse(plain)
    if name.startswith("radam"):  # whose eps is outside the bias correction
        other = parse(plain.removesuffix(")") + (",eps_hat=True)" if "(" in plain else "(eps_hat=True)"))
    optimizers = [
        control.build(params[:1], lr=0.1, weight_decay=0.0),
        other.build(params[1:], lr=0.1 * control.omega(1), weight_decay=0.0),
    ]
    for step in range(5):
        for p, optimizer in zip(params, optimizers, strict=True):
            p.grad = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64) * (step + 1)
            optimizer.step()
    assert torch.allclose(params[0], params[1], rtol=1e-12, atol=0)


@pytest.mark.parametrize("name", ["adam", "sgd", "cocob", "matched-lr(radam)"])
def test_without_a_warmup_there_is_nothing_to_match(name):
    with pytest.raises(ValueError, match="has no warmup, so there is nothing to match"):
        parse(f"matched-lr({name})")


def test_its_name_says_whose_it_is_and_is_read_back():
    for name in WARMED:
        assert controlled(control_name(name)) == name
        assert parse(name).control() == parse(control_name(name))
    assert controlled("radam") is None
    assert read_method("matched-lr(radam)") is not None
    assert read_method("matched-lr(adam+my_module.Warmup(3))") is None, "somebody's code"


def test_a_study_puts_each_control_after_its_method_once():
    study = Study("fashion-mnist-mini", "adam,radam,adam+linear-10%,matched-lr(radam)", 0.01, 0, control="matched-lr")
    names = [run.method.name for run in study.runs()]
    assert names == ["adam", "radam", "adam+linear-10%", "matched-lr(adam+linear-10%)", "matched-lr(radam)"]
    assert study.as_dict()["control"] == "matched-lr"
    assert "--control matched-lr" in study.command


@pytest.mark.parametrize(
    ("methods", "control", "says"),
    [
        ("adam,radam", "matched", "it must be matched-lr"),
        ("adam,sgd", "matched-lr", "no method has a warmup, so there is nothing to match"),
    ],
)
def test_what_cannot_be_is_refused(methods, control, says):
    with pytest.raises(InvalidOption, match=says):
        Study("fashion-mnist-mini", methods, 0.01, 0, control=control)


def test_the_mean_of_a_long_run_is_that_of_all_its_steps():
    for omega in (parse("radam").omega_function(), lambda t: min(t / 123_456, 1.0)):
        assert mean_omega(omega, 300_000) == pytest.approx(fmean(map(omega, range(1, 300_001))), rel=1e-6)
