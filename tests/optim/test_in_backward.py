"""Steps within backward: the same trajectory, one gradient at a time."""

import copy

import pytest
import torch
from torch import nn

import rectified
from rectified.bench.measure import cpu_peak
from rectified.optim import StepInBackward, _torch
from roster import representatives


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)).double()


def backward(net, step):
    generator = torch.Generator().manual_seed(step)
    net(torch.randn(4, 5, generator=generator, dtype=torch.float64)).square().mean().backward()


def assert_equal(one, other):
    for p, q in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


@representatives
@pytest.mark.parametrize("capturable", [False, True])
def test_it_is_the_trajectory_of_steps_after_backward(method, capturable):
    net, plain = model(), model()
    optimizer, other = (method.optimizer(x.parameters(), capturable=capturable) for x in (net, plain))
    schedulers = [torch.optim.lr_scheduler.ExponentialLR(x, 0.8) for x in (optimizer, other)]
    StepInBackward(optimizer)
    for step in range(10):
        backward(net, step)
        optimizer.step()  # finds nothing to do
        backward(plain, step)
        other.step()
        other.zero_grad()
        for scheduler in schedulers:
            scheduler.step()
    assert_equal(net, plain)
    assert float(optimizer.param_groups[0]["omega"]) == float(other.param_groups[0]["omega"])


def test_no_two_gradients_are_there_at_a_time():
    net = model()
    StepInBackward(rectified.RAdam(net.parameters()))
    there = []
    for p in net.parameters():  # before the gradient is there
        p.register_hook(lambda _: there.append(sum(q.grad is not None for q in net.parameters())))
    for step in range(3):
        backward(net, step)
    assert there == [0] * 3 * len(list(net.parameters()))
    assert all(p.grad is None for p in net.parameters())


def test_the_peak_of_memory_is_less_by_the_gradients_of_all_layers_but_one():
    layers, width, batch = 16, 256, 8
    peaks = []
    for in_backward in (False, True):
        net = nn.Sequential(*[nn.Sequential(nn.Linear(width, width), nn.Tanh()) for _ in range(layers)])
        optimizer = rectified.RAdam(net.parameters())
        if in_backward:
            StepInBackward(optimizer)
        x = torch.randn(batch, width)

        def step(net=net, optimizer=optimizer, x=x):
            net(x).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()

        step()  # which makes the moments
        peaks.append(cpu_peak(step))
    layer, activations = 4 * (width * width + width), 4 * layers * batch * width
    assert peaks[0] >= layers * layer
    assert peaks[1] <= layer + 1.1 * activations
    bytes_a_parameter = [round(most * 4 / (layers * layer), 2) for most in peaks]
    assert bytes_a_parameter == [4.01, 0.38], "the class's docstring says so"


def test_gradients_accumulate_until_they_are_meant_to_step():
    net, plain = model(), model()
    optimizer, other = rectified.RAdam(net.parameters()), rectified.RAdam(plain.parameters())
    in_backward = StepInBackward(optimizer)
    for step in range(0, 12, 3):
        with in_backward.accumulating():
            backward(net, step)
            backward(net, step + 1)
        backward(net, step + 2)
        for k in range(3):
            backward(plain, step + k)
        other.step()
        other.zero_grad()
    assert_equal(net, plain)


def test_each_gradient_is_clipped_by_its_own_norm():
    net, plain = model(), model()
    optimizer, other = rectified.AdamW(net.parameters()), rectified.AdamW(plain.parameters())
    StepInBackward(optimizer, max_norm=0.01)
    for step in range(6):
        backward(net, step)
        backward(plain, step)
        for p in plain.parameters():
            nn.utils.clip_grad_norm_([p], 0.01)
        other.step()
        other.zero_grad()
    assert_equal(net, plain)


def test_a_saved_run_goes_on_and_hooks_can_be_removed():
    net, plain = model(), model()
    optimizer, other = rectified.RAdam(net.parameters()), rectified.RAdam(plain.parameters())
    in_backward = StepInBackward(optimizer)
    for step in range(6):
        backward(net, step)
    saved = copy.deepcopy(optimizer.state_dict())
    in_backward.remove()
    again = rectified.RAdam(net.parameters())
    again.load_state_dict(saved)
    for step in range(6, 12):
        backward(net, step)
        again.step()
        again.zero_grad()
    for step in range(12):
        backward(plain, step)
        other.step()
        other.zero_grad()
    assert_equal(net, plain)


def test_a_layer_that_is_thawed_or_added_later_steps_in_step():
    net, plain, late, plain_late = model(), model(), nn.Linear(2, 2).double(), nn.Linear(2, 2).double()
    plain_late.load_state_dict(late.state_dict())
    optimizers = []
    for one, other in ((net, late), (plain, plain_late)):
        one[0].requires_grad_(False)
        optimizers.append(rectified.RAdam(one.parameters()))
        if one is net:
            StepInBackward(optimizers[0])
        optimizers[-1].add_param_group({"params": other.parameters()})
        one[0].requires_grad_(True)
        for step in range(8):
            backward(nn.Sequential(one, other), step)
            optimizers[-1].step()
            optimizers[-1].zero_grad()
    assert_equal(nn.Sequential(net, late), nn.Sequential(plain, plain_late))


def test_what_is_said_of_a_parameter_is_said_by_its_own_name(caplog, monkeypatch):
    monkeypatch.setattr(_torch, "HAS_FUSED_ADAM", False)
    net = model()
    StepInBackward(rectified.Adam(net.named_parameters()))
    backward(net, 0)
    (record,) = caplog.records
    name = next(name for name in dict(net.named_parameters()) if f" {name} " in record.getMessage())
    assert name.startswith("4."), "the first in backward is the last of the model"
    assert str(tuple(net.get_parameter(name).shape)) in record.getMessage()


@pytest.mark.parametrize("asked", [{}, {"fused": True}, {"capturable": True}], ids=str)
def test_a_grad_scaler_is_told_that_it_comes_too_late(asked):
    net = model().float()
    optimizer = rectified.Adam(net.parameters(), **asked)
    StepInBackward(optimizer)
    scaler = torch.amp.GradScaler("cpu")
    scaler.scale(net(torch.randn(4, 5)).square().mean()).backward()
    # Where the scaler itself unscales, it is torch that finds no gradients.
    kind, words = (RuntimeError, "GradScaler.*bfloat16") if asked else (AssertionError, "No inf checks")
    with pytest.raises(kind, match=words):
        scaler.step(optimizer)


def test_several_processes_without_fsdp2_are_refused(monkeypatch):
    """DistributedDataParallel sums the gradients after the hooks; with FSDP2, whose parameters are DTensors, before."""
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    optimizer = rectified.Adam(model().parameters())
    with pytest.raises(ValueError, match=r"2 processes.*FSDP2"):
        StepInBackward(optimizer)
    StepInBackward(optimizer, unshared=True).remove()
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 1)
    StepInBackward(optimizer)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"max_norm is 0.*positive"):
        StepInBackward(rectified.Adam(model().parameters()), max_norm=0)
    with pytest.raises(ValueError, match="differentiable"):
        StepInBackward(rectified.Adam(model().parameters(), differentiable=True))
