"""What cannot go on here, with the reason; and what looks like that and can."""

from functools import partial

import pytest
import torch

import rectified
from going_on import STEPS, AuthorsRAdam, both_go_on, gone_on, start
from rectified.optim import convert
from trajectories import parameters, train

optimi = pytest.importorskip("optimi")
pytorch_optimizer = pytest.importorskip("pytorch_optimizer")
PO = pytorch_optimizer.RAdam


def stepped(make, shapes=((3, 4),), **options):
    params = parameters(shapes=shapes)
    optimizer = make(params, **{"lr": 0.01, **options})
    train(optimizer, params, [1])
    return optimizer.state_dict()


REFUSED = {
    "no state dict": (
        convert.from_radam,
        lambda: {"model": {}, "optimizer": {}},
        "a dict with model, optimizer; an optimizer's",
    ),
    "no dict": (convert.from_radam, lambda: torch.optim.RAdam(parameters()), "this is RAdam; an optimizer's"),
    "torch": (convert.from_radam, lambda: stepped(torch.optim.RAdam), "load_state_dict accepts without conversion"),
    "ours": (convert.from_optimi, lambda: stepped(rectified.RAdam), "load_state_dict accepts without conversion"),
    "optimi": (convert.from_pytorch_optimizer, lambda: stepped(optimi.RAdam), "from_optimi converts its RAdam"),
    "the authors'": (
        convert.from_optimi,
        lambda: stepped(AuthorsRAdam),
        "the authors' RAdam, which from_radam converts",
    ),
    "pytorch_optimizer": (convert.from_radam, lambda: stepped(PO), "from_pytorch_optimizer converts its RAdam"),
    "a sum of squares": (convert.from_radam, lambda: stepped(torch.optim.Adagrad), "group 0 lacks betas"),
    "an optimizer of pytorch_optimizer": (
        convert.from_pytorch_optimizer,
        lambda: stepped(pytorch_optimizer.AdaBound),
        "group 0 has ams_bound, final_lr, gamma",
    ),
    "a state of pytorch_optimizer's": (
        convert.from_pytorch_optimizer,
        lambda: {
            "param_groups": stepped(PO)["param_groups"],
            "state": stepped(pytorch_optimizer.AdaBelief)["state"],
        },
        "parameter 0 has exp_avg, exp_avg_var",
    ),
    "another of optimi's": (convert.from_optimi, lambda: stepped(optimi.Adan), "group 0 lacks decouple_wd"),
    "Ranger's": (convert.from_optimi, lambda: stepped(optimi.Ranger), "group 0 has alpha, k"),
    "adanorm": (convert.from_pytorch_optimizer, lambda: stepped(PO, adanorm=True), "group 0 has adanorm=True"),
    "adam_debias": (convert.from_pytorch_optimizer, lambda: stepped(PO, adam_debias=True), "has adam_debias=True"),
    "fixed_decay": (
        convert.from_pytorch_optimizer,
        lambda: stepped(PO, fixed_decay=True, weight_decay=1e-4),
        "that is not scaled by the lr",
    ),
    "a decay without effect": (
        convert.from_pytorch_optimizer,
        lambda: stepped(PO, weight_decouple=False, weight_decay=0.1),
        "RAdam ignores",
    ),
    "a threshold below 4": (
        partial(convert.from_pytorch_optimizer, n_sma_threshold=3),
        lambda: stepped(PO),
        "threshold is 3.0",
    ),
    "a class that optimi lacks": (
        partial(convert.from_optimi, optimizer="Lion"),
        lambda: stepped(optimi.RAdam),
        "optimizer is 'Lion'; it must be one of 'RAdam', 'Adam', 'AdamW'",
    ),
}


@pytest.mark.parametrize(("converted", "saved", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_go_on_is_refused_with_a_reason(converted, saved, message):
    with pytest.raises(ValueError, match=message):
        converted(saved())


@pytest.mark.parametrize(
    "options",
    [{"weight_decouple": False}, {"fixed_decay": True}, {"adanorm": False, "adam_debias": False}],
    ids=["not decoupled", "fixed", "off"],
)
def test_options_without_effect_are_no_obstacle(options):
    theirs, params = start(partial(PO, **options))
    train(theirs, params, range(1, 4))
    both_go_on(theirs, params, *gone_on(theirs, params, convert.from_pytorch_optimizer), range(4, STEPS))


def test_a_beta2_that_never_leaves_the_start_is_refused_on_load():
    params = parameters()
    theirs = PO(params, betas=(0.9, 0.5))
    train(theirs, params, [1])
    ours = rectified.RAdam(params)
    with pytest.raises(ValueError, match="would never leave its start"):
        ours.load_state_dict(convert.from_pytorch_optimizer(theirs.state_dict()))
