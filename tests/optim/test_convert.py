"""A run begun with another RAdam, and saved to a file, goes on here with the steps it would have taken there."""

import copy
import io
import math
from functools import partial

import optimi
import pytest
import pytorch_optimizer
import torch

import rectified
from rectified.optim import convert
from rectified.warmup import Rectified
from trajectories import SHAPES, Race, always, comes_and_goes, gradient, numbers, parameters, train


class AuthorsRAdam(torch.optim.Optimizer):
    """The rule and the state of the authors' radam.py; it computes in `dtype`, they in float32."""

    def __init__(
        self,
        params,
        lr=1e-3,
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=0,
        degenerated_to_sgd=False,
        dtype=torch.float32,
        buffered=True,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)
        self.degenerated_to_sgd, self.dtype = degenerated_to_sgd, dtype
        if buffered:
            for group in self.param_groups:
                group["buffer"] = [[None, None, None] for _ in range(10)]

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            (beta1, beta2), lr = group["betas"], group["lr"]
            for p in group["params"]:
                if p.grad is None:
                    continue
                state, g, theta = self.state[p], p.grad.to(self.dtype), p.to(self.dtype)
                if not state:
                    state.update(step=0, exp_avg=torch.zeros_like(theta), exp_avg_sq=torch.zeros_like(theta))
                m, v = (state[name].to(self.dtype) for name in ("exp_avg", "exp_avg_sq"))
                t = state["step"] + 1
                m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
                state.update(step=t, exp_avg=m, exp_avg_sq=v)
                rho, size = self._rectified(t, beta1, beta2)
                if "buffer" in group:
                    group["buffer"][t % 10][:] = [t, rho, size]
                if size > 0:
                    update = m / (v.sqrt() + group["eps"]) if rho >= 5 else m
                    p.copy_(theta - lr * group["weight_decay"] * theta - lr * size * update)

    def _rectified(self, t, beta1, beta2):
        """rho_t, and what the learning rate is multiplied by: -1 where nothing moves."""
        rho_inf, power = 2 / (1 - beta2) - 1, beta2**t
        rho = rho_inf - 2 * t * power / (1 - power)
        if rho >= 5:
            r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            return rho, r * math.sqrt(1 - power) / (1 - beta1**t)
        return rho, 1 / (1 - beta1**t) if self.degenerated_to_sgd else -1


RADAM64 = partial(AuthorsRAdam, dtype=torch.float64)
PO = pytorch_optimizer.RAdam
DECAY = {"weight_decay": 0.1}

# How a run was made there, and how its state is converted.
RUNS = {
    "radam": (partial(RADAM64, **DECAY), convert.from_radam),
    "radam-degenerated": (
        partial(RADAM64, **DECAY, degenerated_to_sgd=True),
        partial(convert.from_radam, degenerated_to_sgd=True),
    ),
    "radam-plain": (partial(RADAM64, buffered=False), convert.from_radam),
    "radam-plain-degenerated": (
        partial(RADAM64, degenerated_to_sgd=True, buffered=False),
        partial(convert.from_radam, degenerated_to_sgd=True),
    ),
    "pytorch_optimizer": (partial(PO, **DECAY), convert.from_pytorch_optimizer),
    "pytorch_optimizer-degenerated": (
        partial(PO, **DECAY, degenerated_to_sgd=True),
        partial(convert.from_pytorch_optimizer, degenerated_to_sgd=True),
    ),
    "pytorch_optimizer-threshold-4": (
        partial(PO, n_sma_threshold=4),
        partial(convert.from_pytorch_optimizer, n_sma_threshold=4),
    ),
    "pytorch_optimizer-maximize": (
        partial(PO, **DECAY, maximize=True, foreach=False),
        partial(convert.from_pytorch_optimizer, maximize=True),
    ),
    "optimi": (optimi.RAdam, convert.from_optimi),
    "optimi-l2": (partial(optimi.RAdam, **DECAY), convert.from_optimi),
    "optimi-decoupled": (partial(optimi.RAdam, **DECAY, decouple_wd=True), convert.from_optimi),
    "optimi-fully-decoupled": (
        partial(optimi.RAdam, weight_decay=5e-4, decouple_lr=True, max_lr=0.1),
        convert.from_optimi,
    ),
    "optimi-adam": (partial(optimi.Adam, **DECAY), partial(convert.from_optimi, optimizer="Adam")),
    "optimi-adamw": (partial(optimi.AdamW, **DECAY), partial(convert.from_optimi, optimizer="AdamW")),
}
every_run = pytest.mark.parametrize(("make", "converted"), RUNS.values(), ids=RUNS)
COUNTED_BY_GROUP = [name for name in RUNS if not name.startswith("radam")]

