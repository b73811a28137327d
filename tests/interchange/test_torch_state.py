"""A state that leaves a torch optimizer, by a file, and enters another one: bit for bit, or it is refused."""

import copy
import dataclasses
import pickle

import pytest

np = pytest.importorskip("numpy")

import torch  # noqa: E402
from continued import equal  # noqa: E402

import rectified  # noqa: E402
from rectified.interchange import AdamState, from_torch, to_torch  # noqa: E402
from roster import BY_NAME, every_method, representatives  # noqa: E402

SHAPES = {"w": (70, 64), "b": (7,), "s": (), "image": (2, 3, 4, 4)}


def model_of(dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    draw = {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}
    draw["image"] = draw["image"].to(memory_format=torch.channels_last)
    return torch.nn.ParameterDict({name: torch.nn.Parameter(x.to(dtype)) for name, x in draw.items()})


def train(optimizer, model, steps, seed=1, without=()):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for name, p in model.named_parameters():
            g = torch.complex(*torch.randn(2, *p.shape, generator=generator)) if p.is_complex() else None
            p.grad = (torch.randn(p.shape, generator=generator) if g is None else g).to(p.dtype)
            if name in without:
                p.grad = None
        optimizer.step()


def continued(make, model, path, steps=7, **options):
    """A run, and its copy that went by a file into a new optimizer."""
    optimizer = make(model.parameters())
    train(optimizer, model, steps, **options)
    twin = copy.deepcopy(model)
    from_torch(optimizer, model).save(path)
    other = make(twin.parameters())
    to_torch(AdamState.load(path), other, twin)
    return optimizer, other, twin


def same(a, b):
    """Whether two state dicts are equal in every bit."""
    return pickle.dumps(plain(a)) == pickle.dumps(plain(b))


def plain(x):
    if isinstance(x, torch.Tensor):
        return str(x.dtype), tuple(x.shape), x.stride(), x.detach().flatten().tolist()
    if isinstance(x, dict):
        return [(str(key), plain(value)) for key, value in x.items()]
    return [plain(y) for y in x] if isinstance(x, list | tuple) else repr(x)


def assert_bit_equal(optimizer, other, model, twin, **options):
    train(optimizer, model, 6, seed=2, **options)
    train(other, twin, 6, seed=2, **options)
    for (name, p), q in zip(model.named_parameters(), twin.parameters(), strict=True):
        assert torch.equal(p, q), name
    assert equal(from_torch(optimizer, model), from_torch(other, twin))


@every_method
def test_a_run_continues_bit_for_bit(method, tmp_path):
    model = model_of()
    optimizer, other, twin = continued(lambda params: method.optimizer(list(params), lr=0.01), model, tmp_path / "x")
    assert_bit_equal(optimizer, other, model, twin)


OPTIONS = {
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "capturable": {"capturable": True},
    "bfloat16": {"dtype": torch.bfloat16},
    "bfloat16 moments": {"dtype": torch.bfloat16, "state_dtype": torch.bfloat16},
    "float16": {"dtype": torch.float16},
    "float64": {"dtype": torch.float64},
    "complex": {"dtype": torch.complex64},
    "8bit": {"state_dtype": "8bit"},
    "8bit of bfloat16": {"state_dtype": "8bit", "dtype": torch.bfloat16},
    "8bit+capturable": {"state_dtype": "8bit", "capturable": True},
}


@representatives
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_whatever_the_layout(method, options, tmp_path):
    options = dict(options)
    if options.get("state_dtype") == "8bit" and "amsgrad" in method.name:
        pytest.skip("no amsgrad with moments of 8 bits")
    model = model_of(options.pop("dtype", torch.float32))
    make = lambda params: method.optimizer(list(params), lr=0.01, **options)  # noqa: E731
    optimizer, other, twin = continued(make, model, tmp_path / "x")
    if options.get("state_dtype") == "8bit":
        (w,) = (p for name, p in twin.named_parameters() if name == "w")
        assert other.state[w]["exp_avg_codes"].dtype is torch.int8, "encoded when it is loaded"
    assert_bit_equal(optimizer, other, model, twin)


TORCH = {
    "Adam": torch.optim.Adam,
    "AdamW": torch.optim.AdamW,
    "RAdam": torch.optim.RAdam,
}


@pytest.mark.parametrize("name", TORCH)
@pytest.mark.parametrize("amsgrad", [False, True])
@pytest.mark.parametrize("options", [{}, {"foreach": True}, {"capturable": True}, {"dtype": torch.bfloat16}], ids=str)
def test_torchs_own_too(name, amsgrad, options, tmp_path):
    if amsgrad and name == "RAdam":
        pytest.skip("RAdam has no amsgrad")
    options = {**options, **({"amsgrad": True} if amsgrad else {})}
    if options.get("capturable") and not torch.cuda.is_available():
        pytest.skip("torch's own capturable steps on a GPU only")
    model = model_of(options.pop("dtype", torch.float32))
    make = lambda params: TORCH[name](params, lr=0.01, **options)  # noqa: E731
    optimizer, other, twin = continued(make, model, tmp_path / "x")
    assert_bit_equal(optimizer, other, model, twin)
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert {k: (x.dtype, x.stride()) for k, x in optimizer.state[p].items()} == {
            k: (x.dtype, x.stride()) for k, x in other.state[q].items()
        }


@pytest.mark.parametrize("name", TORCH)
def test_between_torch_and_here_and_back_nothing_is_lost(name):
    model = model_of()
    theirs = TORCH[name](model.parameters(), lr=0.01)
    train(theirs, model, 7)
    ours, again = getattr(rectified, name)(model.parameters()), TORCH[name](model.parameters())
    to_torch(from_torch(theirs, model), ours, model)
    to_torch(from_torch(ours, model), again, model)
    assert same(again.state_dict()["state"], theirs.state_dict()["state"])


@pytest.mark.parametrize("kind", [rectified.AdamW, torch.optim.AdamW])
def test_a_parameter_that_has_not_stepped_has_a_count_of_0_and_no_state(kind, tmp_path):
    model = model_of()
    optimizer, other, twin = continued(lambda params: kind(params, lr=0.01), model, tmp_path / "x", without=["b"])
    state = from_torch(optimizer, model)
    assert state.counts == {"w": 7, "b": 0, "s": 7, "image": 7}
    assert not state.m["b"].any()
    assert not other.state.get(dict(twin.named_parameters())["b"])
    assert_bit_equal(optimizer, other, model, twin)


@pytest.mark.parametrize("of", [rectified, torch.optim])
def test_groups_may_have_any_order_and_options(of, tmp_path):
    model = model_of()

    def make(params, order=1):
        b, image, s, w = params
        groups = [{"params": [w, image], "weight_decay": 0.1, "amsgrad": True}, {"params": [s, b], "lr": 0.1}]
        return of.AdamW(groups[::order], lr=0.01)

    optimizer, other, twin = continued(lambda params: make(list(params)), model, tmp_path / "x")
    assert set(from_torch(optimizer, model).v_max) == {"w", "image"}
    assert_bit_equal(optimizer, other, model, twin)
    turned = make(list(twin.parameters()), -1)
    to_torch(from_torch(other, twin), turned, twin)
    assert equal(from_torch(turned, twin), from_torch(other, twin))


def test_a_shared_parameter_has_one_state_under_its_first_name():
    model = torch.nn.ModuleDict({"embed": torch.nn.Embedding(5, 4), "head": torch.nn.Linear(4, 5, bias=False)})
    model["head"].weight = model["embed"].weight
    optimizer = rectified.Adam(model.parameters())
    model["head"](model["embed"](torch.arange(5))).sum().backward()
    optimizer.step()
    assert list(from_torch(optimizer, model).m) == ["embed.weight"]
    every = list(model.named_parameters(remove_duplicate=False))
    assert len(every) == 2
    assert list(from_torch(optimizer, every).m) == ["embed.weight"]
    to_torch(from_torch(optimizer, model), optimizer, dict(every))


def test_only_what_the_optimizer_has_is_in_the_state():
    """Frozen weights, as under LoRA, are in the model and not in the optimizer."""
    model = model_of()
    optimizer = rectified.Adam([model["b"]])
    assert list(from_torch(optimizer, model).m) == ["b"]


def test_a_state_is_a_copy_both_ways():
    for kind in (rectified.Adam, torch.optim.Adam):
        model = model_of()
        optimizer = kind(model.parameters())
        train(optimizer, model, 2)
        state = from_torch(optimizer, model)
        before = {name: x.copy() for name, x in state.m.items()}
        other = kind(model.parameters())
        to_torch(state, other, model)
        train(optimizer, model, 1)
        train(other, model, 1)
        assert all(np.array_equal(x, state.m[name]) for name, x in before.items())


def test_plans_are_rebuilt_in_an_optimizer_that_has_stepped():
    model = model_of()
    optimizer = rectified.RAdam(model.parameters(), lr=0.01)
    train(optimizer, model, 9)
    state = from_torch(optimizer, model)
    at_9 = copy.deepcopy(model.state_dict())
    train(optimizer, model, 5, seed=3)
    after = copy.deepcopy(model.state_dict())
    model.load_state_dict(at_9)
    to_torch(state, optimizer, model)
    train(optimizer, model, 5, seed=3)
    assert all(torch.equal(x, after[name]) for name, x in model.state_dict().items())
    assert rectified.explain(optimizer)[0].t == 15


def test_a_warmup_around_torchs_optimizer_continues():
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    train(optimizer, model, 6)
    other = rectified.rectify(torch.optim.Adam(model.parameters(), lr=0.01), rectified.warmup.Linear(20))
    to_torch(from_torch(optimizer, model), other, model)
    train(other, model, 1)
    assert other.param_groups[0]["omega"] == pytest.approx(7 / 20)


def test_kahan_compensation_is_refused_on_leaving_and_stays_on_entering():
    model = model_of(torch.bfloat16)
    optimizer = rectified.Adam(model.parameters(), lr=0.01, rounding="kahan")
    train(optimizer, model, 3)
    with pytest.raises(ValueError, match="Kahan compensation, which is part of its weights"):
        from_torch(optimizer, model)
    plainer = rectified.Adam(model.parameters())
    train(plainer, model, 2)
    kept = {p: entry["compensation"].clone() for p, entry in optimizer.state.items()}
    to_torch(from_torch(plainer, model), optimizer, model)
    assert all(torch.equal(optimizer.state[p]["compensation"], x) for p, x in kept.items())
    for entry in optimizer.state.values():  # what the message says
        entry["compensation"].zero_()
    assert equal(from_torch(optimizer, model), from_torch(plainer, model))
    nothing = from_torch(rectified.Adam(model.parameters()), model)
    to_torch(nothing, optimizer, model)
    assert equal(from_torch(optimizer, model), nothing)


REFUSED = {
    "missing": (lambda state: state.renamed({"w": None}), "the state lacks 'w'"),
    "superfluous": (lambda state: state | state.renamed({"w": "z"}), "lacks 'z'"),
    "renamed": (lambda state: state.renamed({"w": "z"}), "the state lacks 'w'; the optimizer .* lacks 'z'"),
    "transposed": (lambda state: state.mapped(lambda name, x: x.T), r"'w' is \(64, 70\) and has to be \(70, 64\)"),
    "complex": (lambda state: state.mapped(lambda name, x: x + 0j), "complex in one and real in the other"),
    "amsgrad": (lambda state: dataclasses.replace(state, v_max={"b": state.v["b"]}), "has amsgrad=False"),
}


@pytest.mark.parametrize("why", REFUSED)
@pytest.mark.parametrize("kind", [rectified.RAdam, torch.optim.Adam])
def test_a_state_that_does_not_fit_changes_nothing(why, kind):
    change, says = REFUSED[why]
    model = model_of()
    optimizer, other = kind(model.parameters()), kind(model.parameters())
    train(optimizer, model, 3)
    train(other, model, 2)
    before = plain(other.state_dict())
    with pytest.raises(ValueError, match=says):
        to_torch(change(from_torch(optimizer, model)), other, model)
    assert plain(other.state_dict()) == before


def test_amsgrad_needs_its_v_max_and_the_way_out_works():
    model = model_of()
    optimizer = rectified.Adam(model.parameters())
    train(optimizer, model, 3)
    state = from_torch(optimizer, model)
    other = torch.optim.Adam(model.parameters(), amsgrad=True)
    with pytest.raises(ValueError, match="has no v_max of 'b', 'image', 's', 'w'"):
        to_torch(state, other, model)
    to_torch(dataclasses.replace(state, v_max=state.v), other, model)
    assert torch.equal(other.state[model["w"]]["max_exp_avg_sq"], optimizer.state[model["w"]]["exp_avg_sq"])


@pytest.mark.parametrize(
    "make",
    [
        torch.optim.SGD,
        torch.optim.NAdam,
        rectified.NAdam,
        rectified.LAMB,
        rectified.optim.contrib.GIAdam,
        rectified.optim.contrib.StableAdamW,
    ],
)
def test_another_method_is_refused(make):
    model = model_of()
    optimizer = make(model.parameters(), lr=0.1)
    with pytest.raises(TypeError, match="is not an Adam, AdamW or RAdam"):
        from_torch(optimizer, model)
    with pytest.raises(TypeError, match="is not an Adam, AdamW or RAdam"):
        to_torch(AdamState({}, {}, {}), optimizer, model)


def test_what_has_no_counterpart_is_refused():
    model = model_of()
    optimizer = torch.optim.Adam(model.parameters())
    train(optimizer, model, 1)
    optimizer.state[model["b"]]["mu_product"] = torch.ones(())
    with pytest.raises(ValueError, match="the state of 'b' has mu_product"):
        from_torch(optimizer, model)


def test_a_parameter_without_a_name_is_refused():
    model = model_of()
    optimizer = rectified.Adam([*model.parameters(), torch.nn.Parameter(torch.ones(3, 5))])
    with pytest.raises(ValueError, match=r"parameter 4 of group 0, of shape \(3, 5\), is not in the model"):
        from_torch(optimizer, model)
    with pytest.raises(TypeError, match=r"model\.named_parameters\(\)"):
        from_torch(rectified.Adam(model.parameters()), model.parameters())
    pairs = [("same", p) for p in model.parameters()]
    with pytest.raises(ValueError, match="several parameters of the model are called 'same'"):
        from_torch(rectified.Adam(model.parameters()), pairs)


def test_shards_are_refused_with_the_way_out(tmp_path):
    distributed = pytest.importorskip("torch.distributed.tensor")
    store = f"file://{tmp_path}/store"
    torch.distributed.init_process_group("gloo", init_method=store, rank=0, world_size=1)
    try:
        mesh = torch.distributed.init_device_mesh("cpu", (1,))
        p = torch.nn.Parameter(distributed.distribute_tensor(torch.ones(4, 2), mesh, [distributed.Shard(0)]))
        optimizer = rectified.Adam([p])
        for refused in (
            lambda: from_torch(optimizer, {"w": p}),
            lambda: to_torch(AdamState({}, {}, {}), optimizer, {"w": p}),
        ):
            with pytest.raises(ValueError, match=r"'w' is sharded .*full_state_dict=True"):
                refused()
    finally:
        torch.distributed.destroy_process_group()


def test_the_roster_has_8_bits_where_it_is_asked_for():
    model = model_of()
    optimizer = BY_NAME["radam"].optimizer(list(model.parameters()), state_dtype="8bit")
    train(optimizer, model, 2)
    assert "exp_avg_codes" in optimizer.state[model["w"]]
    m = from_torch(optimizer, model).m["w"]
    assert m.dtype == np.float32
    assert m.any()
