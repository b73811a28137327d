"""rectify(): any optimizer takes the steps of its own twin at lr * omega, and nobody around it notices."""

import copy
import math
import pickle
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

import rectified
import reference
from messages import says
from peers import peer
from rectified.warmup import Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear
from roster import OwnWarmup
from trajectories import always, closure, comes_and_goes, numbers, parameters, race, set_gradients, train

OMEGAS = {
    "rectified": (Rectified(), reference.rectified),
    "exact": (Rectified("exact"), reference.rectified_exactly),
    "untuned-linear": (UntunedLinear(), reference.untuned_linear),
    "untuned-exponential": (UntunedExponential(), reference.untuned_exponential),
    "linear": (Linear(7), partial(reference.linear, steps=7)),
    "hold": (SecondMomentOnly(3), partial(reference.hold, steps=3)),
    "own": (OwnWarmup(), OwnWarmup().omega),
}
OTHERS = {
    "torch.Adam": torch.optim.Adam,
    "torch.Adam fused": partial(torch.optim.Adam, fused=True),
    "torch.AdamW": torch.optim.AdamW,
    "torch.NAdam": torch.optim.NAdam,
    "rectified.AdamW": rectified.AdamW,
    "pytorch_optimizer.AdaBelief": peer("pytorch_optimizer.AdaBelief"),
    "pytorch_optimizer.AdaBound": peer("pytorch_optimizer.AdaBound"),
    "pytorch_optimizer.LaProp": peer("pytorch_optimizer.LaProp"),
}
every_other = pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS.keys())
every_warmup = pytest.mark.parametrize(("warmup", "omega"), OMEGAS.values(), ids=OMEGAS.keys())


def by_hand(optimizer, params, steps, omega, present=always):
    """The same by an optimizer whose lr somebody else sets before each step."""
    base = [group["lr"] for group in optimizer.param_groups]
    for step in steps:
        for group, lr in zip(optimizer.param_groups, base, strict=True):
            group["lr"] = lr * omega(step)
        set_gradients(params, step, present)
        optimizer.step()


def assert_alike(some, others):
    for a, b in zip(some, others, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)


@every_warmup
def test_torchs_adam_takes_the_textbooks_steps(warmup, omega):
    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=0.02, weight_decay=0.1), warmup, on_zero="hold")
    twins = [reference.Textbook(numbers(p), lr=0.02, weight_decay=0.1, omega=omega) for p in params]
    race(optimizer, params, twins, range(1, 15))


@every_other
@every_warmup
@pytest.mark.parametrize("on_zero", ["hold", "skip"])
def test_any_optimizer_takes_its_own_steps_at_lr_times_omega(make, warmup, omega, on_zero):
    params, twins = parameters(), parameters()
    optimizer = rectified.rectify(make(params, lr=0.01, betas=(0.8, 0.99)), warmup, on_zero=on_zero)
    train(optimizer, params, range(1, 15))
    first = next(t for t in range(1, 20) if omega(t, 0.99) > 0)
    later = first - 1 if on_zero == "skip" else 0
    by_hand(make(twins, lr=0.01, betas=(0.8, 0.99)), twins, range(1, 15), lambda t: omega(t + later, 0.99))
    assert_alike(params, twins)
    assert not torch.equal(params[0], parameters()[0])


@pytest.mark.parametrize(
    ("make", "beta2"),
    [
        (torch.optim.RMSprop, 0.99),
        (partial(torch.optim.RMSprop, centered=True, momentum=0.9, alpha=0.9), 0.9),
        (torch.optim.Adadelta, 0.9),
    ],
)
def test_the_rectification_of_a_v_without_bias_correction_has_it(make, beta2):
    params, twins, plain, scheduled = (parameters() for _ in range(4))
    train(rectified.rectify(make(params, lr=0.01), on_zero="hold"), params, range(1, 15))
    by_hand(
        make(twins, lr=0.01),
        twins,
        range(1, 15),
        lambda t: reference.rectified(t, beta2) * math.sqrt(1 - beta2**t),
    )
    assert_alike(params, twins)
    train(rectified.rectify(make(plain, lr=0.01), Linear(9)), plain, range(1, 15))
    by_hand(make(scheduled, lr=0.01), scheduled, range(1, 15), lambda t: min(1, t / 9))
    assert_alike(plain, scheduled)


