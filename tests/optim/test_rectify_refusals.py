"""What rectify() refuses, each with the reason: optimizers, groups and arguments."""

from functools import partial

import pytest
import torch

import rectified
from messages import says
from peers import peer
from rectified.warmup import Constant, Linear, Rectified
from trajectories import parameters, train


@pytest.mark.parametrize(
    ("make", "fragments"),
    [
        (torch.optim.SGD, ["SGD", "no v", "Linear(steps)"]),
        (torch.optim.Adagrad, ["Adagrad", "sum", "Linear(steps)"]),
        (torch.optim.Adamax, ["Adamax", "maximum", "Linear(steps)"]),
        (torch.optim.RAdam, ["RAdam", "twice"]),
        (torch.optim.Rprop, ["Rprop", "signs"]),
        (torch.optim.Adafactor, ["Adafactor", "beta2 grows"]),
        (partial(torch.optim.AdamW, amsgrad=True), ["AdamW", "amsgrad=True", "largest v"]),
        (peer("pytorch_optimizer.Lion"), ["Lion", "signs", "Linear(steps)"]),
        (peer("pytorch_optimizer.Adan"), ["Rectified", "beta2", "Adan", "betas", "pass beta2="]),
        (partial(torch.optim.Adam, betas=(0.9, 0.5)), ["0.5", "never leave its start", "UntunedLinear"]),
        (rectified.RAdam, ["RAdam", "has its own warmup"]),
        (partial(rectified.Adam, warmup=Linear(5)), ["Adam", "has its own warmup"]),
    ],
)
def test_what_cannot_be_rectified_is_refused_with_the_reason(make, fragments):
    inner = make(parameters())
    before = [set(group) for group in inner.param_groups]
    with pytest.raises(ValueError, match=says(fragments)):
        rectified.rectify(inner)
    assert [set(group) for group in inner.param_groups] == before


def test_a_group_that_cannot_be_warmed_up_is_refused_and_not_kept():
    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params[:1], lr=0.1))
    with pytest.raises(ValueError, match=says(["amsgrad", "largest v"])):
        optimizer.add_param_group({"params": params[1:], "amsgrad": True})
    assert len(optimizer.param_groups) == 1
    train(optimizer, params, [1])


def test_an_optimizer_whose_groups_have_no_lr():
    class Free(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {})

    with pytest.raises(ValueError, match=says(["group 0", "Free", "no lr"])):
        rectified.rectify(Free(parameters()), Linear(3))


@pytest.mark.parametrize(
    ("call", "kind", "fragments"),
    [
        (lambda o: rectified.rectify("adam"), TypeError, ["'adam'", "torch.optim.Optimizer"]),
        (lambda o: rectified.rectify(o, Rectified), TypeError, ["warmup is", "omega(t, beta2)"]),
        (lambda o: rectified.rectify(o, on_zero="momentum"), ValueError, ["'momentum'", "'hold'", "'skip'"]),
        (lambda o: rectified.rectify(o, beta2=1.0), ValueError, ["1.0", "[0, 1)"]),
        (lambda o: rectified.rectify(rectified.rectify(o, Linear(3)), Linear(3)), ValueError, ["already", "multiply"]),
    ],
)
def test_wrong_arguments(call, kind, fragments):
    with pytest.raises(kind, match=says(fragments)):
        call(torch.optim.Adam(parameters()))


def test_an_optimizer_can_be_warmed_up_again_once_its_wrapper_is_gone():
    inner = torch.optim.Adam(parameters())
    first = rectified.rectify(inner)
    with pytest.raises(ValueError, match="already"):
        rectified.rectify(inner)
    del first
    rectified.rectify(inner, Constant())