# eps is of the size of sqrt(v), so that it matters where it is added; the second group begins later than the first.
OPTIONS = {"betas": (0.9, 0.999), "eps": 0.1}
SECOND = {"lr": 0.03, "eps": 0.01}
STEPS = 25


def start(make, dtype=torch.float64, shapes=SHAPES):
    """The optimizer, and its parameters in two groups."""
    params = parameters(dtype, shapes)
    return make([{"params": params[:3]}, {"params": params[3:], **SECOND}], lr=0.01, **OPTIONS), params


def from_a_file(optimizer):
    """The state dict, through a file from which nothing but plain values is read."""
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def gone_on(optimizer, params, converted, kind=rectified.RAdam, **options):
    """Ours, with all options but the parameters from the save, and copies of the parameters."""
    fresh = [torch.nn.Parameter(p.detach().clone()) for p in params]
    ours = kind([{"params": fresh[:3]}, {"params": fresh[3:]}], **options)
    ours.load_state_dict(converted(from_a_file(optimizer)))
    return ours, fresh


def both_go_on(theirs, params, ours, fresh, steps, present=always, relative=1e-9, rounding=2.0**-53):
    """The same gradients and the same schedule of the lr on both sides: the paths must be the same."""
    race = Race([numbers(p) for p in params], relative, rounding)
    for step in steps:
        for optimizer in (theirs, ours):
            for group, lr in zip(optimizer.param_groups, (0.01, 0.03), strict=True):
                group["lr"] = lr / (1 + step / 10)
        train(theirs, params, [step], present)
        train(ours, fresh, [step], present)
        race.check([numbers(p) for p in fresh], [numbers(p) for p in params])


@every_run
@pytest.mark.parametrize("at", [0, 1, 3, 4, 5, 6, 7, 20])
def test_a_run_goes_on_from_any_phase(make, converted, at):
    theirs, params = start(make)
    train(theirs, params, range(1, at + 1))
    ours, fresh = gone_on(theirs, params, converted)
    assert [int(ours.state[p]["step"]) for p in fresh if p in ours.state] == [at] * (len(fresh) if at else 0)
    both_go_on(theirs, params, ours, fresh, range(at + 1, at + STEPS))


@every_run
def test_the_options_come_from_the_save_whatever_the_loading_optimizer_has(make, converted):
    theirs, params = start(make)
    train(theirs, params, range(1, 4))
    ours, fresh = gone_on(theirs, params, converted, rectified.Adam, amsgrad=True, maximize=True, foreach=True)
    both_go_on(theirs, params, ours, fresh, range(4, STEPS))
    assert ours.param_groups[0]["foreach"], "the path stays its own"


@pytest.mark.parametrize("at", [3, 6, 12])
def test_the_authors_counts_are_the_parameters_own(at):
    make, converted = RUNS["radam"]
    theirs, params = start(make)
    train(theirs, params, range(1, at + 1), comes_and_goes)
    both_go_on(theirs, params, *gone_on(theirs, params, converted), range(at + 1, at + STEPS), comes_and_goes)


@pytest.mark.parametrize("name", COUNTED_BY_GROUP)
def test_a_parameter_that_has_missed_steps_goes_on_with_its_groups_count(name):
    make, converted = RUNS[name]
    theirs, params = start(make)
    train(theirs, params, range(1, 12), comes_and_goes)
    ours, fresh = gone_on(theirs, params, converted)
    assert {int(ours.state[p]["step"]) for p in fresh} == {11}
    both_go_on(theirs, params, ours, fresh, range(12, 12 + STEPS))


