"""Warmups that observe the run: omega against a twin in numpy, in every container, resumed at any step."""

import copy
import inspect
import io
import math
import pickle
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

import rectified
from everyone import EVERYONE
from rectified import Adam, AdamW, rectify
from rectified.optim import contrib
from rectified.optim.observe import feedback
from rectified.optim.step.options import OBSERVED
from rectified.warmup import GuardedLinear, Linear, Warmup

STEPS, LR = 6, 3.0


class Twin:
    """Adam on several parameters with GuardedLinear, from the equations, in float64."""

    def __init__(
        self,
        thetas,
        lr,
        steps,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0.0,
        decoupled=False,
        maximize=False,
        **flags,
    ):
        self.thetas = [np.array(theta, np.float64) for theta in thetas]
        self.lrs = lr if isinstance(lr, list) else [lr] * len(thetas)
        self.steps, self.betas, self.eps, self.weight_decay = steps, betas, eps, weight_decay
        self.decoupled, self.maximize = decoupled, maximize
        self.amsgrad, self.eps_hat = flags.get("amsgrad", False), flags.get("eps_hat", False)
        self.m, self.v, self.v_max = ([np.zeros_like(theta) for theta in self.thetas] for _ in range(3))
        self.t, self.omega, self.before, self.after = 0, 1 / steps, 0.0, 0.0

    def direction(self, i):
        root, debias = np.sqrt(self.v_max[i] if self.amsgrad else self.v[i]), math.sqrt(1 - self.betas[1] ** self.t)
        denominator = (root + self.eps) / debias if self.eps_hat else root / debias + self.eps
        m_hat = self.m[i] / (1 - self.betas[0] ** self.t)
        return m_hat, m_hat / denominator

    def step(self, grads):
        sign = -1 if self.maximize else 1
        grads = [sign * np.asarray(g, np.float64) for g in grads]
        if self.t and self.omega < 1:
            before = after = 0.0
            for i, g in enumerate(grads):
                m_hat, d = self.direction(i)
                weight = self.lrs[i] / max(self.lrs)
                before, after = before + weight * (m_hat * d).sum(), after + weight * (g * d).sum()
            self.before, self.after = 0.7 * self.before + 0.3 * before, 0.7 * self.after + 0.3 * after
            ratio = self.after / self.before
            if ratio >= -0.15:
                self.omega = min(1, self.omega + 1 / self.steps)
            else:
                self.omega *= math.exp(max(-0.5, 0.15 * (ratio + 0.15)))
        self.t += 1
        for i, g in enumerate(grads):
            if self.decoupled:
                self.thetas[i] = self.thetas[i] * (1 - self.lrs[i] * self.weight_decay)
            else:
                g = g + self.weight_decay * self.thetas[i]
            self.m[i] = self.betas[0] * self.m[i] + (1 - self.betas[0]) * g
            self.v[i] = self.betas[1] * self.v[i] + (1 - self.betas[1]) * g * g
            self.v_max[i] = np.maximum(self.v_max[i], self.v[i])
            self.thetas[i] = self.thetas[i] - self.lrs[i] * self.omega * self.direction(i)[1]


def parameters(dtype=torch.float64, **options):
    torch.manual_seed(1)
    shapes = (5, 3), (4,), (), (2, 3, 2)
    return [nn.Parameter(torch.randn(shape, dtype=dtype, **options)) for shape in shapes]


SCALES = (0.5, 3.0, 40.0, 7.0)


def gradients(params, step, noise=0.3):
    """Those of a stiff quadratic, with noise: at the lr of these tests steps overshoot, and omega rises and falls."""
    generator = torch.Generator().manual_seed(step)
    return [
        scale * (p.detach() + noise * torch.randn(p.shape, generator=generator, dtype=torch.float64).to(p.dtype))
        for p, scale in zip(params, SCALES, strict=True)
    ]


def train(optimizer, params, steps, grads=gradients, scale=1.0):
    """Take steps; return omega of each."""
    omegas = []
    for step in steps:
        for p, g in zip(params, grads(params, step), strict=True):
            p.grad = g * scale
        optimizer.step()
        omegas.append(optimizer.param_groups[0]["omega"])
    return omegas


