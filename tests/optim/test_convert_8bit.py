"""Runs of bitsandbytes' and torchao's 8-bit Adam go on; their states are built by hand, in those libraries' layout."""

import copy

import pytest
import torch

import rectified
from going_on import from_a_file
from rectified.optim import convert
from trajectories import gradient, parameters, train

LR, BETAS, EPS, DECAY = 0.01, (0.9, 0.99), 1e-3, 0.1
STEP = 7
QMAPS = {1: torch.linspace(-1, 1, 256), 2: torch.linspace(0, 1, 256) ** 3}
MOMENTS = {1: "exp_avg", 2: "exp_avg_sq"}

# Of 4,773 elements the blocks end inside rows, and the last block is shorter.
LARGE, SMALL, UNBLOCKED = (37, 129), (3, 5), (300,)


def drawn(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


def coded(shape, block=256):
    """The state of a parameter in bitsandbytes' layout, and its moments, decoded one element at a time."""
    generator = torch.Generator().manual_seed(shape[0])
    entry, decoded = {"step": STEP}, {}
    for k, qmap in QMAPS.items():
        codes = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
        blocks = -(-codes.numel() // block)
        absmax = torch.rand(blocks, generator=generator) + 0.1
        entry |= {f"state{k}": codes, f"qmap{k}": qmap, f"absmax{k}": absmax}
        values = [qmap[c] * absmax[i // block] for i, c in enumerate(codes.flatten().tolist())]
        decoded[MOMENTS[k]] = torch.stack(values).view(shape)
    return entry, decoded


def uncoded(shape):
    entry = {"step": STEP, "state1": drawn(*shape) - 0.5, "state2": drawn(*shape)}
    return entry, {"exp_avg": entry["state1"], "exp_avg_sq": entry["state2"]}


def wrapped(entry):
    """The state as bitsandbytes saves it since 0.49.2."""
    return {"step": entry["step"], "__bnb_optimizer_quant_state__": {k: x for k, x in entry.items() if k != "step"}}


def bitsandbytes_save(*entries, **options):
    group = {
        "lr": LR,
        "betas": BETAS,
        "eps": EPS,
        "weight_decay": DECAY,
        "alpha": 0.0,
        "t_alpha": None,
        "t_beta3": None,
        **options,
    }
    state = {i: entry for i, entry in enumerate(entries) if entry}
    return {"state": state, "param_groups": [{**group, "params": list(range(len(entries)))}]}


def torchao_save(*entries, **options):
    group = {"lr": torch.tensor(LR), "betas": BETAS, "eps": EPS, "weight_decay": DECAY, "amsgrad": False, **options}
    state = {i: entry for i, entry in enumerate(entries) if entry}
    return {"state": state, "param_groups": [{**group, "params": list(range(len(entries)))}]}


class Saved:
    """What from_a_file needs of an optimizer."""

    def __init__(self, state_dict):
        self.state_dict = lambda: state_dict


class Quantized(torch.Tensor):
    """A stand-in for torchao's OptimState8bit: other than in its dequantize, its numbers are of no use."""

    @staticmethod
    def __new__(cls, values, dtype=torch.float32):
        return torch.Tensor._make_wrapper_subclass(cls, values.shape, dtype=dtype)

    def __init__(self, values, dtype=torch.float32):
        self.values = values

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError(func)

    def dequantize(self, output_dtype=None):
        return self.values.clone()


def next_step(p, g, state, *, decoupled):
    """The step STEP + 1 of Adam in float64."""
    p, g, m, v = (x.double() for x in (p, g, state["exp_avg"], state["exp_avg_sq"]))
    (beta1, beta2), t = BETAS, STEP + 1
    if decoupled:
        p = p - LR * DECAY * p
    else:
        g = g + DECAY * p
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    largest = torch.maximum(v, state["max_exp_avg_sq"].double()) if "max_exp_avg_sq" in state else v
    return p - LR * m / (1 - beta1**t) / ((largest / (1 - beta2**t)).sqrt() + EPS)


def goes_on(kind, saved, shapes, states, *, decoupled):
    """Load what a converter returned, and compare the next step."""
    params = parameters(torch.float32, shapes)
    optimizer = kind(params)
    optimizer.load_state_dict(saved)
    expected = []
    for i, (p, state) in enumerate(zip(params, states, strict=True)):
        p.grad = gradient(p, i, STEP + 1)
        expected.append(next_step(p.detach(), p.grad, state, decoupled=decoupled))
    optimizer.step()
    for p, x in zip(params, expected, strict=True):
        torch.testing.assert_close(p.double(), x, rtol=1e-6, atol=1e-6)
    return optimizer


@pytest.mark.parametrize("kind", [rectified.Adam, rectified.AdamW])
@pytest.mark.parametrize("wrap", [lambda entry: entry, wrapped], ids=["flat", "wrapped"])
def test_codes_and_small_tensors_of_bitsandbytes_go_on(kind, wrap):
    (large, large_state), (small, small_state) = coded(LARGE), uncoded(SMALL)
    saved = from_a_file(Saved(bitsandbytes_save(wrap(large), wrap(small))))
    ours = convert.from_bitsandbytes(saved)
    for key, state in enumerate((large_state, small_state)):
        assert float(ours["state"][key]["step"]) == STEP
        for name, x in state.items():
            assert torch.equal(ours["state"][key][name], x)
    goes_on(kind, ours, (LARGE, SMALL), (large_state, small_state), decoupled=True)


@pytest.mark.parametrize("shape", [(4096,), LARGE, UNBLOCKED, (256,), (257,), (5, 1, 7)])
@pytest.mark.parametrize("block", [256, 2048])
def test_the_block_size_follows_from_the_sizes(shape, block):
    entry, state = coded(shape, block)
    ours = convert.from_bitsandbytes(bitsandbytes_save(entry))["state"][0]
    assert all(torch.equal(ours[name], x) for name, x in state.items())


def test_a_save_from_before_ademamix_has_fewer_options():
    saved = bitsandbytes_save(uncoded(SMALL)[0])
    for name in ("alpha", "t_alpha", "t_beta3"):
        del saved["param_groups"][0][name]
    assert convert.from_bitsandbytes(saved)["state"].keys() == {0}


@pytest.mark.parametrize("make", [coded, uncoded])
def test_what_is_not_contiguous_is_read_in_the_order_of_memory(make):
    """The parameter became contiguous in bitsandbytes' first step, but its moments kept their strides."""
    shape = (16, 8, 3, 5)
    entry, state = make(shape)
    for k in (1, 2):
        like = torch.empty(shape, dtype=entry[f"state{k}"].dtype).to(memory_format=torch.channels_last)
        entry[f"state{k}"] = entry[f"state{k}"].flatten().as_strided(shape, like.stride())
        assert not entry[f"state{k}"].is_contiguous()
    ours = convert.from_bitsandbytes(bitsandbytes_save(entry))["state"][0]
    assert all(torch.equal(ours[name], x) for name, x in state.items())
    assert ours["exp_avg"].is_contiguous()


def test_a_parameter_that_has_not_stepped_has_no_state():
    entry, state = coded(LARGE)
    moments = {"step": torch.tensor(float(STEP)), **state}
    for ours in (
        convert.from_bitsandbytes(bitsandbytes_save(entry, {}, uncoded(SMALL)[0])),
        convert.from_torchao(torchao_save(moments, {}, moments)),
    ):
        assert sorted(ours["state"]) == [0, 2]
        assert ours["param_groups"][0]["params"] == [0, 1, 2]


@pytest.mark.parametrize(("name", "kind"), [("Adam", rectified.Adam), ("AdamW", rectified.AdamW)])
@pytest.mark.parametrize("amsgrad", [False, True])
def test_coded_and_plain_moments_of_torchao_go_on(name, kind, amsgrad):
    names = ["exp_avg", "exp_avg_sq", *["max_exp_avg_sq"] * amsgrad]
    states = [{n: drawn(i + 1, *shape).sum(0) for i, n in enumerate(names)} for shape in (LARGE, SMALL)]
    step = torch.tensor(float(STEP))
    coded_entry = {"step": step, **{n: Quantized(x) for n, x in states[0].items()}}
    saved = torchao_save(coded_entry, {"step": step, **states[1]}, amsgrad=amsgrad, initial_lr=torch.tensor(0.02))
    ours = convert.from_torchao(saved, name)
    for key, state in enumerate(states):
        assert ours["state"][key].keys() == {"step", *names}
        assert all(type(ours["state"][key][n]) is torch.Tensor for n in names)
        assert all(torch.equal(ours["state"][key][n], x) for n, x in state.items())
    optimizer = goes_on(kind, ours, (LARGE, SMALL), states, decoupled=name == "AdamW")
    [group] = optimizer.param_groups
    assert [type(group[n]) for n in ("lr", "initial_lr")] == [float, float]
    assert [group[n] for n in ("lr", "initial_lr")] == pytest.approx([LR, 0.02])


def test_sixteen_bits_of_torchao_become_float32():
    state = {n: drawn(*SMALL).bfloat16() for n in ("exp_avg", "exp_avg_sq")}
    entry = {"step": torch.tensor(3.0), "exp_avg": Quantized(state["exp_avg"], torch.bfloat16)}
    ours = convert.from_torchao(torchao_save({**entry, "exp_avg_sq": state["exp_avg_sq"]}))["state"][0]
    assert {ours[n].dtype for n in state} == {torch.float32}
    assert all(torch.equal(ours[n], x.float()) for n, x in state.items())


SAVES = {
    "bitsandbytes": (convert.from_bitsandbytes, bitsandbytes_save(wrapped(coded(LARGE)[0]), uncoded(SMALL)[0])),
    "torchao": (
        convert.from_torchao,
        torchao_save(
            *({"step": torch.tensor(2.0), "exp_avg": drawn(*s), "exp_avg_sq": drawn(*s)} for s in (LARGE, SMALL))
        ),
    ),
}


@pytest.mark.parametrize(("converted", "saved"), SAVES.values(), ids=SAVES)
def test_the_save_stays_as_it_was(converted, saved):
    before = copy.deepcopy(saved)
    params = parameters(torch.float32, (LARGE, SMALL))
    optimizer = rectified.AdamW(params)
    optimizer.load_state_dict(converted(saved))
    train(optimizer, params, [1, 2])
    assert unchanged(saved, before)


def unchanged(x, before):
    if isinstance(x, dict):
        return x.keys() == before.keys() and all(unchanged(x[k], before[k]) for k in x)
    if isinstance(x, list):
        return len(x) == len(before) and all(map(unchanged, x, before))
    return torch.equal(x, before) if isinstance(x, torch.Tensor) else x == before


def bitsandbytes_state(**changes):
    entry = {**coded(LARGE)[0], **changes}
    return bitsandbytes_save({name: x for name, x in entry.items() if x is not None})


MOMENTUM_ONLY = {"step": 1, "state1": torch.zeros(3)}
REFUSED = {
    "bitsandbytes to radam": (
        convert.from_radam,
        bitsandbytes_state(),
        "looks like an optimizer of bitsandbytes; from_bitsandbytes converts its Adam and AdamW",
    ),
    "bitsandbytes to torchao": (convert.from_torchao, bitsandbytes_state(), "lacks amsgrad. .* of bitsandbytes"),
    "torchao to bitsandbytes": (
        convert.from_bitsandbytes,
        torchao_save(),
        "looks like an Adam of torchao, which from_torchao converts",
    ),
    "torch to bitsandbytes": (
        convert.from_bitsandbytes,
        torch.optim.AdamW(parameters()).state_dict(),
        "load_state_dict accepts without conversion",
    ),
    "torch to torchao": (
        convert.from_torchao,
        torch.optim.AdamW(parameters()).state_dict(),
        "load_state_dict accepts without conversion",
    ),
    "AdEMAMix": (
        convert.from_bitsandbytes,
        bitsandbytes_save(alpha=5.0, betas=(0.9, 0.999, 0.9999)),
        "group 0 has alpha=5.0 and betas=.* this is AdEMAMix",
    ),
    "Lion": (
        convert.from_bitsandbytes,
        bitsandbytes_save(MOMENTUM_ONLY),
        "parameter 0 has state1, step, instead of state1, state2, step",
    ),
    "LAMB": (
        convert.from_bitsandbytes,
        bitsandbytes_state(unorm_vec=torch.zeros(1)),
        r"parameter 0 has unorm_vec, the state of max_unorm \(LAMB, LARS\), which has no counterpart",
    ),
    "percentile clipping": (
        convert.from_bitsandbytes,
        bitsandbytes_save(wrapped({**uncoded(SMALL)[0], "gnorm_vec": torch.zeros(100)})),
        "parameter 0 has gnorm_vec, the state of percentile_clipping",
    ),
    "one scale per tensor": (
        convert.from_bitsandbytes,
        bitsandbytes_state(max1=torch.ones(1), absmax1=None),
        "the state of block_wise=False",
    ),
    "codes without scales": (
        convert.from_bitsandbytes,
        bitsandbytes_state(absmax2=None),
        "parameter 0: state2 is uint8, but qmap2 or absmax2 is missing",
    ),
    "other blocks": (
        convert.from_bitsandbytes,
        bitsandbytes_state(absmax1=torch.ones(5)),
        "parameter 0: absmax1 has 5 blocks for 4,773 elements, which have 19 blocks of 256, or 3 of 2048",
    ),
    "a class that torchao lacks": (
        lambda saved: convert.from_torchao(saved, "Lion"),
        torchao_save(),
        "optimizer is 'Lion'; it must be one of 'Adam', 'AdamW'",
    ),
}


@pytest.mark.parametrize(("converted", "saved", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_go_on_is_refused_with_a_reason(converted, saved, message):
    with pytest.raises(ValueError, match=message):
        converted(saved)


def test_sharded_moments_are_refused():
    distributed = pytest.importorskip("torch.distributed.tensor")
    sharded = torch.empty(0).as_subclass(type("Sharded", (distributed.DTensor,), {}))
    entry = {"step": torch.tensor(1.0), "exp_avg": sharded, "exp_avg_sq": sharded}
    with pytest.raises(ValueError, match=r"parameter 0: exp_avg is sharded \(a DTensor\); gather it with full_tensor"):
        convert.from_torchao(torchao_save(entry))
