"""Defects of other optimizers, as measured: each is a test by its name that every method here passes.

Where the peer is torch, a second test (`..._in_torch`) holds that it still has the defect. When such a test fails,
torch has mended it: then the test goes, and what docs/ and docstrings say of it.
"""

import sys

import pytest
import torch

from rectified.warmup import Rectified
from roster import BY_NAME, both_paths, representatives
from saves import through_a_file
from trajectories import comes_and_goes, numbers, parameters, race, set_gradients, train

capturable_or_not = pytest.mark.parametrize("capturable", [False, True], ids=["host", "capturable"])
SHORT = (0.9, 0.95)  # betas at which the table of a capturable optimizer is made in no time
both_torchs_paths = pytest.mark.parametrize("foreach", [False, True], ids=["single tensor", "foreach"])


def twins_of(method, params, **options):
    return [method.textbook(numbers(p), **options) for p in params]


@representatives
@capturable_or_not
def test_odd_layouts_through_the_fused_op(method, capturable):
    """torch's Adam(fused=True): slices and transposes come out wrong, and memory beside them is written.

    (Layout by layout, and that torch has it: test_layouts.py.)
    """
    block = torch.full((60,), 7.0, dtype=torch.float64)
    slices = block[4:28].view(4, 6)[:, 1:3], block[32:44].view(3, 4).t(), block[48:58:2]
    params = [torch.nn.Parameter(x) for x in slices]
    with torch.no_grad():
        for p, q in zip(params, parameters(shapes=[x.shape for x in slices]), strict=True):
            p.copy_(q)
    optimizer = method.optimizer(params, lr=0.02, betas=SHORT, capturable=capturable)
    race(optimizer, params, twins_of(method, params, lr=0.02, betas=SHORT), range(1, 9))
    with torch.no_grad():
        for p in params:
            p.fill_(7.0)
    assert (block == 7.0).all()


@representatives
@both_paths
def test_per_group_lr_ignored(method, path):
    """timm's RAdamLegacy and jettify's RAdam: a buffer that all groups share gives each of them the first one's lr."""
    params = parameters()
    lrs = [0.1, 1e-3, 0.03, 0.02, 1e-4]
    optimizer = method.optimizer([{"params": [p], "lr": lr} for p, lr in zip(params, lrs, strict=True)], **path)
    twins = [method.textbook(numbers(p), lr=lr) for p, lr in zip(params, lrs, strict=True)]
    race(optimizer, params, twins, range(1, 11))


@representatives
@both_paths
def test_groups_added_later_use_stale_values(method, path):
    """The authors' RAdam, timm's and jettify's: a group added later steps by the r_t of the first group's betas."""
    params, late = parameters(), parameters(seed=1)
    own = {"lr": 0.05, "betas": (0.8, 0.97), "eps": 1e-5, "weight_decay": 0.2, "maximize": True}
    optimizer = method.optimizer(params, lr=0.01, **path)
    twins = twins_of(method, params, lr=0.01)
    so_far = race(optimizer, params, twins, range(1, 8))
    optimizer.add_param_group({"params": late, **own})
    twins += twins_of(method, late, **own)
    so_far.join([twin.theta for twin in twins[len(params) :]])
    race(optimizer, params + late, twins, range(8, 17), so_far=so_far)


@representatives
@both_paths
def test_group_level_step_counts(method, path):
    """pytorch_optimizer and optimi: a parameter that appears late takes the group's count, and has no warmup."""
    params = parameters()
    optimizer = method.optimizer(params, lr=0.01, **path)
    twins = twins_of(method, params, lr=0.01)
    race(optimizer, params, twins, range(1, 21), comes_and_goes)
    assert [twin.t for twin in twins] == [17, 16, 12, 20, 20], "the schedule means to have different clocks"


@representatives
@both_paths
@capturable_or_not
def test_nan_from_eps_0_and_zero_gradients(method, path, capturable):
    """torch: its foreach RAdam in the start, which multiplies by 0 what it divided by sqrt(v) = 0; later all of it."""
    params = parameters(shapes=((4,), ()))
    before = [p.detach().clone() for p in params]
    optimizer = method.optimizer(params, betas=SHORT, eps=0.0, capturable=capturable, **path)
    for _ in range(8):
        for p in params:
            p.grad = torch.zeros_like(p)
        optimizer.step()
        assert all(torch.isfinite(p).all() for p in params)
    if not optimizer.param_groups[0]["weight_decay"]:
        assert all(torch.equal(p, x) for p, x in zip(params, before, strict=True))


@both_torchs_paths
def test_nan_from_eps_0_and_zero_gradients_in_torch(foreach):
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.zeros(3)
    torch.optim.RAdam([p], eps=0.0, foreach=foreach).step()
    assert bool(p.isnan().all()) == foreach


