"""Whoever listens to, schedules or wraps an optimizer of torch's is served by ours as well."""

import warnings

import pytest
import torch
from torch.optim import lr_scheduler
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import rectified
from rectified.warmup import Rectified
from roster import BY_NAME, every_method
from trajectories import Race, numbers, parameters, race, set_gradients, train


@every_method
def test_hooks_are_called_once_a_step_in_order_and_change_nothing(method):
    params, silent = parameters(), parameters()
    optimizer, unheard = method.optimizer(params), method.optimizer(silent)
    train(optimizer, params, [1])
    calls = []
    handles = [
        register_optimizer_step_pre_hook(
            lambda o, args, kwargs: calls.append("global pre") if o is optimizer else None
        ),
        optimizer.register_step_pre_hook(lambda o, args, kwargs: calls.append("pre")),
        optimizer.register_step_post_hook(lambda o, args, kwargs: calls.append(int(o.state[params[0]]["step"]))),
        register_optimizer_step_post_hook(
            lambda o, args, kwargs: calls.append("global post") if o is optimizer else None
        ),
    ]
    try:
        train(optimizer, params, [2, 3])
    finally:
        for handle in handles:
            handle.remove()
    train(optimizer, params, [4])
    train(unheard, silent, range(1, 5))
    assert calls == ["global pre", "pre", 2, "global post", "global pre", "pre", 3, "global post"]
    assert all(torch.equal(a, b) for a, b in zip(params, silent, strict=True))


@pytest.mark.parametrize(
    "register",
    [
        lambda o, hook: register_optimizer_step_pre_hook(hook),
        lambda o, hook: register_optimizer_step_post_hook(hook),
        lambda o, hook: o.register_step_pre_hook(hook),
        lambda o, hook: o.register_step_post_hook(hook),
    ],
    ids=["global pre", "global post", "pre", "post"],
)
def test_each_kind_of_hook_is_heard_alone(register):
    params = parameters()
    optimizer = rectified.RAdam(params)
    train(optimizer, params, [1])
    heard = []
    handle = register(optimizer, lambda o, args, kwargs: heard.append(o))
    try:
        train(optimizer, params, [2])
    finally:
        handle.remove()
    train(optimizer, params, [3])
    assert heard == [optimizer]


def test_a_pre_hook_may_hand_in_a_closure():
    params = parameters()
    optimizer = rectified.RAdam(params)
    optimizer.register_step_pre_hook(lambda o, args, kwargs: ((o, lambda: 7.0), {}))
    assert optimizer.step() == 7.0


def test_a_hook_on_saving_has_what_is_saved_in_hand():
    """Plain values and steps of their own; what it takes out or puts in, is gone or there."""
    params = parameters()
    optimizer = rectified.RAdam(params)
    train(optimizer, params, [1])
    seen = []

    def edit(o, saved):
        seen.append(saved["param_groups"][0].pop("warmup"))
        saved["state"][0]["step"].fill_(7)
        saved["param_groups"][0]["omega"] = None

    optimizer.register_state_dict_post_hook(edit)
    saved = optimizer.state_dict()
    assert seen == [{"name": "Rectified", "variance": "first-order", "threshold": 5.0, "start": "momentum"}]
    assert "warmup" not in saved["param_groups"][0]
    assert saved["state"][0]["step"] == 7
    assert optimizer.state[params[0]]["step"] == 1
    assert isinstance(optimizer.param_groups[0]["warmup"], Rectified)
    assert len(optimizer._optimizer_state_dict_post_hooks) == 1


def test_state_dict_hooks_are_called():
    params = parameters()
    optimizer = rectified.RAdam(params)
    train(optimizer, params, [1])
    calls = []
    optimizer.register_state_dict_pre_hook(lambda o: calls.append("before saving"))
    optimizer.register_state_dict_post_hook(lambda o, saved: {**saved, "note": "kept"})
    optimizer.register_load_state_dict_pre_hook(lambda o, saved: calls.append(saved["note"]))
    optimizer.register_load_state_dict_post_hook(lambda o: calls.append("after loading"))
    optimizer.load_state_dict(optimizer.state_dict())
    assert calls == ["before saving", "kept", "after loading"]


def test_the_profiler_sees_the_step_by_its_name():
    params = parameters()
    optimizer = rectified.RAdam(params)
    train(optimizer, params, [1])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        train(optimizer, params, [2])
    assert any(event.key == "Optimizer.step#RAdam.step" for event in profile.key_averages())