def test_rmsprop_rectified_is_radam_without_momentum():
    params, twins = parameters(), parameters()
    train(rectified.rectify(torch.optim.RMSprop(params, lr=0.01, alpha=0.9), on_zero="hold"), params, range(1, 15))
    train(rectified.RAdam(twins, lr=0.01, betas=(0, 0.9), start="hold"), twins, range(1, 15))
    assert_alike(params, twins)


def test_the_optimizers_of_no_beta2_take_the_plain_schedules():
    params, twins = parameters(), parameters()
    train(rectified.rectify(torch.optim.SGD(params, lr=0.1, momentum=0.9), Linear(7)), params, range(1, 15))
    by_hand(torch.optim.SGD(twins, lr=0.1, momentum=0.9), twins, range(1, 15), lambda t: min(1, t / 7))
    assert_alike(params, twins)


def test_a_beta2_that_is_given_counts():
    params, twins = parameters(), parameters()
    train(rectified.rectify(torch.optim.SGD(params, lr=0.1), UntunedLinear(), beta2=0.9), params, range(1, 15))
    by_hand(torch.optim.SGD(twins, lr=0.1), twins, range(1, 15), lambda t: min(1, 0.05 * t))
    assert_alike(params, twins)


def test_each_group_has_its_own_clock_beta2_and_lr():
    params, twins = parameters(), parameters()

    def groups(params):
        return [
            {"params": params[:1], "lr": 0.1},
            {"params": params[1:2], "betas": (0.9, 0.95)},
            {"params": params[2:]},
        ]

    optimizer = rectified.rectify(torch.optim.Adam(groups(params), lr=0.01), UntunedLinear())
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.01, 0.01]
    train(optimizer, params, range(1, 15), comes_and_goes)
    assert [group["warmup_clock"] for group in optimizer.param_groups] == [11, 10, 14]
    for index, (beta2, lr) in enumerate([(0.999, 0.1), (0.95, 0.01)]):
        twin = torch.optim.Adam([twins[index]], lr=lr, betas=(0.9, beta2))
        t = 0
        for step in range(1, 15):
            set_gradients(twins, step, comes_and_goes)
            t += twins[index].grad is not None
            twin.param_groups[0]["lr"] = lr * min(1, (1 - beta2) * t / 2)
            twin.step()
    assert_alike(params[:2], twins[:2])


def test_a_changed_beta2_counts_from_the_next_step():
    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params), UntunedLinear())
    train(optimizer, params, [1])
    optimizer.param_groups[0]["betas"] = (0.9, 0.9)
    train(optimizer, params, [2])
    assert optimizer.param_groups[0]["omega"] == pytest.approx(0.1)
    beta2 = torch.tensor(0.8)
    optimizer.param_groups[0]["betas"] = (0.9, beta2)
    train(optimizer, params, [3])
    beta2.fill_(0.5)
    assert optimizer.scaling.omegas(optimizer)[0] == pytest.approx(1.0)


def test_between_steps_the_lr_is_what_it_was():
    params = parameters()
    seen = []
    inner = torch.optim.Adam(params, lr=0.1)
    inner.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
    optimizer = rectified.rectify(inner, Linear(4))
    for step in range(1, 6):
        train(optimizer, params, [step])
        assert inner.param_groups[0]["lr"] == optimizer.param_groups[0]["lr"] == 0.1
    assert seen == pytest.approx([0.025, 0.05, 0.075, 0.1, 0.1])


def test_also_after_a_step_that_raises_and_its_clock_stands():
    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=0.1), Linear(4))
    train(optimizer, params, [1])

    def fail():
        assert optimizer.param_groups[0]["lr"] == 0.05
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(fail)
    assert optimizer.param_groups[0]["lr"] == 0.1
    assert optimizer.param_groups[0]["warmup_clock"] == 1


def test_a_warmup_that_goes_wrong_raises_before_anything_moves():
    class Wrong:
        def omega(self, t, beta2):
            return 1.0 if t < 3 else math.nan

    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=0.1), Wrong())
    train(optimizer, params, [1, 2])
    before = copy.deepcopy(params)
    with pytest.raises(ValueError, match=says(["omega = nan", "t = 3", "not a number"])):
        train(optimizer, params, [3])
    assert all(torch.equal(a, b) for a, b in zip(params, before, strict=True))
    assert optimizer.param_groups[0]["lr"] == 0.1