def expected(steps, lr=LR, **options):
    """The twin's omegas and parameters on the gradients of its own trajectory."""
    twin, omegas = Twin([p.detach().numpy() for p in parameters()], lr, STEPS, **options), []
    for step in range(steps):
        twin.step([g.numpy() for g in gradients([torch.tensor(theta) for theta in twin.thetas], step)])
        omegas.append(twin.omega)
    return omegas, twin.thetas


def test_the_gradients_of_these_tests_make_omega_rise_and_fall():
    omegas, _ = expected(40)
    assert any(b < a for a, b in pairwise(omegas))
    assert any(b > a for a, b in pairwise(omegas[10:]))


KINDS = {
    "adam": (Adam, {}),
    "amsgrad": (Adam, {"amsgrad": True}),
    "eps": (Adam, {"eps": 0.1}),
    "eps_hat": (Adam, {"eps": 0.1, "eps_hat": True}),
    "l2": (Adam, {"weight_decay": 0.1}),
    "decoupled": (AdamW, {"weight_decay": 0.1}),
    "betas": (Adam, {"betas": (0.5, 0.9)}),
    "foreach": (Adam, {"foreach": True}),
    "tensor lr": (Adam, {"lr": torch.tensor(LR, dtype=torch.float64)}),
}
TWIN = {"decoupled": {"decoupled": True}}


@pytest.mark.parametrize("name", KINDS)
def test_omega_and_trajectory_are_the_twins(name):
    make, options = KINDS[name]
    params = parameters()
    optimizer = make(params, **{"lr": LR, **options}, warmup=GuardedLinear(STEPS))
    twin = {key: x for key, x in options.items() if key not in ("foreach", "lr")}
    omegas, thetas = expected(40, **twin, **TWIN.get(name, {}))
    np.testing.assert_allclose(train(optimizer, params, range(40)), omegas, rtol=1e-9)
    for p, theta in zip(params, thetas, strict=True):
        np.testing.assert_allclose(p.detach(), theta, rtol=1e-7, atol=1e-9)


def test_maximizing_is_minimizing_the_negative():
    params = parameters()
    optimizer = Adam(params, lr=LR, maximize=True, warmup=GuardedLinear(STEPS))
    np.testing.assert_allclose(train(optimizer, params, range(40), scale=-1.0), expected(40)[0], rtol=1e-9)


@pytest.mark.parametrize("options", [{"fused": True}, {"foreach": True}, {"amsgrad": True}], ids=str)
@pytest.mark.parametrize("kind", ["Adam", "AdamW"])
def test_around_torchs_own_it_is_the_same(kind, options):
    theirs, ours = parameters(), parameters()
    around = rectify(getattr(torch.optim, kind)(theirs, lr=LR, weight_decay=0.0, **options), GuardedLinear(STEPS))
    options = {name: x for name, x in options.items() if name == "amsgrad"}
    own = getattr(rectified, kind)(ours, lr=LR, weight_decay=0.0, warmup=GuardedLinear(STEPS), **options)
    np.testing.assert_allclose(train(around, theirs, range(40)), train(own, ours, range(40)), rtol=1e-9)


def test_groups_of_one_lr_are_as_one_group_and_others_count_in_proportion():
    omegas, _ = expected(40)
    for make in (
        lambda groups: Adam(groups, lr=LR, warmup=GuardedLinear(STEPS)),
        lambda groups: rectify(torch.optim.Adam(groups, lr=LR), GuardedLinear(STEPS)),
    ):
        params = parameters()
        split = make([{"params": params[:1]}, {"params": params[1:]}])
        np.testing.assert_allclose(train(split, params, range(40)), omegas, rtol=1e-9)
        assert split.param_groups[0]["omega"] == split.param_groups[1]["omega"]
        params = parameters()
        split = make([{"params": params[:2], "lr": LR / 4}, {"params": params[2:]}])
        np.testing.assert_allclose(
            train(split, params, range(40)), expected(40, lr=[LR / 4, LR / 4, LR, LR])[0], rtol=1e-9
        )


