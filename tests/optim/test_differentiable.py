"""autograd through the steps, and torch.compile around them."""

import pytest
import torch
from torch._dynamo.testing import CompileCounter

import rectified
from rectified.warmup import SecondMomentOnly, UntunedLinear
from trajectories import numbers, parameters, train

METHODS = [
    (rectified.RAdam, {}),
    (rectified.RAdam, {"start": "hold", "weight_decay": 0.1, "decoupled_weight_decay": True}),
    (rectified.AdamW, {"amsgrad": True}),
    (rectified.Adam, {"warmup": UntunedLinear(), "weight_decay": 0.1}),
    (rectified.Adam, {"warmup": SecondMomentOnly(3), "maximize": True}),
]
every = pytest.mark.parametrize(("kind", "options"), METHODS, ids=lambda x: str(getattr(x, "__name__", x)))


def unroll(kind, options, start, g, lr, steps=8):
    leaf = torch.nn.Parameter(start.detach())
    optimizer = kind([leaf], lr=lr, differentiable=True, **options)
    theta = start.clone()
    optimizer.param_groups[0]["params"][0] = theta
    for t in range(1, steps + 1):
        theta.grad = torch.sin(t * g) + 0.3
        optimizer.step()
    return theta


@every
def test_gradients_through_eight_steps_are_right(kind, options):
    start = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    g = torch.tensor([0.3, 0.2, -0.4], dtype=torch.float64, requires_grad=True)
    lr = torch.tensor(0.1, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *x: unroll(kind, options, *x), (start, g, lr))


@every
def test_the_steps_are_the_usual_ones(kind, options):
    start, g = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), torch.tensor([0.3, 0.2, -0.4], dtype=torch.float64)
    found = unroll(kind, options, start, g, 0.1)
    p = torch.nn.Parameter(start.clone())
    optimizer = kind([p], lr=0.1, **options)
    for t in range(1, 9):
        p.grad = torch.sin(t * g) + 0.3
        optimizer.step()
    torch.testing.assert_close(found, p.detach(), rtol=1e-13, atol=1e-14)


def test_an_lr_of_one_element_moves_a_parameter_of_no_dimensions():
    ends = []
    for lr in (0.1, torch.tensor(0.1, dtype=torch.float64), torch.tensor([0.1], dtype=torch.float64)):
        leaf = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))
        optimizer = rectified.RAdam([leaf], lr=lr, weight_decay=0.1, decoupled_weight_decay=True, differentiable=True)
        theta = optimizer.param_groups[0]["params"][0] = leaf.detach().clone()
        for t in range(1, 9):
            theta.grad = torch.sin(torch.tensor(float(t), dtype=torch.float64))
            optimizer.step()
        ends.append(theta.item())
    assert ends[0] == pytest.approx(ends[1], rel=1e-15)
    assert ends[1] == ends[2] != 1


def test_complex_parameters_too():
    params, plain = parameters(torch.complex128, ((3, 2), ())), parameters(torch.complex128, ((3, 2), ()))
    leaves = [p.detach().clone() for p in params]
    optimizer = rectified.RAdam(params, differentiable=True)
    optimizer.param_groups[0]["params"][:] = leaves
    train(optimizer, leaves, range(1, 10))
    train(rectified.RAdam(plain), plain, range(1, 10))
    for p, q in zip(leaves, plain, strict=True):
        assert numbers(p) == pytest.approx(numbers(q), rel=1e-12)


@pytest.mark.parametrize("other", ["fused", "capturable"])
def test_what_does_not_go_with_it_is_refused(other):
    with pytest.raises(RuntimeError, match=f"`{other}` does not support `differentiable`"):
        rectified.Adam(parameters(), differentiable=True, **{other: True})


@pytest.mark.parametrize("rounding", ["kahan", "stochastic"])
def test_roundings_that_autograd_would_not_record_are_refused(rounding):
    words = f"rounding='{rounding}' does not support `differentiable`.*'nearest'"
    with pytest.raises(RuntimeError, match=words):
        rectified.Adam(parameters(torch.bfloat16), differentiable=True, rounding=rounding)
    optimizer = rectified.Adam(parameters(torch.bfloat16), differentiable=True)
    with pytest.raises(RuntimeError, match=words):
        optimizer.add_param_group({"params": parameters(), "rounding": rounding})


@pytest.mark.filterwarnings("ignore")  # what torch.compile says of itself
@pytest.mark.parametrize("capturable", [False, True])
def test_a_compiled_training_step_is_compiled_once_however_lr_changes(capturable):
    torch._dynamo.reset()
    torch.manual_seed(0)
    model, plain = torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)
    plain.load_state_dict(model.state_dict())
    optimizer = rectified.RAdam(model.parameters(), lr=torch.tensor(1e-3), capturable=capturable)
    other = rectified.RAdam(plain.parameters(), lr=torch.tensor(1e-3))
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(x, 0.8) for x in (optimizer, other)]
    counter = CompileCounter()

    @torch.compile(backend=counter)
    def compiled(x):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    for step in range(9):
        x = torch.randn(2, 4, generator=torch.Generator().manual_seed(step))
        compiled(x)
        other.zero_grad()
        plain(x).square().mean().backward()
        other.step()
        for scheduler in schedulers:
            scheduler.step()
        if step == 1:
            frames = counter.frame_count
    assert counter.frame_count == frames
    for p, q in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q)