def test_a_tensor_lr_stays_the_same_object_and_value():
    params, twins = parameters(), parameters()
    lr = torch.tensor(0.1, dtype=torch.float64)
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=lr), Linear(4))
    train(optimizer, params, range(1, 7))
    assert optimizer.param_groups[0]["lr"] is lr
    assert lr.item() == 0.1
    by_hand(torch.optim.Adam(twins, lr=0.1), twins, range(1, 7), lambda t: min(1, t / 4))
    assert_alike(params, twins)


class Halving(torch.optim.SGD):
    """An optimizer that sets its own lr."""

    def step(self, closure=None):
        super().step(closure)
        for group in self.param_groups:
            group["lr"] *= 0.5


def test_what_an_optimizer_does_to_its_lr_within_a_step_stays_done():
    params = parameters()
    optimizer = rectified.rectify(Halving(params, lr=0.8), Linear(4))
    train(optimizer, params, [1, 2])
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.2)


SCHEDULERS = {
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda n: 1 / (1 + n)),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 10),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "sequence": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o, 0.5, 3), lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
}


@pytest.mark.parametrize("make", SCHEDULERS.values(), ids=SCHEDULERS.keys())
@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_schedulers_made_before_or_after_see_their_own_lr(make, order):
    params, twins = parameters(), parameters()
    inner = torch.optim.Adam(params, lr=0.05)
    scheduler = make(inner) if order == "before" else None
    optimizer = rectified.rectify(inner, Linear(7))
    scheduler = scheduler or make(optimizer)
    alone = torch.optim.Adam(twins, lr=0.05)
    unaware = make(alone)
    for step in range(1, 15):
        train(optimizer, params, [step])
        lr = alone.param_groups[0]["lr"]
        assert optimizer.param_groups[0]["lr"] == lr
        alone.param_groups[0]["lr"] = lr * min(1, step / 7)
        train(alone, twins, [step])
        alone.param_groups[0]["lr"] = lr
        scheduler.step()
        unaware.step()
    assert_alike(params, twins)


@pytest.mark.parametrize("fused", [False, True])
def test_a_step_that_a_grad_scaler_skips_does_not_count(fused):
    params = parameters(torch.float32, shapes=((3, 4), (5,)))
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=0.1, fused=fused), Linear(4))
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=1000)
    counts = []
    for step in range(1, 5):
        optimizer.zero_grad()
        loss = sum((p * (math.inf if step == 3 else 1.0)).sum() for p in params)
        scaler.scale(loss).backward()
        before = params[0].detach().clone()
        scaler.step(optimizer)
        scaler.update()
        assert torch.equal(before, params[0]) == (step == 3)
        counts.append(optimizer.param_groups[0]["warmup_clock"])
        assert optimizer.param_groups[0]["lr"] == 0.1
    assert counts == [1, 2, 2, 3]


def test_a_closure_is_called_as_ever_also_by_lbfgs():
    p = torch.nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    optimizer = rectified.rectify(torch.optim.LBFGS([p], lr=1.0, max_iter=3), Linear(2))
    calls = []
    assert optimizer.step(closure(optimizer, p, calls)).item() == 9.0
    assert len(calls) >= 2
    assert all(calls)
    assert optimizer.param_groups[0]["warmup_clock"] == 1


def test_step_hooks_of_the_wrapper_see_the_lr_of_between():
    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=0.1), Linear(4))
    seen = []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append((o is optimizer, o.param_groups[0]["lr"])))
    optimizer.register_step_post_hook(lambda o, *_: seen.append((o is optimizer, o.param_groups[0]["lr"])))
    train(optimizer, params, [1])
    assert seen == [(True, 0.1), (True, 0.1)]


