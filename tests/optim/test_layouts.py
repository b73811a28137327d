"""Layouts: ours is right where torch's fused op, which pairs raw memory, is silently wrong and writes elsewhere."""

from functools import partial

import pytest
import torch

import rectified
from rectified.optim import contrib
from rectified.optim.step import chunking, kernels
from roster import BY_NAME, both_paths, representatives
from trajectories import FusedCalls, gradient, numbers, parameters, race, train

GUARD = 7.0


def like_it(p, g):
    """The gradient in the parameter's own layout."""
    return torch.empty_like(p).copy_(g)


def contiguous(p, g):
    return g.contiguous()


def expanded(p, g):
    """One number for all, at one place of memory; there is room behind it, for an op that reads on to read safely."""
    room = torch.zeros(100, dtype=g.dtype)
    room[0] = g.flatten()[0]
    return room.as_strided(p.shape, (0,) * p.dim())


def channels_last(p, g):
    return g.contiguous(memory_format=torch.channels_last)


# How the parameter lies in a block of 100 numbers, how its gradient lies, whether the fused op may take them uncopied.
LAYOUTS = {
    "slice": (lambda block: block[20:56].view(6, 6)[:, 1:3], contiguous, False),
    "slice with a gradient like it": (lambda block: block[20:56].view(6, 6)[:, 1:3], like_it, False),
    "every other": (lambda block: block[20:56][::2], contiguous, False),
    "diagonal": (lambda block: block[20:56].view(6, 6).diagonal(), contiguous, False),
    "transpose": (lambda block: block[20:56].view(4, 9).t(), contiguous, False),
    "transpose with a gradient like it": (lambda block: block[20:56].view(4, 9).t(), like_it, True),
    "expanded gradient": (lambda block: block[20:44].view(4, 6), expanded, False),
    "channels_last with a contiguous gradient": (
        lambda block: block[20:56].view(2, 3, 3, 2).permute(0, 3, 1, 2),
        contiguous,
        False,
    ),
    "contiguous with a channels_last gradient": (lambda block: block[20:56].view(2, 2, 3, 3), channels_last, False),
    "channels_last, both": (lambda block: block[20:56].view(2, 3, 3, 2).permute(0, 3, 1, 2), channels_last, True),
    "dimensions of size 1": (lambda block: block[20:32].view(6, 1, 2, 1), channels_last, True),
    "a dense slice": (lambda block: block[20:56].view(6, 6)[2:4], contiguous, True),
}
WRONG_IN_TORCH = [name for name, (_, _, uncopied) in LAYOUTS.items() if not uncopied]


def laid_out(name):
    """The block with its guards, the parameter in it, and what draws its gradients."""
    lay, lay_gradient, uncopied = LAYOUTS[name]
    block = torch.full((100,), GUARD, dtype=torch.float64)
    p = torch.nn.Parameter(lay(block))
    with torch.no_grad():
        p.copy_(gradient(p, 0, 99))
    inside = torch.zeros(100, dtype=torch.bool)
    inside[lay(torch.arange(100))] = True
    return block, inside, p, lambda step: lay_gradient(p, gradient(p, 0, step)), uncopied


@representatives
@pytest.mark.parametrize(
    ("path", "cut"),
    [({}, False), ({"foreach": True}, True), ({"capturable": True}, True)],
    ids=["fused", "foreach, cut", "capturable, cut"],
)
@pytest.mark.parametrize("name", LAYOUTS)
def test_any_layout_equals_the_twin_and_spares_its_neighbours(method, name, path, cut, monkeypatch):
    if cut:
        for constant, value in (("_PART", 5), ("_OF_A_THREAD", 0), ("_VECTOR", 1)):
            monkeypatch.setattr(chunking, constant, value)
    block, inside, p, draw, uncopied = laid_out(name)
    options = {"lr": 0.02, "weight_decay": 0.1}
    optimizer = method.optimizer([p], **options, **path)
    twin = method.textbook(numbers(p), **options)
    with FusedCalls() as calls:
        for step in range(1, 9):
            p.grad = draw(step)
            twin.step(numbers(p.grad))
            optimizer.step()
    torch.testing.assert_close(p.detach().contiguous(), torch.as_tensor(twin.theta), rtol=1e-11, atol=1e-14)
    assert (block[~inside] == GUARD).all(), "memory that is not the parameter's was written"
    (bucket,) = optimizer._plans[0].buckets
    if not path:
        assert calls.count > 0
        assert (bucket.kernel is kernels.fused) == uncopied
    assert all(kernels.is_dense(optimizer.state[p][name]) for name in ("exp_avg", "exp_avg_sq"))