@every_run
def test_a_parameter_that_has_not_begun_has_no_state(make, converted):
    theirs, params = start(make)
    train(theirs, params, range(1, 4), comes_and_goes)
    saved = converted(from_a_file(theirs))
    assert sorted(saved["state"]) == [0, 2, 3, 4]
    ours, fresh = gone_on(theirs, params, converted)
    train(ours, fresh, range(4, 8), comes_and_goes)
    assert int(ours.state[fresh[1]]["step"]) == 3, "it counts from its own beginning"


@pytest.mark.parametrize("at", [2, 6, 20])
@pytest.mark.parametrize("name", ["radam", "pytorch_optimizer", "optimi"])
def test_in_float32_too(name, at):
    make, converted = RUNS[name]
    if name == "radam":
        make = partial(AuthorsRAdam, **DECAY)
    theirs, params = start(make, torch.float32)
    train(theirs, params, range(1, at + 1))
    ours, fresh = gone_on(theirs, params, converted)
    both_go_on(theirs, params, ours, fresh, range(at + 1, at + STEPS), relative=1e-5, rounding=2.0**-24)


def test_complex_parameters_go_on():
    theirs, params = start(PO, torch.complex128)
    train(theirs, params, range(1, 9))
    both_go_on(theirs, params, *gone_on(theirs, params, convert.from_pytorch_optimizer), range(9, STEPS))


@every_run
def test_what_is_given_stays_as_it_was(make, converted):
    theirs, params = start(make)
    train(theirs, params, range(1, 4))
    saved = from_a_file(theirs)
    before = copy.deepcopy(saved)
    ours = rectified.RAdam([{"params": params[:3]}, {"params": params[3:]}])
    ours.load_state_dict(converted(saved))
    train(ours, params, range(4, 8))
    assert str(saved) == str(before)  # every number of these small tensors is in it


class Released(optimi.RAdam):
    """Steps as backward's hooks make it step with gradient release: each parameter by itself."""

    def __init__(self, params, **options):
        super().__init__(params, gradient_release=True, **options)

    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    super().step(param=p)


@pytest.mark.parametrize("at", [3, 12])
def test_with_gradient_release_the_counts_are_the_parameters_own(at):
    """The state of every parameter then has its whole group, parameters and all."""
    theirs, params = start(partial(Released, **DECAY), shapes=((3, 4), (5,), (2, 2), (3,)))
    train(theirs, params, range(1, at + 1), comes_and_goes)
    ours, fresh = gone_on(theirs, params, convert.from_optimi)
    both_go_on(theirs, params, ours, fresh, range(at + 1, at + STEPS), comes_and_goes)


def test_kahans_compensations_are_carried_over():
    """The lr is so small that no weight moves but by what is kept back."""
    params = [torch.nn.Parameter(torch.full((50,), 2.0, dtype=torch.bfloat16)), *parameters(shapes=((3,),))]
    options = {"lr": 3e-4, "betas": (0.9, 0.98)}
    theirs = optimi.RAdam(params, **options)

    def take(optimizer, params, steps):
        for step in steps:
            for i, p in enumerate(params):  # of one sign, so that it adds up
                p.grad = gradient(p, i, step).abs()
            optimizer.step()

    take(theirs, params, range(1, 21))
    saved = convert.from_optimi(from_a_file(theirs))
    assert saved["param_groups"][0]["rounding"] == "kahan"
    assert "compensation" not in saved["state"][1], "a float64 parameter has none"
    assert saved["state"][0]["exp_avg_sq"].dtype == torch.float32
    fresh = [torch.nn.Parameter(p.detach().clone()) for p in params]
    ours = rectified.RAdam(fresh)
    ours.load_state_dict(saved)
    kept_back = ours.state[fresh[0]]["compensation"]
    assert kept_back.dtype == torch.bfloat16
    assert torch.equal(kept_back, theirs.state[params[0]]["kahan_comp"])
    assert (kept_back != 0).all()

    begun = params[0].double() + kept_back.double()
    take(theirs, params, range(21, 61))
    take(ours, fresh, range(21, 61))
    reached = params[0].double() + theirs.state[params[0]]["kahan_comp"].double()
    ours_reached = fresh[0].double() + ours.state[fresh[0]]["compensation"].double()
    # Their moments and compensations are of eight bits, and go on being so.
    torch.testing.assert_close(ours_reached - begun, reached - begun, rtol=0.05, atol=0)
    assert (kept_back.double().abs() > 0.05 * (reached - begun).abs()).any(), "without them it would show"


