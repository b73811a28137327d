"""Parameters and gradients whose dtype changes between steps or differs, and gradients that are lazily conjugated."""

import pytest
import torch

import rectified
from roster import BY_NAME, both_paths
from trajectories import FusedCalls, gradient, numbers, parameters, train


@pytest.mark.parametrize("name", ["adam", "radam", "adam-2k", "adamw-amsgrad"])
@pytest.mark.parametrize(
    ("before", "after"),
    [(torch.float64, torch.float32), (torch.float32, torch.float64), (torch.float32, torch.bfloat16)],
    ids=str,
)
def test_a_parameter_whose_dtype_changes_between_steps(name, before, after):
    """As model.double() and model.bfloat16() do. torch.optim raises here; ours goes on."""
    method = BY_NAME[name]
    params = parameters(before)
    optimizer = method.optimizer(params, lr=0.05, eps=1e-3)
    twins = [method.textbook(numbers(p), lr=0.05, eps=1e-3) for p in params]
    for step in range(1, 11):
        if step == 5:
            for p in params:
                p.grad = None
                p.data = p.data.to(after)
        for i, (p, twin) in enumerate(zip(params, twins, strict=True)):
            p.grad = gradient(p, i, step)
            twin.step(numbers(p.grad))
        optimizer.step()
    coarser = max(torch.finfo(before).eps, torch.finfo(after).eps)
    for p, twin in zip(params, twins, strict=True):
        assert p.dtype == after
        assert (abs(numbers(p) - twin.theta) <= 12 * coarser * (0.5 + abs(twin.theta))).all()


needs_grad_dtype = pytest.mark.skipif(
    not hasattr(torch.Tensor, "grad_dtype"), reason="this torch has no Tensor.grad_dtype"
)


@needs_grad_dtype
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_gradient_of_another_dtype_is_copied_to_the_fused_op(dtype):
    """As `p.grad_dtype` allows, for weights of 16 bits with gradients summed in 32."""
    params, plain = (parameters(dtype, shapes=((40, 3), (7,))) for _ in range(2))
    optimizer, other = rectified.RAdam(params, lr=0.01), rectified.RAdam(plain, lr=0.01)
    for step in range(1, 9):
        train(other, plain, [step])
        for p, q in zip(params, plain, strict=True):
            p.grad_dtype = torch.float64
            p.grad = q.grad.double()
        with FusedCalls() as calls:
            optimizer.step()
        assert calls.count == 1
    assert all(torch.equal(p, q) for p, q in zip(params, plain, strict=True))


@needs_grad_dtype
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"capturable": True}], ids=str)
def test_a_gradient_whose_dtype_changes_between_steps_is_copied_or_refused_never_misread(path):
    """Which `p.grad_dtype = None` allows. A plan does not look for it."""
    params, plain = ([torch.nn.Parameter(torch.ones(40, 3, dtype=torch.bfloat16))] for _ in range(2))
    options = {"lr": 0.01, "betas": (0.9, 0.95), **path}
    optimizer, other = rectified.RAdam(params, **options), rectified.RAdam(plain, **options)
    for step in range(1, 13):
        train(other, plain, [step])
        params[0].grad_dtype = None
        params[0].grad = plain[0].grad.to([torch.bfloat16, torch.float64, torch.float32][step // 2 % 3])
        optimizer.step()
    assert torch.equal(params[0], plain[0])

    p = torch.nn.Parameter(torch.ones(40, 3))
    optimizer = rectified.RAdam([p], **options)
    train(optimizer, [p], range(1, 8))
    before = p.detach().clone()
    p.grad_dtype = None
    p.grad = torch.ones(40, 3, dtype=torch.bfloat16)
    with pytest.raises(RuntimeError, match=r"dtype|scalar type"):
        optimizer.step()
    assert torch.equal(p, before)


@both_paths
def test_a_gradient_that_is_conjugated_as_a_view_only(path):
    params, plain = (parameters(torch.complex128, shapes=((3, 2),)) for _ in range(2))
    optimizer, other = rectified.RAdam(params, **path), rectified.RAdam(plain, **path)
    for step in range(1, 9):
        g = gradient(plain[0], 0, step)
        params[0].grad, plain[0].grad = g.conj(), g.conj().resolve_conj()
        assert params[0].grad.is_conj()
        optimizer.step()
        other.step()
    assert torch.equal(params[0], plain[0])