# The methods that are not one scalar in front of Adam's step, and whether Adam's kernel is a part of theirs.
OTHERS = {
    "RMSprop": (partial(rectified.RMSprop, momentum=0.9), True),
    "RMSprop centered": (partial(rectified.RMSprop, centered=True), False),
    "NAdam": (rectified.NAdam, True),
    "Adadelta": (rectified.Adadelta, False),
    "LAMB": (rectified.LAMB, True),
    "StableAdamW": (contrib.StableAdamW, True),
    "AdamHD": (contrib.AdamHD, True),
    "SGDHD": (contrib.SGDHD, False),
    "COCOB": (contrib.COCOB, False),
    "YellowFin": (contrib.YellowFin, False),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", LAYOUTS)
def test_so_do_the_other_methods(kind, name):
    make, has_kernel = OTHERS[kind]
    block, inside, p, draw, uncopied = laid_out(name)
    q = torch.nn.Parameter(p.detach().clone(memory_format=torch.contiguous_format))
    ours, theirs = (make([x], weight_decay=0.1) for x in (p, q))
    with FusedCalls() as calls:
        for step in range(1, 9):
            p.grad = draw(step)
            before = p.grad.clone()
            ours.step()
            assert torch.equal(p.grad, before)
    for step in range(1, 9):
        q.grad = draw(step).contiguous()
        theirs.step()
    torch.testing.assert_close(p, q, rtol=1e-11, atol=1e-14)
    assert (block[~inside] == GUARD).all(), "memory that is not the parameter's was written"
    assert not uncopied or (calls.count > 0) == has_kernel


@pytest.mark.parametrize("name", WRONG_IN_TORCH)
def test_torchs_own_fused_adam_is_wrong_there(name):
    """Why the rule exists. Should this ever fail, torch has mended it, and the rule may be relaxed."""
    block, inside, p, draw, _ = laid_out(name)
    optimizer = torch.optim.Adam([p], lr=0.02, fused=True)
    twin = BY_NAME["adam"].textbook(numbers(p), lr=0.02)
    for step in range(1, 4):  # it reads and writes as many numbers as p has, from where p begins: inside the block
        p.grad = draw(step)
        twin.step(numbers(p.grad))
        optimizer.step()
    right = torch.allclose(p.detach(), torch.as_tensor(twin.theta), rtol=1e-6)
    spared = (block[~inside] == GUARD).all()
    assert not (right and spared)


def test_a_slice_is_not_dense_even_where_gradient_and_moments_are_slices_too():
    def sliced():
        return torch.zeros(6, 6, dtype=torch.float64)[:, 1:3]

    block, inside, p, _, _ = laid_out("slice")
    optimizer = rectified.Adam([p], lr=0.02)
    twin = BY_NAME["adam"].textbook(numbers(p), lr=0.02)
    optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": sliced(), "exp_avg_sq": sliced()}
    for step in range(1, 5):
        p.grad = sliced().copy_(gradient(p, 0, step))
        twin.step(numbers(p.grad))
        optimizer.step()
    torch.testing.assert_close(p.detach().contiguous(), torch.as_tensor(twin.theta), rtol=1e-11, atol=1e-14)
    assert (block[~inside] == GUARD).all()


def test_the_moments_of_a_slice_are_kept_when_the_plan_is_made_anew():
    """They are dense, unlike it, which is no reason to copy them whenever some gradient comes or goes."""
    params = [laid_out("slice")[2], parameters(shapes=((3,),))[0]]
    optimizer = rectified.Adam(params)
    train(optimizer, params, [1])
    moments = dict(optimizer.state[params[0]])
    train(optimizer, params, [2, 3], lambda i, step: (i, step) != (1, 2))
    assert all(optimizer.state[params[0]][name] is x for name, x in moments.items())


@both_paths
@pytest.mark.parametrize("lay", [lambda x: x.expand(3, 4), lambda x: x.unfold(0, 2, 1)], ids=["expanded", "windows"])
def test_an_overlapping_parameter_is_refused_before_anything_moves(lay, path):
    """One number stands for many, so no in-place step exists; torch's fused op takes it and writes elsewhere."""
    block = torch.full((100,), GUARD)
    p = torch.nn.Parameter(lay(block[20:24]))
    optimizer = rectified.Adam([p], **path)
    p.grad = torch.ones(p.shape)
    with pytest.raises(RuntimeError, match="several elements at the same memory location"):
        optimizer.step()
    assert (block == GUARD).all()
    assert float(optimizer.state_dict()["state"].get(0, {"step": 0.0})["step"]) == 0


@representatives
@pytest.mark.parametrize("change", ["layout", "storage", "slice", "shape of strides only"])
def test_a_parameter_whose_memory_changes_between_steps(method, change):
    into = {
        "layout": lambda x: x.to(memory_format=torch.channels_last),
        "storage": lambda x: x.clone(),
        "slice": lambda x: torch.cat([x, x], 1)[:, : x.shape[1]],
        "shape of strides only": lambda x: x.clone().transpose(0, 1).contiguous().transpose(0, 1),
    }[change]
    params = parameters(shapes=((4, 3, 2, 2), (5,)))
    optimizer = method.optimizer(params, lr=0.01)
    twins = [method.textbook(numbers(p), lr=0.01) for p in params]
    so_far = race(optimizer, params, twins, range(1, 6))
    with torch.no_grad():
        params[0].grad = None
        params[0].data = into(params[0].data)
    race(optimizer, params, twins, range(6, 11), so_far=so_far)


@representatives
def test_a_gradient_whose_memory_changes_between_steps(method):
    p = parameters(shapes=((4, 3, 2, 2),))[0]
    optimizer = method.optimizer([p], lr=0.01)
    twin = method.textbook(numbers(p), lr=0.01)
    for step in range(1, 13):
        g = gradient(p, 0, step)
        p.grad = [contiguous, channels_last, expanded][step // 2 % 3](p, g)
        twin.step(numbers(p.grad))
        optimizer.step()
    torch.testing.assert_close(p.detach(), torch.as_tensor(twin.theta), rtol=1e-11, atol=1e-14)


TWINS_NAME = {"exp_avg": "m", "exp_avg_sq": "v", "max_exp_avg_sq": "v_max"}


@both_paths
@pytest.mark.parametrize("where", ["elsewhere", "in place"])
@pytest.mark.parametrize("name", ["parameter", *TWINS_NAME])
def test_a_tensor_whose_strides_change_between_steps_while_it_stays_the_same_object(path, where, name):
    """As `x.data = x.data.to(...)` does elsewhere; a transposed view lies in the same memory, so only strides tell."""
    method = BY_NAME["adamw-amsgrad"]
    params = parameters(shapes=((4, 3, 2, 2), (5,)))
    optimizer = method.optimizer(params, lr=0.01, **path)
    twins = [method.textbook(numbers(p), lr=0.01) for p in params]
    so_far = race(optimizer, params, twins, range(1, 6))
    p, twin = params[0], twins[0]
    p.grad = None
    x = p if name == "parameter" else optimizer.state[p][name]
    if where == "elsewhere":
        x.data = x.data.to(memory_format=torch.channels_last)
    else:
        x.data = x.data.transpose(2, 3)
        attribute = TWINS_NAME.get(name, "theta")
        setattr(twin, attribute, getattr(twin, attribute).swapaxes(2, 3))
        so_far.last[0] = twin.theta
    race(optimizer, params, twins, range(6, 11), so_far=so_far)


@representatives
def test_a_loaded_state_of_another_layout_is_taken_over(method):
    params = parameters(shapes=((4, 3, 2, 2),))
    optimizer = method.optimizer(params, lr=0.01)
    twins = [method.textbook(numbers(p), lr=0.01) for p in params]
    so_far = race(optimizer, params, twins, range(1, 6))
    fresh = [torch.nn.Parameter(p.detach().to(memory_format=torch.channels_last)) for p in params]
    again = method.optimizer(fresh, lr=0.01)
    again.load_state_dict(optimizer.state_dict())
    with FusedCalls() as calls:
        for step in range(6, 11):
            fresh[0].grad = gradient(fresh[0], 0, step).to(memory_format=torch.channels_last)
            twins[0].step(numbers(fresh[0].grad))
            again.step()
            so_far.check([numbers(p) for p in fresh], [twin.theta for twin in twins])
    assert calls.count == 5