def test_where_no_step_overshoots_it_is_the_linear_warmup_to_the_bit():
    def steady(params, step):
        return [torch.ones_like(p) for p in params]

    guarded, linear = parameters(torch.float32), parameters(torch.float32)
    train(Adam(guarded, warmup=GuardedLinear(8)), guarded, range(20), steady)
    train(Adam(linear, warmup=Linear(8)), linear, range(20), steady)
    assert all(map(torch.equal, guarded, linear))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters_have_the_same_omega_but_for_rounding(dtype):
    params = parameters(dtype)
    omegas = train(Adam(params, lr=LR, warmup=GuardedLinear(STEPS)), params, range(12))
    np.testing.assert_allclose(omegas, expected(12)[0], rtol=0.05)


def test_complex_parameters_count_as_pairs_of_reals():
    pairs = [nn.Parameter(torch.randn(3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))]
    whole = [nn.Parameter(torch.view_as_complex(pairs[0].detach().clone()))]

    def grads(params, step):
        (p,) = params
        shift = step % 3 * (1 + 1j if p.is_complex() else 1)
        return [30 * p.detach() + shift]

    found = [
        train(Adam(params, lr=LR, warmup=GuardedLinear(STEPS)), params, range(20), grads) for params in (pairs, whole)
    ]
    np.testing.assert_allclose(*found, rtol=1e-12)
    assert any(b < a for a, b in pairwise(found[0]))


# Saved, copied and continued at any step.


def ours(params):
    return Adam([{"params": params[:2]}, {"params": params[2:]}], lr=LR, warmup=GuardedLinear(STEPS))


def around(params):
    groups = [{"params": params[:2]}, {"params": params[2:]}]
    return rectify(torch.optim.Adam(groups, lr=LR), GuardedLinear(STEPS))


def scheduled(params):
    optimizer = torch.optim.Adam([{"params": params[:2]}, {"params": params[2:]}], lr=LR)
    optimizer.kept = rectified.WarmupLR(optimizer, GuardedLinear(STEPS))
    return optimizer


def through_a_file(optimizer, params, make):
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    again = make(params)
    again.load_state_dict(torch.load(file, weights_only=True))
    return again


@pytest.mark.parametrize("make", [ours, around, scheduled])
@pytest.mark.parametrize("at", [0, 1, 4, 9, 30])
def test_a_saved_run_continues_to_the_bit(make, at):
    whole, parts = parameters(), parameters()
    omegas = train(make(whole), whole, range(40))
    first = make(parts)
    found = train(first, parts, range(at))
    again = through_a_file(first, parts, make)
    assert found + train(again, parts, range(at, 40)) == omegas
    assert all(map(torch.equal, whole, parts))


@pytest.mark.parametrize("make", [ours, around])
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_continues_and_leaves_the_original_alone(make, copied):
    params = parameters()
    optimizer = make(params)
    train(optimizer, params, range(4))
    twin = copied(optimizer)
    others = [p for group in twin.param_groups for p in group["params"]]
    assert train(twin, others, range(4, 20)) == train(optimizer, params, range(4, 20))


def test_a_save_without_a_memory_is_past_its_warmup_like_any_other():
    """As with Linear, a run of more steps than the warmup's that another warmup began has omega = 1."""
    params = parameters()
    plain = Adam(params, lr=LR)
    train(plain, params, range(STEPS + 1))
    guarded = Adam(params, lr=LR, warmup=GuardedLinear(STEPS))
    train(guarded, params, range(2))
    saved = plain.state_dict()
    del saved["param_groups"][0]["warmup"]  # of plain Adam, which is None
    guarded.load_state_dict(saved)
    assert train(guarded, params, range(3)) == [1.0] * 3


@pytest.mark.parametrize("make", [ours, around])
@pytest.mark.parametrize(
    "wrong", ["much", [[1]], [[1, 2.0]], [[1.5, 0.1]], [["1", 0.1]], [[1, None]], {1: 0.1}], ids=str
)
def test_a_save_with_another_memory_is_refused_and_changes_nothing(make, wrong):
    params = parameters()
    optimizer = make(params)
    omegas = train(optimizer, params, range(4))
    saved = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][1][OBSERVED] = wrong
    with pytest.raises(ValueError, match="has observed is"):
        optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["omega"] == omegas[-1]
    train(optimizer, params, range(4, 8))


# Clocks.


