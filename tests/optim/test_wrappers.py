"""Steps that are not steps, values that groups share, wrappers around the optimizer that really steps."""

import warnings

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

import rectified
from everyone import everyone, has_lr, others
from rectified.optim import StepInBackward
from rectified.trainers import warmup_metrics
from rectified.warmup import Linear, Rectified
from trajectories import parameters, set_gradients, train


def moved(optimizer, params):
    before = [p.detach().clone() for p in params]
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    return [float((x - p.detach()).abs().max()) for p, x in zip(params, before, strict=True)]


@pytest.mark.parametrize("around", [rectified.rectify, rectified.WarmupLR])
@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_an_lr_that_groups_share_is_scaled_once(around, shape):
    lr = torch.full(shape, 0.1, dtype=torch.float64)
    a, b = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    inner = torch.optim.SGD([{"params": [a]}, {"params": [b]}], lr=lr)
    assert inner.param_groups[0]["lr"] is inner.param_groups[1]["lr"]
    a.grad = torch.zeros_like(a)
    try:
        inner.step()
    except TypeError:
        pytest.skip("this torch's SGD takes no lr of one dimension")
    kept = around(inner, Linear(10))
    optimizer = kept if around is rectified.rectify else inner
    for step in range(1, 6):
        assert moved(optimizer, [a, b]) == pytest.approx([0.1 * step / 10] * 2)
    assert lr.item() == 0.1
    assert all(group["lr"] is lr for group in optimizer.param_groups)


def test_an_lr_that_groups_share_may_have_two_clocks():
    lr = torch.tensor(0.1, dtype=torch.float64)
    a, b = (torch.nn.Parameter(torch.ones(2, dtype=torch.float64)) for _ in range(2))
    optimizer = rectified.rectify(torch.optim.SGD([{"params": [a]}, {"params": [b]}], lr=lr), Linear(10))
    for _ in range(4):
        moved(optimizer, [a])
        a.grad = None
    assert moved(optimizer, [a, b]) == pytest.approx([0.05, 0.01])
    assert lr.item() == 0.1


@everyone
def test_a_tensor_lr_that_groups_share_is_every_groups(make):
    if not has_lr(make):
        pytest.skip("it has no lr")
    lr = torch.tensor(0.01, dtype=torch.float64)
    params, twins = parameters(), parameters()
    torch.manual_seed(0)
    optimizer = make([{"params": params[:2]}, {"params": params[2:]}], lr=lr)
    torch.manual_seed(0)
    other = make([{"params": twins[:2]}, {"params": twins[2:]}], lr=0.01)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(other, 0.5)
    for step in range(1, 9):
        for one, some in ((optimizer, params), (other, twins)):
            torch.manual_seed(0)
            train(one, some, [step])
        scheduler.step()
        lr.mul_(0.5)
        for p, q in zip(params, twins, strict=True):
            torch.testing.assert_close(p, q, rtol=1e-12, atol=1e-14)


@pytest.fixture
def accelerator():
    accelerate = pytest.importorskip("accelerate")
    from accelerate.state import AcceleratorState, GradientState

    yield accelerate.Accelerator(cpu=True, gradient_accumulation_steps=4)
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


def accumulate(accelerator, model, optimizer, micro_steps):
    for _ in range(micro_steps):
        with accelerator.accumulate(model):
            accelerator.backward(model(torch.ones(1, 3)).sum())
            optimizer.step()
            optimizer.zero_grad()


@pytest.mark.parametrize("around", [rectified.rectify, rectified.WarmupLR])
@pytest.mark.parametrize("when", ["before prepare", "after prepare"])
def test_accumulation_under_accelerate_is_one_step(around, when, accelerator):
    model = nn.Linear(3, 2)
    inner = torch.optim.SGD(model.parameters(), lr=1.0)
    used = []
    inner.register_step_pre_hook(lambda o, *_: used.append(o.param_groups[0]["lr"]))
    kept, optimizer = None, inner
    if when == "before prepare":
        kept = around(inner, Linear(10))
        optimizer = kept if around is rectified.rectify else inner
    model, optimizer = accelerator.prepare(model, optimizer)
    if when == "after prepare":
        kept = around(optimizer, Linear(10))
        optimizer = kept if around is rectified.rectify else optimizer
    accumulate(accelerator, model, optimizer, 12)
    assert used == pytest.approx([0.1, 0.2, 0.3])
    assert inner.param_groups[0]["lr"] == 1.0
    assert rectified.explain(optimizer)[0].t == 4
    assert kept is not None


