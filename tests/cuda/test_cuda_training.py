"""Around the steps of a training on an NVIDIA GPU: GradScaler, a tensor lr, warmups, saves, a model that moves."""

import copy
import io
from functools import partial

import pytest
import torch
from cuda_device import DEVICE, warnings_of_any_torch
from cuda_methods import (
    LR,
    METHODS,
    PATHS,
    close,
    copies,
    host,
    make_parameters,
    paths,
    race,
    relative_error,
    rounding,
    set_gradients,
    train,
    twins_of,
)

import rectified
from rectified import Adam, RAdam, optim
from rectified.warmup import Linear
from trajectories import SHAPES, Race, parameters

pytestmark = warnings_of_any_torch

# GradScaler

SCALE = 1024.0


def make_scaler():
    return torch.amp.GradScaler(DEVICE, init_scale=SCALE, backoff_factor=1.0 - 1e-9, growth_interval=10**6)


def scaled_step(optimizer, scaler, params, step, infinite=False):
    set_gradients(params, step, scale=SCALE)
    if infinite:
        params[0].grad.view(-1)[0] = torch.inf
    scaler.scale(torch.zeros((), device=DEVICE))  # which makes the scale's tensor
    scaler.step(optimizer)
    scaler.update()


@pytest.mark.parametrize("name", ["adam", "adamw", "adam, m delayed", "radam", "radam hold"])
@paths
def test_under_a_grad_scaler_a_skipped_step_moves_nothing_and_no_count(name, path):
    make, _ = METHODS[name]
    params, plain = make_parameters(torch.float32), make_parameters(torch.float32)
    optimizer, other, scaler = make(params, lr=LR, **path), make(plain, lr=LR), make_scaler()
    judge = Race([host(p) for p in plain], 6e-5, rounding(torch.float32))
    for taken, step in enumerate([1, 2, 3, 4, 6, 7, 8], start=1):
        scaled_step(optimizer, scaler, params, step)
        train(other, plain, [step])
        judge.check([host(p) for p in params], [host(q) for q in plain])
        kept = [p.detach().clone() for p in params], copy.deepcopy(optimizer.state_dict()["state"])
        scaled_step(optimizer, scaler, params, 50 + step, infinite=True)
        now = optimizer.state_dict()["state"]
        assert all(torch.equal(p, x) for p, x in zip(params, kept[0], strict=True))
        assert all(torch.equal(now[i][key], x) for i, entry in kept[1].items() for key, x in entry.items())
        assert all(float(optimizer.state[p]["step"]) == taken for p in params)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
def test_training_in_float16_autocast(path):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(16, 64), torch.nn.Tanh(), torch.nn.Linear(64, 1)).to(DEVICE)
    optimizer, scaler = RAdam(model.parameters(), lr=0.01, **path), torch.amp.GradScaler(DEVICE, init_scale=2.0**40)
    x = torch.randn(256, 16, device=DEVICE)
    y = x[:, :1] * x[:, 1:2]
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        with torch.autocast(DEVICE, dtype=torch.float16):
            loss = torch.nn.functional.mse_loss(model(x).float(), y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        losses.append(loss.item())
    taken = float(optimizer.state[model[0].weight]["step"])
    assert 0 < taken < 150, "the first scale is one at which float16 overflows"
    assert losses[0] == losses[1], "the first step is skipped"
    assert losses[-1] < 0.7 * losses[0]


# A tensor lr


@pytest.mark.parametrize("where", ["cpu", DEVICE])
@paths
@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "adam, m delayed"])
def test_a_tensor_lr_on_either_device(name, path, where):
    make, twin = METHODS[name]
    params = make_parameters(torch.float32)
    lr = torch.tensor(LR, device=where)
    optimizer, twins = make(params, lr=lr, **path), twins_of(params, twin, lr=LR)
    race(optimizer, params, twins, range(1, 13), 3e-5, torch.float32)
    assert optimizer.param_groups[0]["lr"] is lr
    assert float(lr) == LR


WRAPPED = {
    "Adam": torch.optim.Adam,
    "Adam capturable": partial(torch.optim.Adam, capturable=True),
    "AdamW fused": partial(torch.optim.AdamW, fused=True),
    "NAdam": torch.optim.NAdam,
    "SGD": partial(torch.optim.SGD, momentum=0.9),
    "RMSprop": torch.optim.RMSprop,
    "our Adam": Adam,
    "our Adam capturable": partial(Adam, capturable=True),
}