def test_a_parameter_that_begins_later_has_a_warmup_of_its_own():
    early, late = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Adam([early, late], lr=1e-3, warmup=GuardedLinear(4))
    for step in range(12):
        early.grad = torch.ones(3)
        late.grad = torch.ones(3) if step >= 6 else None
        before = late.detach().clone()
        optimizer.step()
        moved = (before - late.detach()).mean().item() / 1e-3
        assert moved == pytest.approx(min(1, (step - 5) / 4) if step >= 6 else 0, abs=1e-4)
    assert optimizer.param_groups[0]["omega"] == 1
    assert optimizer.param_groups[0][OBSERVED] == ()


def test_a_parameter_that_skips_steps_goes_on_where_it_was():
    always, sometimes = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))
    optimizer = Adam([always, sometimes], lr=1e-3, warmup=GuardedLinear(4))
    for step in range(10):
        always.grad = torch.ones(3)
        sometimes.grad = torch.ones(3) if step % 3 == 0 else None
        optimizer.step()
    counts = {row[0] for row in optimizer.param_groups[0][OBSERVED]}
    assert counts <= {4}, "what is remembered is bounded by the counts that there are"
    assert rectified.explain(optimizer)[-1].t == 5


def test_a_parameter_that_is_listed_twice_is_warmed_up_once():
    p = nn.Parameter(torch.ones(3))
    with pytest.warns(UserWarning, match="duplicate"):
        twice = Adam([p, p], lr=1e-3, warmup=GuardedLinear(4))
    omegas = []
    for _ in range(6):
        p.grad = torch.ones(3)
        twice.step()
        omegas.append(twice.param_groups[0]["omega"])
    assert omegas[-1] == 1
    assert omegas == sorted(omegas)
    assert len(twice.param_groups[0][OBSERVED]) <= 2


def test_a_restarted_warmup_begins_again():
    params = parameters()
    optimizer = ours(params)
    omegas = train(optimizer, params, range(4))
    optimizer.restart_warmup(0)
    train(optimizer, params, range(1))
    assert optimizer.param_groups[0]["omega"] == omegas[0] < optimizer.param_groups[1]["omega"]


def test_a_step_at_lr_0_tells_nothing():
    params = parameters()
    optimizer = Adam(params, lr=0.0, warmup=GuardedLinear(STEPS))
    assert train(optimizer, params, range(5)) == [1 / STEPS] * 5


def test_a_gradient_that_is_not_finite_lowers_omega_and_is_forgotten():
    memory = GuardedLinear(10).observe((0.5, 1.0, 1.0), feedback.Feedback(9, 1.0, math.nan))
    assert memory == (0.5 * math.exp(-0.5), 1.0, 1.0)


# Loss scales.


@pytest.mark.parametrize("around", [False, True])
def test_a_scaler_changes_no_omega_and_a_skipped_step_is_not_observed(around):
    def made(params):
        if around:
            return rectify(torch.optim.Adam(params, lr=LR, fused=True), GuardedLinear(STEPS))
        return Adam(params, lr=LR, fused=True, warmup=GuardedLinear(STEPS))

    plain, scaled = parameters(torch.float32), parameters(torch.float32)
    omegas = train(made(plain), plain, range(20))
    optimizer, found = made(scaled), []
    for step in range(20):
        scale = 2.0 ** (step % 5)
        for p, g in zip(scaled, gradients(scaled, step), strict=True):
            p.grad = g * scale
        if step == 3:  # what GradScaler does
            kept = [p.grad for p in scaled]
            scaled[0].grad = torch.full_like(scaled[0], math.inf)
            optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(1.0)
            optimizer.step()
            for p, g in zip(scaled, kept, strict=True):
                p.grad = g
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(0.0)
        optimizer.step()
        found.append(optimizer.param_groups[0]["omega"])
    np.testing.assert_allclose(found, omegas, rtol=1e-4)


# What the ratio is: docs/mathematics.md.


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("part", [0.05, 0.3, 1.0, "near the edge"])
def test_in_stationary_noise_the_ratio_is_minus_half_of_a_h(beta1, part):
    """theta_(t+1) = theta - a m, g = h theta + noise, in 4,000 runs at once."""
    generator = np.random.default_rng(0)
    ah = 0.9 * 2 * (1 + beta1) / (1 - beta1) if part == "near the edge" else part
    theta, m, after, before = np.zeros(4000), np.zeros(4000), 0.0, 0.0
    for t in range(2500):
        g = theta + generator.standard_normal(4000)
        if t > 1500:
            after, before = after + (g * m).sum(), before + (m * m).sum()
        m = beta1 * m + (1 - beta1) * g
        theta = theta - ah * m
    assert after / before == pytest.approx(-ah / 2, rel=0.04, abs=0.002)