def test_explain_looks_into_wrappers(accelerator):
    model = nn.Linear(3, 2)
    ours = rectified.AdamW(model.parameters(), lr=0.5, warmup=Linear(10))
    model, optimizer = accelerator.prepare(model, ours)
    accumulate(accelerator, model, optimizer, 4)
    assert rectified.explain(optimizer) == rectified.explain(ours)
    assert rectified.explain(optimizer)[0].t == 2
    assert warmup_metrics(optimizer) == {"omega": 0.2, "effective_lr": 0.1}
    with pytest.raises(TypeError, match="SGD"):
        rectified.explain(accelerator.prepare(torch.optim.SGD(model.parameters(), lr=0.1)))


class Bare(torch.optim.Optimizer):
    """A wrapper that has left out Optimizer's constructor, and keeps what it wraps to itself."""

    def __init__(self, inner):
        self._inner = inner

    @property
    def param_groups(self):
        return self._inner.param_groups

    @property
    def state(self):
        return self._inner.state

    def step(self, closure=None):
        return self._inner.step(closure)


@pytest.mark.parametrize("around", [rectified.rectify, rectified.WarmupLR])
def test_a_wrapper_that_cannot_be_watched_is_refused_with_the_way_out(around):
    with pytest.raises(ValueError, match=r"before it is wrapped.*before prepare"):
        around(Bare(torch.optim.SGD(parameters(), lr=0.1)), Linear(3))


def test_steps_in_backward_of_a_wrapped_optimizer(accelerator):
    model = nn.Linear(3, 2)
    ours = rectified.Adam(model.parameters())
    model, optimizer = accelerator.prepare(model, ours)
    StepInBackward(optimizer)
    model(torch.ones(1, 3)).sum().backward()
    assert rectified.explain(ours)[0].t == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda params: rectified.rectify(torch.optim.Adam(params), Linear(3)),
        lambda params: rectified.rectify(rectified.Adam(params), Linear(3)),
        rectified.RAdam,
        rectified.NAdam,
    ],
    ids=["rectify(torch)", "rectify(ours)", "RAdam", "NAdam"],
)
def test_global_step_hooks_fire_once_a_step(make):
    params = parameters()
    optimizer = make(params)
    heard = []
    handles = [
        register_optimizer_step_pre_hook(lambda *_: heard.append("before")),
        register_optimizer_step_post_hook(lambda *_: heard.append("after")),
    ]
    try:
        train(optimizer, params, [1])
    finally:
        for handle in handles:
            handle.remove()
    assert heard == ["before", "after"]


@everyone
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_counts_have_torchs_dtype(make, dtype):
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        params = parameters()
        optimizer = make(params)
        train(optimizer, params, [1])
        assert all(entry["step"].dtype is dtype for entry in optimizer.state.values())
    finally:
        torch.set_default_dtype(default)


TWINS = {
    "Adam": (rectified.Adam, torch.optim.Adam, {"weight_decay": 0.1}),
    "AdamW amsgrad": (rectified.AdamW, torch.optim.AdamW, {"amsgrad": True}),
    "RAdam": (rectified.RAdam, torch.optim.RAdam, {}),
    "RMSprop": (rectified.RMSprop, torch.optim.RMSprop, {"momentum": 0.9, "centered": True}),
    "NAdam": (rectified.NAdam, torch.optim.NAdam, {}),
    "Adadelta": (rectified.Adadelta, torch.optim.Adadelta, {}),
}