SCHEDULERS = {
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 12),
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.05, total_steps=16),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.001, 0.02, step_size_up=3, cycle_momentum=True),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.LinearLR(o, 0.1, total_iters=4), lr_scheduler.ExponentialLR(o, 0.9)], [4]
    ),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("tensor_lr", [False, True], ids=["float", "tensor"])
@pytest.mark.parametrize("kind", ["Adam", "AdamW", "RAdam"])
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_schedulers_drive_ours_as_they_drive_torchs(name, tensor_lr, kind):
    """OneCycleLR and CyclicLR move beta1, too."""
    lists, optimizers, schedulers = (parameters(), parameters()), [], []
    for module, params in zip((torch.optim, rectified), lists, strict=True):
        lr = torch.tensor(0.02, dtype=torch.float64) if tensor_lr else 0.02
        optimizers.append(getattr(module, kind)(params, lr=lr))
        schedulers.append(SCHEDULERS[name](optimizers[-1]))  # warns, that is, fails, where step() looks unfamiliar
    judge = Race([numbers(p) for p in lists[0]])
    for step in range(1, 13):
        for optimizer, scheduler, params in zip(optimizers, schedulers, lists, strict=True):
            set_gradients(params, step)
            optimizer.step()
            scheduler.step()
        judge.check(*([numbers(p) for p in params] for params in lists))
        assert optimizers[1].param_groups[0]["lr"] == optimizers[0].param_groups[0]["lr"]
        assert optimizers[1].param_groups[0]["betas"] == optimizers[0].param_groups[0]["betas"]


def test_a_scheduler_still_tells_a_wrong_order():
    params = parameters()
    optimizer = rectified.RAdam(params)
    scheduler = lr_scheduler.StepLR(optimizer, 2)
    with pytest.warns(UserWarning, match="before `optimizer.step\\(\\)`"):
        scheduler.step()


@every_method
def test_grad_scaler_scales_skips_and_leaves_the_clock(method):
    """A step that the scaler skips is no step: neither the parameters nor their clocks move."""
    params = parameters(torch.float32, shapes=((4, 3), (5,)))
    optimizer = method.optimizer(params, lr=0.01)
    twins = [method.textbook(numbers(p), lr=0.01) for p in params]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    for step in range(1, 13):
        optimizer.zero_grad()
        spoilt = step in (2, 7)
        weights = [float("inf") if spoilt else (-1.0) ** (step + i) for i in range(len(params))]
        loss = sum((p.square() * w).sum() for p, w in zip(params, weights, strict=True))
        scaler.scale(loss).backward()
        if not spoilt:
            for twin, w in zip(twins, weights, strict=True):
                twin.step(2 * w * twin.theta)
        scaler.step(optimizer)
        scaler.update()
    for p, twin in zip(params, twins, strict=True):
        assert optimizer.state[p]["step"] == twin.t == 10
        torch.testing.assert_close(p.detach().double(), torch.as_tensor(twin.theta), rtol=1e-4, atol=1e-5)


def test_a_subclass_may_add_to_the_step():
    class Counting(rectified.RAdam):
        calls = 0

        def step(self, closure=None):
            self.calls += 1
            return super().step(closure)

    params = parameters()
    optimizer = Counting(params, lr=0.01)
    twins = [BY_NAME["radam"].textbook(numbers(p), lr=0.01) for p in params]
    race(optimizer, params, twins, range(1, 8))
    assert optimizer.calls == 7


@pytest.mark.filterwarnings("ignore:.*torch.compile")
@pytest.mark.parametrize("compiled", [False, True])
def test_a_subclass_with_a_step_of_its_own_has_its_hooks_called_once(compiled):
    class Own(rectified.RAdam):
        def step(self, closure=None):
            return super().step(closure)

    class Inherited(rectified.RAdam):
        pass

    for kind in (Own, Inherited):
        params = parameters()
        optimizer = kind(params)
        calls = []
        optimizer.register_step_pre_hook(lambda *_, calls=calls: calls.append("pre"))
        optimizer.register_step_post_hook(lambda *_, calls=calls: calls.append("post"))
        handle = register_optimizer_step_post_hook(lambda *_, calls=calls: calls.append("global post"))
        try:
            step = torch.compile(optimizer.step, backend="eager") if compiled else optimizer.step
            for number in (1, 2):
                set_gradients(params, number)
                step()
        finally:
            handle.remove()
        assert calls == ["pre", "post", "global post"] * 2
        assert optimizer.state[params[0]]["step"] == 2
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
            train(optimizer, params, [3])
        (event,) = [e for e in profile.key_averages() if e.key == f"Optimizer.step#{kind.__name__}.step"]
        assert event.count == 1