@pytest.mark.parametrize("beta2", [0.999, 0.9995, 0.9999, 0.99999])
@capturable_or_not
def test_rho_in_float32(capturable, beta2):
    """torch's capturable RAdam: near 1, rho_t cancels, and the start ends at t = 5 or 2 instead of 6."""
    params = parameters()
    optimizer = BY_NAME["radam"].optimizer(params, betas=(0.9, beta2), capturable=capturable)
    omegas = []
    for step in range(1, 9):
        train(optimizer, params, [step])
        omegas.append(float(optimizer.param_groups[0]["omega"]))
    assert omegas == [Rectified().omega(t, beta2) for t in range(1, 9)]
    assert [omega > 0 for omega in omegas] == [False] * 5 + [True] * 3


@both_torchs_paths
@pytest.mark.parametrize(("beta2", "first"), [(0.999, 6), (0.9995, 5), (0.9999, 2)])
def test_rho_in_float32_in_torch(beta2, first, foreach, monkeypatch):
    """On a CPU, where torch would refuse; the arithmetic is the same."""
    radam = sys.modules["torch.optim.radam"]  # whose name in torch.optim is the function
    monkeypatch.setattr(radam, "_get_capturable_supported_devices", lambda **_: ["cpu"])
    p = torch.nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.RAdam([p], lr=1.0, betas=(0.9, beta2), capturable=True, foreach=foreach)
    moved = []
    for _ in range(6):
        before, p.grad = p.detach().clone(), torch.tensor(1000.0)
        optimizer.step()
        moved.append(abs(float(p.detach() - before)))
    rectified = [step < 1 for step in moved]  # a momentum step is as large as the gradient
    assert rectified.index(True) + 1 == first


@representatives
def test_bfloat16_v_stalls(method):
    """torch and pytorch_optimizer, whose moments are bfloat16: unit gradients take v to 0.5 instead of 1."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimizer = method.optimizer([p])
    p.grad = torch.ones_like(p)
    for _ in range(1000):
        optimizer.step()
    assert float(optimizer.state[p]["exp_avg_sq"]) == pytest.approx(1 - 0.999**1000, rel=1e-4)


def test_bfloat16_v_stalls_in_torch():
    """After 3,000 unit gradients 0.9503 is right."""
    p = torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))
    optimizer = torch.optim.RAdam([p])
    p.grad = torch.ones_like(p)
    for _ in range(3000):
        optimizer.step()
    assert float(optimizer.state[p]["exp_avg_sq"]) == 0.5


def assert_gradients_unwritten(method, options):
    params = parameters()
    optimizer = method.optimizer(params, **options)
    for step in range(1, 9):
        set_gradients(params, step)
        grads = [p.grad for p in params]
        before = [(g.clone(), g._version) for g in grads]
        optimizer.step()
        for p, g, (values, version) in zip(params, grads, before, strict=True):
            assert p.grad is g
            assert torch.equal(g, values)
            assert g._version == version


@representatives
@both_paths
def test_maximize_negates_the_users_gradient(method, path):
    """pytorch_optimizer: after a step with maximize, p.grad has the other sign, and accumulates so."""
    assert_gradients_unwritten(method, {"maximize": True, **path})


@representatives
@both_paths
@pytest.mark.parametrize("maximize", [False, True])
def test_l2_decay_is_written_into_the_gradient(method, path, maximize):
    """optimi and schedulefree: after a step with L2 decay, p.grad holds the decay as well."""
    assert_gradients_unwritten(method, {"weight_decay": 0.1, "maximize": maximize, **path})


@representatives
@both_paths
def test_float64_degraded_to_float32(method, path):
    """The authors' RAdam: it computes in float32 whatever the parameter, which for steps of 1e-10 then stands still."""
    params = parameters()
    optimizer = method.optimizer(params, lr=1e-10, **path)
    race(optimizer, params, twins_of(method, params, lr=1e-10), range(1, 11))
    for p in params:
        assert {p.dtype, *(x.dtype for name, x in optimizer.state[p].items() if name != "step")} == {torch.float64}


def with_one_step_tensor(optimizer):
    """The state with one tensor as everybody's step, through a file, which keeps it one."""
    saved = optimizer.state_dict()
    for entry in saved["state"].values():
        entry["step"] = saved["state"][0]["step"]
    return through_a_file(saved)


@representatives
@capturable_or_not
def test_a_shared_step_tensor_advances_once_per_parameter(method, capturable):
    """torch: a load keeps a step tensor that the saved parameters share, and each of them then adds 1 to it."""
    params = parameters()
    optimizer = method.optimizer(params, betas=SHORT, capturable=capturable)
    twins = twins_of(method, params, betas=SHORT)
    so_far = race(optimizer, params, twins, range(1, 4))
    saved = with_one_step_tensor(optimizer)
    again = method.optimizer(params, betas=SHORT, capturable=capturable)
    again.load_state_dict(saved)
    race(again, params, twins, range(4, 12), so_far=so_far)
    assert float(saved["state"][0]["step"]) == 3, "what was loaded is the user's"


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RAdam"])
@both_torchs_paths
def test_a_shared_step_tensor_in_torch(name, foreach):
    params = parameters()
    optimizer, again = (getattr(torch.optim, name)(params, foreach=foreach) for _ in range(2))
    train(optimizer, params, [1])
    again.load_state_dict(with_one_step_tensor(optimizer))
    train(again, params, [2])
    assert [float(again.state[p]["step"]) for p in params] == [1 + len(params)] * len(params)