@pytest.mark.parametrize("name", TWINS)
@pytest.mark.parametrize("capturable", [False, True])
@pytest.mark.filterwarnings("ignore:optimizer contains a parameter group with duplicate parameters")
def test_a_parameter_that_is_listed_twice_steps_twice(name, capturable):
    ours, torchs, options = TWINS[name]
    params, twins = parameters(), parameters()
    optimizer = ours([*params, params[0], params[2]], lr=0.02, capturable=capturable, **options)
    other = torchs([*twins, twins[0], twins[2]], lr=0.02, foreach=False, **options)
    for step in range(1, 15):
        train(optimizer, params, [step])
        train(other, twins, [step])
        for p, q in zip(params, twins, strict=True):
            torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-5 if name == "NAdam" else 1e-9, atol=1e-11)
    assert [int(optimizer.state[p]["step"]) for p in params] == [28, 14, 28, 14, 14]


def test_what_a_person_reads_after_one_step():
    params = parameters()
    optimizer = rectified.AdamW(params, lr=0.5, warmup=Linear(100))
    train(optimizer, params, [1])
    line = str(rectified.explain(optimizer)[0])
    assert "1 step taken" in line
    assert "the warmup ends in 98 steps, at step 100" in line
    doc = rectified.AdamW.__doc__
    assert "warmup" in doc
    assert "Args:" in doc


@everyone
def test_a_number_as_text_is_a_type_error_that_names_it(make):
    if not has_lr(make):
        pytest.skip("it has no lr")
    with pytest.raises(TypeError, match=r"lr is '1e-3', a str; it must be a number.*lr=0.001"):
        make(parameters(), lr="1e-3")
    optimizer = make(parameters())
    with pytest.raises(TypeError, match="lr is '1e-3'"):
        optimizer.add_param_group({"params": parameters(seed=1), "lr": "1e-3"})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Linear("10"), "steps is '10', a str; it must be a number.*Linear"),
        (lambda: Linear(None), "steps is None"),
        (lambda: Rectified(threshold="4"), "threshold is '4'"),
        (lambda: rectified.Adam(parameters(), betas="90"), "betas is '90'.*two numbers"),
        (lambda: rectified.Adam(parameters(), betas=(0.9, "x")), r"betas\[1\] is 'x'"),
        (lambda: rectified.Adam(parameters(), eps="1e-8"), "eps is '1e-8'"),
        (lambda: rectified.Adam(parameters(), weight_decay="0"), "weight_decay is '0'"),
        (lambda: rectified.RMSprop(parameters(), alpha="0.9"), "alpha is '0.9'"),
        (lambda: rectified.Adadelta(parameters(), rho="0.9"), "rho is '0.9'"),
        (lambda: rectified.Adam(parameters(), state_dtype="float32"), "state_dtype is 'float32'"),
        (lambda: rectified.rectify(torch.optim.SGD(parameters(), lr=0.1), "linear"), "warmup is 'linear'"),
    ],
)
def test_other_texts_in_place_of_numbers(make, words):
    with pytest.raises(TypeError, match=words):
        make()


@others
def test_a_beta2_schedule_and_a_group_added_later_go_together(make):
    params, late = parameters(), parameters(seed=1)
    optimizer = make(params)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scheduler = rectified.WarmupLR(optimizer, Linear(4))
        set_gradients(params, 1)
        optimizer.step()
        scheduler.step()
        optimizer.add_param_group({"params": late})
        scheduler.step()
        assert len(scheduler.get_last_lr()) == 2
    assert [e.t for e in rectified.explain(optimizer)] == [2, 1]


def test_the_rectifications_threshold_is_exceeded_not_reached():
    from rectified.theory import rho

    assert Rectified(threshold=rho(6, 0.999)).omega(6, 0.999) == 0
    assert Rectified(threshold=rho(6, 0.999)).omega(7, 0.999) > 0


@pytest.mark.parametrize(("factor", "warns"), [(0.9, False), (1.1, True)])
def test_a_momentum_start_is_huge_from_a_tenth_of_the_weights_on(factor, warns):
    p = nn.Parameter(torch.ones(4))
    optimizer = rectified.RAdam([p], lr=0.1)
    p.grad = torch.full((4,), factor)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        optimizer.step()
    assert bool(found) == warns