@pytest.mark.parametrize(
    ("dtype", "placeholder", "kahan_sum"),
    [
        (torch.float32, torch.uint8, None),
        (torch.float32, torch.float32, True),  # optimi has been resumed itself: torch casts on load
        (torch.bfloat16, torch.bfloat16, False),
    ],
)
def test_what_stands_for_a_compensation_where_triton_steps_is_none(dtype, placeholder, kahan_sum):
    theirs, _ = start(partial(optimi.RAdam, kahan_sum=False), dtype)
    train(theirs, [p for group in theirs.param_groups for p in group["params"]], [1])
    saved = theirs.state_dict()
    for group in saved["param_groups"]:
        group["kahan_sum"] = kahan_sum
    for entry in saved["state"].values():
        entry["kahan_comp"] = torch.zeros(1, dtype=placeholder)
    ours = convert.from_optimi(saved)
    assert all("compensation" not in entry for entry in ours["state"].values())
    assert all("rounding" not in group for group in ours["param_groups"])


def test_without_kahan_the_rounding_stays_the_loading_optimizers():
    params = parameters(torch.bfloat16)
    theirs = optimi.RAdam(params, lr=0.01, kahan_sum=False)
    train(theirs, params, [1, 2])
    ours = rectified.RAdam(parameters(torch.bfloat16), rounding="stochastic")
    ours.load_state_dict(convert.from_optimi(from_a_file(theirs)))
    assert ours.param_groups[0]["rounding"] == "stochastic"
    assert {tuple(entry) for entry in ours.state.values()} == {("step", "exp_avg", "exp_avg_sq")}


@pytest.mark.parametrize("optimizer", [PO, AuthorsRAdam, optimi.RAdam])
def test_sixteen_bits_go_on_with_moments_of_thirty_two(optimizer):
    converted = {PO: convert.from_pytorch_optimizer, AuthorsRAdam: convert.from_radam}
    theirs, params = start(optimizer, torch.bfloat16)
    train(theirs, params, range(1, 9))
    ours, fresh = gone_on(theirs, params, converted.get(optimizer, convert.from_optimi))
    train(ours, fresh, [9])
    assert {ours.state[p]["exp_avg_sq"].dtype for p in fresh} == {torch.float32}


def buffered_run(steps, **options):
    params = parameters()
    theirs = AuthorsRAdam(params, **options)
    train(theirs, params, range(1, steps + 1))
    return theirs.state_dict()


@pytest.mark.parametrize(
    ("degenerated", "steps", "told", "start"),
    [
        (True, 1, None, "momentum"),
        (True, 12, None, "momentum"),  # the rows of steps 3 to 5 are still there
        (True, 15, None, "hold"),  # none is: the class's default
        (True, 15, True, "momentum"),
        (False, 1, None, "hold"),
        (False, 15, None, "hold"),
        (False, 1, True, "momentum"),
        (True, 1, False, "hold"),
    ],
)
def test_the_buffer_shows_how_the_authors_run_starts(degenerated, steps, told, start):
    saved = convert.from_radam(buffered_run(steps, degenerated_to_sgd=degenerated), degenerated_to_sgd=told)
    optimizer = rectified.RAdam(parameters())
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["warmup"] == Rectified(start=start)