def largest_loss(warmup, lr, seed, steps=640, size=256):
    """The largest loss of a run on a noisy quadratic, over that at its start."""
    generator = torch.Generator().manual_seed(seed)
    h = torch.logspace(-3, 0, size)
    p = nn.Parameter(torch.randn(size, generator=generator))
    optimizer = Adam([p], lr=lr, warmup=warmup)
    start = worst = (h * p.data.square()).sum().item()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        p.grad = h * p.data + 0.3 * h.sqrt() * torch.randn(size, generator=generator)
        optimizer.step()
        worst = max(worst, (h * p.data.square()).sum().item())
    return worst / start


@pytest.mark.parametrize(
    ("warmup", "losses"),
    [(None, (1.0, 7.6, 110)), (Linear(64), (1.0, 1.0, 2.6)), (GuardedLinear(64), (1.0, 1.0, 1.0))],
    ids=str,
)
def test_on_a_noisy_quadratic_the_guard_keeps_the_loss_near_its_start(warmup, losses):
    for lr, expected in zip((1.0, 3.0, 10.0), losses, strict=True):
        worst = max(largest_loss(warmup, lr, seed) for seed in range(3))
        assert worst == pytest.approx(expected, rel=0.1), lr


# What it costs, and whom.


def test_nothing_is_summed_once_omega_is_1_and_never_for_another_warmup(monkeypatch):
    calls = []
    monkeypatch.setattr(feedback, "slopes", lambda steps: calls.append(len(list(steps))) or (1.0, 1.0))
    params = parameters()
    train(Adam(params, warmup=GuardedLinear(5)), params, range(20))
    assert len(calls) == 4
    train(Adam(params, warmup=Linear(5)), params, range(20))
    train(Adam(params), params, range(20))
    assert len(calls) == 4


# Who may have one.

OTHER_STEPS = (rectified.RMSprop, rectified.NAdam, rectified.Adadelta, rectified.LAMB, contrib.StableAdamW)


@pytest.mark.parametrize("make", OTHER_STEPS)
def test_optimizers_with_other_steps_refuse_it(make):
    with pytest.raises(ValueError, match="observes Adam's steps"):
        make([nn.Parameter(torch.ones(2))], warmup=GuardedLinear(3))


def test_no_other_optimizer_takes_a_warmup_without_taking_adams_steps():
    made = {getattr(make, "func", make) for make in EVERYONE.values()}
    takes = {kind for kind in made if "warmup" in inspect.signature(kind).parameters}
    assert {kind for kind in takes if not kind.OBSERVABLE} == set(OTHER_STEPS)


@pytest.mark.parametrize("kind", ["SGD", "NAdam", "Adagrad", "Adamax", "RMSprop", "Adadelta"])
def test_around_optimizers_with_other_steps_it_is_refused(kind):
    with pytest.raises(ValueError, match="observes Adam's steps"):
        rectify(getattr(torch.optim, kind)([nn.Parameter(torch.ones(2))], lr=0.1), GuardedLinear(3))


@pytest.mark.parametrize("make", [rectified.NAdam, rectified.RMSprop, rectified.LAMB, contrib.StableAdamW])
def test_around_ours_with_other_steps_it_is_refused(make):
    with pytest.raises(ValueError, match="observes Adam's steps"):
        rectify(make([nn.Parameter(torch.ones(2))], lr=0.1), GuardedLinear(3))


def test_around_an_optimizer_whose_states_have_other_names_it_is_an_error_before_the_second_step():
    class Other(torch.optim.Optimizer):
        def __init__(self, params):
            super().__init__(params, {"lr": 0.1, "betas": (0.9, 0.999)})

        def step(self, closure=None):
            for group in self.param_groups:
                for p in group["params"]:
                    p.data.sub_(group["lr"] * p.grad)

    p = nn.Parameter(torch.ones(2))
    optimizer = rectify(Other([p]), GuardedLinear(3))
    p.grad = torch.ones(2)
    optimizer.step()
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match="no exp_avg"):
        optimizer.step()
    assert torch.equal(p, before)
    assert optimizer.param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("changed", [{"capturable": True}])
