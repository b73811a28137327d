"""The compensations of optimi's Kahan summation, and what stands in their place."""

from functools import partial

import pytest
import torch

import rectified
from going_on import from_a_file, start
from rectified.optim import convert
from trajectories import gradient, parameters, train

optimi = pytest.importorskip("optimi")


def test_kahans_compensations_are_carried_over():
    """The lr is so small that no weight moves but by what is kept back."""
    params = [torch.nn.Parameter(torch.full((50,), 2.0, dtype=torch.bfloat16)), *parameters(shapes=((3,),))]
    options = {"lr": 3e-4, "betas": (0.9, 0.98)}
    theirs = optimi.RAdam(params, **options)

    def take(optimizer, params, steps):
        for step in steps:
            for i, p in enumerate(params):  # of one sign, so that it adds up
                p.grad = gradient(p, i, step).abs()
            optimizer.step()

    take(theirs, params, range(1, 21))
    saved = convert.from_optimi(from_a_file(theirs))
    assert saved["param_groups"][0]["rounding"] == "kahan"
    assert "compensation" not in saved["state"][1], "a float64 parameter has none"
    assert saved["state"][0]["exp_avg_sq"].dtype == torch.float32
    fresh = [torch.nn.Parameter(p.detach().clone()) for p in params]
    ours = rectified.RAdam(fresh)
    ours.load_state_dict(saved)
    kept_back = ours.state[fresh[0]]["compensation"]
    assert kept_back.dtype == torch.bfloat16
    assert torch.equal(kept_back, theirs.state[params[0]]["kahan_comp"])
    assert (kept_back != 0).all()

    begun = params[0].double() + kept_back.double()
    take(theirs, params, range(21, 61))
    take(ours, fresh, range(21, 61))
    reached = params[0].double() + theirs.state[params[0]]["kahan_comp"].double()
    ours_reached = fresh[0].double() + ours.state[fresh[0]]["compensation"].double()
    # Their moments and compensations are of eight bits, and go on being so.
    torch.testing.assert_close(ours_reached - begun, reached - begun, rtol=0.05, atol=0)
    assert (kept_back.double().abs() > 0.05 * (reached - begun).abs()).any(), "without them it would show"


@pytest.mark.parametrize(
    ("dtype", "placeholder", "kahan_sum"),
    [
        (torch.float32, torch.uint8, None),
        (torch.float32, torch.float32, True),  # optimi has been resumed itself: torch casts on load
        (torch.bfloat16, torch.bfloat16, False),
    ],
)
def test_what_stands_for_a_compensation_where_triton_steps_is_none(dtype, placeholder, kahan_sum):
    theirs, _ = start(partial(optimi.RAdam, kahan_sum=False), dtype)
    train(theirs, [p for group in theirs.param_groups for p in group["params"]], [1])
    saved = theirs.state_dict()
    for group in saved["param_groups"]:
        group["kahan_sum"] = kahan_sum
    for entry in saved["state"].values():
        entry["kahan_comp"] = torch.zeros(1, dtype=placeholder)
    ours = convert.from_optimi(saved)
    assert all("compensation" not in entry for entry in ours["state"].values())
    assert all("rounding" not in group for group in ours["param_groups"])


def test_without_kahan_the_rounding_stays_the_loading_optimizers():
    params = parameters(torch.bfloat16)
    theirs = optimi.RAdam(params, lr=0.01, kahan_sum=False)
    train(theirs, params, [1, 2])
    ours = rectified.RAdam(parameters(torch.bfloat16), rounding="stochastic")
    ours.load_state_dict(convert.from_optimi(from_a_file(theirs)))
    assert ours.param_groups[0]["rounding"] == "stochastic"
    assert {tuple(entry) for entry in ours.state.values()} == {("step", "exp_avg", "exp_avg_sq")}