def test_what_schedulers_have_written_into_a_group_is_kept_and_one_of_your_own_can_be():
    params = parameters()
    theirs = optimi.RAdam(params, lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(theirs, max_lr=0.1, total_steps=20, cycle_momentum=False)
    train(theirs, params, [1])
    schedule.step()
    saved = from_a_file(theirs)
    theirs.param_groups[0]["depth"] = 3
    with pytest.raises(ValueError, match=r"group 0 has depth. If that is your own, take it out"):
        convert.from_optimi(theirs.state_dict())
    ours = rectified.RAdam([{"params": parameters(), "depth": 3}])
    ours.load_state_dict(convert.from_optimi(saved))
    [group] = ours.param_groups
    assert group["depth"] == 3
    names = ("lr", "initial_lr", "max_lr", "min_lr")
    assert [group[name] for name in names] == [saved["param_groups"][0][name] for name in names]


def stepped(make, shapes=((3, 4),), **options):
    params = parameters(shapes=shapes)
    optimizer = make(params, **{"lr": 0.01, **options})
    train(optimizer, params, [1])
    return optimizer.state_dict()


REFUSED = {
    "no state dict": (
        convert.from_radam,
        lambda: {"model": {}, "optimizer": {}},
        "a dict with model, optimizer; an optimizer's",
    ),
    "no dict": (convert.from_radam, lambda: torch.optim.RAdam(parameters()), "this is RAdam; an optimizer's"),
    "torch": (convert.from_radam, lambda: stepped(torch.optim.RAdam), "load_state_dict takes as it is"),
    "ours": (convert.from_optimi, lambda: stepped(rectified.RAdam), "load_state_dict takes as it is"),
    "optimi": (convert.from_pytorch_optimizer, lambda: stepped(optimi.RAdam), "from_optimi takes RAdam"),
    "the authors'": (convert.from_optimi, lambda: stepped(AuthorsRAdam), "the authors' RAdam, which from_radam takes"),
    "pytorch_optimizer": (convert.from_radam, lambda: stepped(PO), "of which from_pytorch_optimizer takes RAdam"),
    "a sum of squares": (convert.from_radam, lambda: stepped(torch.optim.Adagrad), "group 0 lacks betas"),
    "another of pytorch_optimizer's": (
        convert.from_pytorch_optimizer,
        lambda: stepped(pytorch_optimizer.AdaBound),
        "group 0 has ams_bound, final_lr, gamma",
    ),
    "a state of pytorch_optimizer's": (
        convert.from_pytorch_optimizer,
        lambda: {
            "param_groups": stepped(PO)["param_groups"],
            "state": stepped(pytorch_optimizer.AdaBelief)["state"],
        },
        "parameter 0 has exp_avg, exp_avg_var",
    ),
    "another of optimi's": (convert.from_optimi, lambda: stepped(optimi.Adan), "group 0 lacks decouple_wd"),
    "Ranger's": (convert.from_optimi, lambda: stepped(optimi.Ranger), "group 0 has alpha, k"),
    "adanorm": (convert.from_pytorch_optimizer, lambda: stepped(PO, adanorm=True), "group 0 has adanorm=True"),
    "adam_debias": (convert.from_pytorch_optimizer, lambda: stepped(PO, adam_debias=True), "has adam_debias=True"),
    "fixed_decay": (
        convert.from_pytorch_optimizer,
        lambda: stepped(PO, fixed_decay=True, weight_decay=1e-4),
        "that the lr does not scale",
    ),
    "a decay without effect": (
        convert.from_pytorch_optimizer,
        lambda: stepped(PO, weight_decouple=False, weight_decay=0.1),
        "leaves without effect",
    ),
    "a threshold below 4": (
        partial(convert.from_pytorch_optimizer, n_sma_threshold=3),
        lambda: stepped(PO),
        "threshold is 3.0",
    ),
    "a class that optimi lacks": (
        partial(convert.from_optimi, optimizer="Lion"),
        lambda: stepped(optimi.RAdam),
        "optimizer is 'Lion'; it must be one of 'RAdam', 'Adam', 'AdamW'",
    ),
}


@pytest.mark.parametrize(("converted", "saved", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_go_on_is_refused_with_a_reason(converted, saved, message):
    with pytest.raises(ValueError, match=message):
        converted(saved())


@pytest.mark.parametrize(
    "options",
    [{"weight_decouple": False}, {"fixed_decay": True}, {"adanorm": False, "adam_debias": False}],
    ids=["not decoupled", "fixed", "off"],
)
def test_options_without_effect_are_no_obstacle(options):
    theirs, params = start(partial(PO, **options))
    train(theirs, params, range(1, 4))
    both_go_on(theirs, params, *gone_on(theirs, params, convert.from_pytorch_optimizer), range(4, STEPS))


def test_a_beta2_that_never_leaves_the_start_is_refused_on_load():
    params = parameters()
    theirs = PO(params, betas=(0.9, 0.5))
    train(theirs, params, [1])
    ours = rectified.RAdam(params)
    with pytest.raises(ValueError, match="would never leave its start"):
        ours.load_state_dict(convert.from_pytorch_optimizer(theirs.state_dict()))
