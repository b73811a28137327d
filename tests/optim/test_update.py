"""Every kernel takes the step of the one pure reference update; and every variant's kernels that of its equation."""

from functools import partial

import pytest
import torch

import rectified
from rectified.optim.states.clock import number_in
from rectified.optim.step.update import numbers, update
from rectified.warmup import Linear, Rectified
from roster import REPRESENTATIVES
from trajectories import parameters, set_gradients

PATHS = {
    "fused": {},
    "foreach": {"foreach": True},
    "capturable": {"capturable": True},
    "capturable, foreach": {"capturable": True, "foreach": True},
    "differentiable": {"differentiable": True},
}
OPTIONS = {
    "plain": {},
    "L2, maximize": {"weight_decay": 0.1, "maximize": True},
    "lr 0.3": {"lr": 0.3},
}
representatives = pytest.mark.parametrize("method", REPRESENTATIVES, ids=lambda method: method.name)


@pytest.mark.filterwarnings("ignore:the first momentum step")
@representatives
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 4e-6)], ids=str)
def test_every_kernel_takes_the_reference_update(method, path, options, dtype, tolerance):
    params = parameters(dtype)
    optimizer = method.optimizer(params, **options, **path)
    (group,) = optimizer.param_groups
    if group["differentiable"]:
        params = group["params"][:] = [p.detach() for p in params]  # leaves cannot be stepped under autograd
    thetas = [p.detach().clone().double() for p in params]
    m, v, v_max = ([torch.zeros_like(x) for x in thetas] for _ in range(3))
    for step in range(1, 12):
        set_gradients(params, step)
        n = numbers(group, optimizer.warmup(group), step)
        for i, p in enumerate(params):
            largest = v_max[i] if group["amsgrad"] else None
            thetas[i], m[i], v[i], largest = update(thetas[i], m[i], v[i], p.grad.double(), n, largest)
            v_max[i] = v_max[i] if largest is None else largest
        optimizer.step()
        for i, p in enumerate(params):
            moved = (parameters(torch.float64)[i].detach() - thetas[i]).abs().max() if p.numel() else 0.0
            scale = float(moved) + float(thetas[i].abs().max() if p.numel() else 0.0)
            torch.testing.assert_close(p.detach().double(), thetas[i], rtol=0, atol=tolerance * scale)
            entry = optimizer.state[p]
            assert number_in(entry["step"]) == step
            for name, x in (("exp_avg", m[i]), ("exp_avg_sq", v[i])):
                atol = 10 * tolerance * float(x.abs().max() if x.numel() else 0.0)
                torch.testing.assert_close(entry[name].detach().double(), x, rtol=0, atol=atol)


VARIANTS = {
    "RMSprop": (rectified.RMSprop, torch.optim.RMSprop, {"weight_decay": 0.1}),
    "RMSprop, momentum": (rectified.RMSprop, torch.optim.RMSprop, {"momentum": 0.9}),
    "RMSprop, centered": (rectified.RMSprop, torch.optim.RMSprop, {"centered": True, "momentum": 0.5}),
    "NAdam": (rectified.NAdam, torch.optim.NAdam, {"weight_decay": 0.1}),
    "NAdam, decoupled": (rectified.NAdam, torch.optim.NAdam, {"weight_decay": 0.1, "decoupled_weight_decay": True}),
    "Adadelta": (rectified.Adadelta, torch.optim.Adadelta, {"weight_decay": 0.1, "maximize": True}),
    "LAMB": (rectified.LAMB, None, {"weight_decay": 0.1}),
}
FLAGS = [{}, {"foreach": True}, {"foreach": False}, {"capturable": True}, {"differentiable": True}]


@pytest.mark.parametrize("flags", FLAGS, ids=str)
@pytest.mark.parametrize("name", VARIANTS)
def test_the_variants_take_torchs_flags_and_torchs_steps(name, flags):
    ours, torchs, options = VARIANTS[name]
    params, twins = parameters(), parameters()
    optimizer = ours(params, lr=0.05, **options, **flags)
    if "differentiable" in flags:
        params = optimizer.param_groups[0]["params"][:] = [p.detach() for p in params]
    judge = torchs or partial(ours, foreach=True)
    other = judge(twins, lr=0.05, **options)
    for step in range(1, 15):
        set_gradients(params, step)
        set_gradients(twins, step)
        optimizer.step()
        other.step()
        for p, q in zip(params, twins, strict=True):
            torch.testing.assert_close(p.detach(), q.detach(), rtol=2e-5 if "NAdam" in name else 1e-11, atol=1e-13)