@pytest.mark.parametrize("tensor_lr", [False, True], ids=["a number", "a tensor"])
@pytest.mark.parametrize("how", ["rectify", "WarmupLR"])
@pytest.mark.parametrize("name", WRAPPED)
def test_a_warmup_around_an_optimizer(name, how, tensor_lr):
    """Each step has lr times omega; between steps lr is what it was, and the same object."""
    if "capturable" in name and DEVICE == "cpu":
        pytest.skip("torch's capturable is for GPUs")
    params, plain = make_parameters(), make_parameters()
    lr = torch.tensor(LR, device=DEVICE) if tensor_lr else LR
    optimizer, other = WRAPPED[name](params, lr=lr), WRAPPED[name](plain, lr=LR)
    warm = rectified.rectify(optimizer, Linear(5)) if how == "rectify" else optimizer
    scheduler = rectified.WarmupLR(optimizer, Linear(5)) if how == "WarmupLR" else None
    for step in range(1, 11):
        train(warm, params, [step])
        if scheduler is not None:
            scheduler.step()
        other.param_groups[0]["lr"] = LR * min(1, step / 5)
        train(other, plain, [step])
        now = optimizer.param_groups[0]["lr"]
        assert float(now) == LR
        assert not tensor_lr or now is lr
    close(params, plain, 1e-6)


# Saving and moving


@pytest.mark.parametrize("capturable", [False, True], ids=["host", "capturable"])
@pytest.mark.parametrize("name", ["adam amsgrad", "adamw", "adam, m delayed", "radam"])
def test_a_run_saved_on_the_gpu_goes_on_on_the_cpu_and_back(name, capturable):
    make, twin = METHODS[name]
    params = make_parameters()
    twins = twins_of(params, twin, lr=LR)
    relative = relative_error(torch.float64, {"capturable": capturable})
    so_far = None
    saved = io.BytesIO()
    for steps, device in ((range(1, 6), DEVICE), (range(6, 10), "cpu"), (range(10, 16), DEVICE)):
        params = copies(params, device)
        optimizer = make(params, lr=LR, capturable=capturable)
        if saved.getvalue():
            saved.seek(0)
            optimizer.load_state_dict(torch.load(saved, weights_only=True))
        so_far = race(optimizer, params, twins, steps, relative, torch.float64, so_far)
        assert all(optimizer.state[p]["exp_avg"].device == p.device for p in params)
        saved = io.BytesIO()
        torch.save(optimizer.state_dict(), saved)


@pytest.mark.parametrize("name", ["adamw", "adam, m delayed", "radam"])
@pytest.mark.parametrize("path", [{}, {"foreach": True}, {"capturable": True}], ids=str)
def test_a_model_that_is_moved_between_steps(name, path):
    """As `model.cpu()` and `model.cuda()` do. torch.optim raises here; ours goes on."""
    make, twin = METHODS[name]
    params = make_parameters()
    optimizer, twins = make(params, lr=LR, **path), twins_of(params, twin, lr=LR)
    so_far, relative = None, relative_error(torch.float64, path)
    for steps, device in ((range(1, 5), DEVICE), (range(5, 9), "cpu"), (range(9, 16), DEVICE)):
        for p in params:
            p.grad = None
            p.data = p.data.to(device)
        so_far = race(optimizer, params, twins, steps, relative, torch.float64, so_far)


@pytest.mark.parametrize("name", ["adam", "adamw", "radam", "adam, m delayed"])
@paths
def test_one_group_on_two_devices(name, path):
    make, twin = METHODS[name]
    on_host = parameters(torch.float64, SHAPES)
    params = [p if i % 2 else torch.nn.Parameter(p.detach().to(DEVICE)) for i, p in enumerate(on_host)]
    twins = twins_of(params, twin, lr=LR)
    race(make(params, lr=LR, **path), params, twins, range(1, 11), relative_error(torch.float64, path), torch.float64)


def test_explain_and_steps_within_backward():
    model = torch.nn.Linear(3, 2).to(DEVICE)
    twin = copy.deepcopy(model)
    optimizer, other = RAdam(model.parameters(), lr=1e-3), RAdam(twin.parameters(), lr=1e-3)
    optim.StepInBackward(optimizer)
    x = torch.ones(4, 3, device=DEVICE)
    for _ in range(8):
        model(x).sum().backward()
        other.zero_grad()
        twin(x).sum().backward()
        other.step()
    close(model.parameters(), twin.parameters(), 1e-5)
    assert rectified.explain(other)[0].t == 9
