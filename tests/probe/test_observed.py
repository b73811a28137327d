"""A warmup that observes the run, where check, Probe, trial and study meet it."""

import pytest
import torch
from torch import nn

import rectified
from observed_runs import Gap
from rectified import Adam, Probe, check, rectify
from rectified.probe import TrialRun, trial
from rectified.study.config.methods import parse
from rectified.trainers.metrics import warmup_metrics
from rectified.warmup import GuardedLinear, Linear

MAKE = {
    "ours": lambda params, warmup: Adam(params, lr=0.01, warmup=warmup),
    "around": lambda params, warmup: rectify(torch.optim.Adam(params, lr=0.01), warmup),
}
every = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


@every
def test_check_takes_it_for_the_linear_warmup_that_it_is_at_most(make):
    def found(warmup):
        return [(x.code, x.severity) for x in check(make([nn.Parameter(torch.ones(2))], warmup), steps=1000)]

    assert found(GuardedLinear(100)) == found(Linear(100))
    assert "no-warmup" not in [code for code, _ in found(Gap())]


@every
def test_a_probe_changes_no_omega_and_sees_it(make):
    omegas = []
    for probed in (False, True):
        torch.manual_seed(0)
        model = nn.Linear(4, 1)
        optimizer = make(model.parameters(), GuardedLinear(5))
        probe = Probe(optimizer) if probed else None
        found = []
        for _ in range(12):
            loss = model(torch.randn(8, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            found.append(optimizer.param_groups[0]["omega"])
            if probe is not None:
                probe.observe(loss)
        omegas.append(found)
        if probe is not None:
            assert [o.model.lr for o in probe.history] == pytest.approx(
                [0.01 * found[int(o.model.step) - 1] for o in probe.history]
            )
    assert omegas[0] == omegas[1]


@every
@pytest.mark.parametrize("warmup", [GuardedLinear(5), Gap()], ids=str)
def test_a_trial_has_an_arm_that_observes(make, warmup):
    made = []

    def make_run(seed):
        model = nn.Linear(4, 1)
        made.append(make(model.parameters(), warmup))
        x = torch.randn(20, 8, 4)
        return TrialRun(model, made[-1], x, lambda model, x: (model(x) - 1).square().mean())

    result = trial(make_run, steps=16, seeds=(0, 1))
    assert result.arms[0].name == "as is"
    assert made[-1].param_groups[0].get("omega") is None, "restored to before its first step"


@every
def test_metrics_have_the_last_omega(make):
    p = nn.Parameter(torch.ones(2))
    optimizer = make([p], GuardedLinear(4))
    p.grad = torch.ones(2)
    for _ in range(2):
        optimizer.step()
    assert warmup_metrics(optimizer) == pytest.approx({"omega": 0.5, "effective_lr": 0.005})


def test_a_study_has_no_control_of_it():
    method = parse("adam+guarded-linear-10%")
    assert (method.observes, method.warms_up) == (True, False)
    with pytest.raises(ValueError, match="depends on the run"):
        method.control()
    assert rectified.warmup.effective_period(method.over(100).warmup, 0.999) == 4.5