@every_other
def test_goes_on_from_its_save(make):
    params, twins = parameters(), parameters()
    whole = rectified.rectify(make(params, lr=0.01), Linear(9))
    train(whole, params, range(1, 13))
    first = rectified.rectify(make(twins, lr=0.01), Linear(9))
    train(first, twins, range(1, 6))
    saved = copy.deepcopy(first.state_dict())
    assert saved["param_groups"][0]["lr"] == 0.01
    again = rectified.rectify(make(twins, lr=0.01), Linear(9))
    again.load_state_dict(saved)
    assert again.param_groups[0]["warmup_clock"] == 5
    train(again, twins, range(6, 13))
    # torch's NAdam loads its product of mu, a float32, as the parameters' float64.
    for a, b in zip(params, twins, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-8)


def test_a_save_from_before_the_warmup_goes_on_from_the_count_in_its_states():
    params = parameters()
    bare = torch.optim.Adam(params, lr=0.01)
    train(bare, params, range(1, 6))
    assert rectified.rectify(bare, Linear(9)).param_groups[0]["warmup_clock"] == 5
    saved = {**bare.state_dict()}
    del saved["param_groups"][0]["warmup_clock"]
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=0.01), Linear(9))
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["warmup_clock"] == 5
    counted = peer("pytorch_optimizer.AdaBelief")(params, lr=0.01)
    train(counted, params, range(1, 4))
    assert rectified.rectify(counted, Linear(9)).param_groups[0]["warmup_clock"] == 3


def test_a_save_of_the_first_release_goes_on_with_its_count():
    params = parameters()
    first = rectified.rectify(torch.optim.SGD(params, lr=0.01), Linear(9))
    train(first, params, range(1, 6))
    saved = copy.deepcopy(first.state_dict())
    saved["param_groups"][0]["warmup_steps"] = saved["param_groups"][0].pop("warmup_clock")
    optimizer = rectified.rectify(torch.optim.SGD(params, lr=0.01), Linear(9))
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["warmup_clock"] == 5
    assert "warmup_steps" not in optimizer.param_groups[0]


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["copy", "pickle"])
def test_a_copy_goes_on_by_itself(copied):
    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params, lr=0.01), UntunedLinear(), 0.9)
    train(optimizer, params, range(1, 4))
    other = copied(optimizer)
    theirs = other.param_groups[0]["params"]
    train(optimizer, params, range(4, 7))
    assert other.param_groups[0]["warmup_clock"] == 3
    train(other, theirs, range(4, 7))
    assert all(torch.equal(a, b) for a, b in zip(params, theirs, strict=True))


def test_what_the_wrapped_one_can_do_the_wrapper_can():
    params = parameters()
    inner = peer("schedulefree.AdamWScheduleFree")(params, lr=0.01)
    optimizer = rectified.rectify(inner, Linear(4))
    optimizer.train()
    train(optimizer, params, range(1, 4))
    training = params[0].detach().clone()
    optimizer.eval()
    assert not torch.equal(training, params[0])
    assert isinstance(optimizer, torch.optim.Optimizer)
    assert optimizer.defaults is inner.defaults
    assert "Linear(steps=4)" in repr(optimizer)
    assert "AdamWScheduleFree" in repr(optimizer)
    with pytest.raises(AttributeError, match="fly"):
        optimizer.fly()


def test_a_group_added_later_has_a_clock_of_its_own():
    params = parameters()
    optimizer = rectified.rectify(torch.optim.Adam(params[:1], lr=0.1), UntunedLinear())
    train(optimizer, params, [1, 2])
    optimizer.add_param_group({"params": params[1:], "lr": 0.2, "betas": (0.9, 0.9)})
    train(optimizer, params, [3])
    assert [group["warmup_clock"] for group in optimizer.param_groups] == [3, 1]
    assert [group["omega"] for group in optimizer.param_groups] == pytest.approx([0.0015, 0.05])


def test_an_option_of_the_optimizers_own_is_no_clock():
    """ScheduleFree's groups have the length of its own warmup as warmup_steps."""
    schedulefree = pytest.importorskip("schedulefree")
    p = torch.nn.Parameter(torch.ones(3))
    inner = schedulefree.AdamWScheduleFree([p], lr=0.1, warmup_steps=500)
    optimizer = rectified.rectify(inner, Linear(10))
    optimizer.train()
    omegas = []
    for _ in range(3):
        p.grad = torch.ones(3)
        optimizer.step()
        omegas.append(inner.param_groups[0]["omega"])
    assert omegas == pytest.approx([0.1, 0.2, 0.3])
    assert inner.param_groups[0]["warmup_steps"] == 500