@pytest.mark.parametrize("warmup", [Rectified("exact"), Linear(5), Rectified(start="hold")], ids=str)
@pytest.mark.parametrize("path", [{"capturable": True}, {"differentiable": True}], ids=str)
@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=str)
def test_the_variants_warmups_are_the_same_on_every_path(name, path, warmup, dtype):
    ours, _, options = VARIANTS[name]
    if name == "LAMB" and dtype.is_complex:
        pytest.skip("its norms are of pairs of reals on one path and of complex numbers on none")
    params, twins = parameters(dtype), parameters(dtype)
    rate = {"RMSprop": "alpha", "Adadelta": "rho"}.get(name.split(",")[0])
    rates = {rate: 0.95} if rate else {"betas": (0.9, 0.95)}
    optimizer = ours(params, lr=0.05, warmup=warmup, **options, **rates, **path)
    if "differentiable" in path:
        params = optimizer.param_groups[0]["params"][:] = [p.detach() for p in params]
    other = ours(twins, lr=0.05, warmup=warmup, **options, **rates)
    for step in range(1, 15):
        for some in (params, twins):
            set_gradients(some, step, lambda i, t: (i, t) not in ((0, 2), (1, 3), (1, 4)))
        optimizer.step()
        other.step()
        for p, q in zip(params, twins, strict=True):
            torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-10, atol=1e-12)
    assert float(optimizer.param_groups[0]["omega"]) == pytest.approx(other.param_groups[0]["omega"], rel=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_autograd_sees_through_the_variants(name):
    kind, _, options = VARIANTS[name]

    def unrolled(start, g, lr):
        leaf = torch.nn.Parameter(start.detach())
        optimizer = kind([leaf], lr=lr, differentiable=True, warmup=Linear(3), **options)
        theta = start.clone()
        optimizer.param_groups[0]["params"][0] = theta
        for t in range(1, 5):
            theta.grad = torch.sin(t * g) + 0.3
            optimizer.step()
        return theta

    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([0.3, 0.2, -0.4], dtype=torch.float64, requires_grad=True)
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(unrolled, (start, g, lr))


@pytest.mark.parametrize("kind", [rectified.Adam, rectified.AdamW, rectified.RAdam])
@pytest.mark.parametrize("decoupled", [False, True])
def test_autograd_sees_betas_and_weight_decay(kind, decoupled):
    if kind is rectified.AdamW and not decoupled:
        pytest.skip("AdamW's decay is decoupled")

    def unrolled(start, beta1, beta2, weight_decay):
        leaf = torch.nn.Parameter(start.detach())
        optimizer = kind(
            [leaf],
            lr=0.1,
            betas=(beta1, beta2),
            weight_decay=weight_decay,
            decoupled_weight_decay=decoupled,
            differentiable=True,
        )
        theta = start.clone()
        optimizer.param_groups[0]["params"][0] = theta
        for t in range(1, 8):
            theta.grad = torch.sin(t * torch.tensor([0.3, 0.2, -0.4], dtype=torch.float64)) + 0.3
            optimizer.step()
        return theta

    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    rest = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (0.8, 0.9, 0.1)]
    if kind is rectified.RAdam:  # whose r_t is taken at beta2's value
        rest[1] = torch.tensor(0.9, dtype=torch.float64)
    assert torch.autograd.gradcheck(unrolled, (start, *rest))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (rectified.RMSprop, {"alpha": 0.9}),
        (rectified.Adadelta, {"rho": 0.9}),
        (rectified.NAdam, {"betas": (0.9, 0.99)}),
        (rectified.LAMB, {"betas": (0.9, 0.99)}),
    ],
)
def test_a_rate_that_a_variant_does_not_differentiate_is_refused(kind, options):
    ((name, value),) = options.items()
    rate = torch.tensor(value if isinstance(value, float) else value[1], requires_grad=True)
    given = rate if isinstance(value, float) else (0.9, rate)
    with pytest.raises(RuntimeError, match=f"{name} requires a gradient.*lr and weight_decay alone"):
        kind(parameters(), differentiable=True, **{name: given})