def test_on_the_device_it_is_refused_with_the_reason(changed):
    with pytest.raises(ValueError, match="host reads at every step"):
        Adam([nn.Parameter(torch.ones(2))], warmup=GuardedLinear(3), **changed)


def test_in_backward_it_is_refused():
    with pytest.raises(ValueError, match="all gradients of a step"):
        rectified.optim.StepInBackward(Adam([nn.Parameter(torch.ones(2))], warmup=GuardedLinear(3)))


def test_a_differentiable_step_has_the_same_omegas():
    params = parameters()
    roots = [p.detach().clone() for p in params]
    optimizer = Adam(roots, lr=LR, differentiable=True, warmup=GuardedLinear(STEPS))
    np.testing.assert_allclose(train(optimizer, roots, range(20)), expected(20)[0], rtol=1e-9)


# The user's own.


@dataclass(frozen=True)
class Gap(Warmup):
    """omega from the loss: 1 once it is half the first."""

    observes = ("loss",)

    def omega(self, t, beta2):
        return 1.0

    def observe(self, memory, feedback):
        first = memory[1] if memory else feedback.loss
        return min(1.0, first / 2 / feedback.loss), first


@pytest.mark.parametrize("around", [False, True])
def test_an_own_warmup_observes_the_loss(around):
    p = nn.Parameter(torch.ones(2))
    optimizer = rectify(torch.optim.SGD([p], lr=0.1), Gap(), beta2=0.999) if around else Adam([p], lr=0.1, warmup=Gap())
    omegas = []
    for loss in (8.0, torch.tensor(6.0), 5.0, 4.0, 9.0):
        p.grad = torch.ones(2)
        optimizer.observe_loss(loss)
        optimizer.step()
        omegas.append(optimizer.param_groups[0]["omega"])
    assert omegas == pytest.approx([0.5, 4 / 6, 0.8, 1.0, 1.0])


def test_a_closure_is_enough_and_no_loss_is_an_error():
    p = nn.Parameter(torch.ones(2))
    optimizer = Adam([p], lr=0.1, warmup=Gap())
    p.grad = torch.ones(2)
    before = p.detach().clone()
    with pytest.raises(RuntimeError, match=r"observe_loss\(loss\)"):
        optimizer.step()
    assert torch.equal(p, before)
    optimizer.step(lambda: torch.tensor(8.0))
    assert optimizer.param_groups[0]["omega"] == 0.5
    assert optimizer._loss is None, "it would keep the graph"


def test_an_own_warmup_without_observe_and_an_omega_outside_its_range_are_errors():
    class Nothing(Warmup):
        observes = ("slopes",)

        def omega(self, t, beta2):
            return 1.0

    class Twice(Nothing):
        def observe(self, memory, feedback):
            return (2.0,)

    p = nn.Parameter(torch.ones(2))
    p.grad = torch.ones(2)
    with pytest.raises(NotImplementedError, match="define observe"):
        Adam([p], warmup=Nothing()).step()
    with pytest.raises(ValueError, match=r"omega = 2\.0 at t = 1"):
        Adam([p], warmup=Twice()).step()


def test_explain_says_that_the_run_decides():
    params = parameters()
    for optimizer in (ours(params), around(params)):
        assert rectified.explain(optimizer)[0].observes
        train(optimizer, params, range(3))
        now = rectified.explain(optimizer)[0]
        assert (now.until_09, now.until_full, now.observes) == (None, None, True)
        assert now.omega == optimizer.param_groups[0]["omega"]
        assert "depend on the run" in str(now)
        for group in optimizer.param_groups:
            group["lr"] = 0.1
        train(optimizer, params, range(3, 60))
        now = rectified.explain(optimizer)[0]
        assert (now.phase, now.observes) == ("full", False)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"steps": 0}, ValueError),
        ({"steps": "5"}, TypeError),
        ({"steps": 5, "threshold": 2}, ValueError),
        ({"steps": 5, "threshold": math.nan}, ValueError),
        ({"steps": 5, "threshold": None}, TypeError),
    ],
    ids=str,
)
def test_wrong_options(options, error):
    with pytest.raises(error, match=r"steps is|threshold is"):
        GuardedLinear(**options)
