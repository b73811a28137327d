"""The state and its file: what is checked, what a file holds, and what it refuses."""

import dataclasses
import io
import os
import pickle
import subprocess
import sys

import pytest

np = pytest.importorskip("numpy")

from continued import equal  # noqa: E402
from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rectified.interchange import AdamState  # noqa: E402
from rectified.interchange.fitting import Wanted, check_fit  # noqa: E402


def state_of(shapes, counts=3, seed=0, dtype="float32", v_max=()):
    rng = np.random.default_rng(seed)
    draw = lambda: {name: rng.uniform(0.1, 1, shape).astype(dtype) for name, shape in shapes.items()}  # noqa: E731
    m, v, largest = draw(), draw(), draw()
    return AdamState(m, v, dict.fromkeys(shapes, counts), {name: largest[name] for name in v_max})


TWO = state_of({"w": (2, 3), "b": (3,)}, v_max=("w",))

names = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="\\") | st.just(" "), max_size=20)
shapes = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@given(
    shapes=st.dictionaries(names, shapes, max_size=4),
    counts=st.integers(1, 2**40),
    dtype=st.sampled_from(["float16", "float32", "float64", "complex64", "complex128"]),
    amsgrad=st.booleans(),
)
def test_a_file_gives_back_every_bit(tmp_path_factory, shapes, counts, dtype, amsgrad):
    state = state_of(shapes, counts, dtype=dtype, v_max=list(shapes)[: 2 * amsgrad])
    path = tmp_path_factory.mktemp("files") / "adam.npz"
    state.save(path)
    loaded = AdamState.load(path)
    assert equal(loaded, state)
    assert list(loaded.m) == list(state.m)


def test_a_file_is_read_by_numpy_alone(tmp_path):
    TWO.save(tmp_path / "adam")  # no ending is added
    with np.load(tmp_path / "adam", allow_pickle=False) as file:
        assert {"m/w", "v/w", "counts/w", "v_max/w", "m/b", "v/b", "counts/b"} < set(file.files)
        assert int(file["counts/w"]) == 3
        assert np.array_equal(file["m/w"], TWO.m["w"])


def test_a_file_is_complete_or_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "adam.npz"
    TWO.save(path)

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        state_of({"w": (1,)}).save(path)
    assert equal(AdamState.load(path), TWO)
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_leads_to_the_file_that_is_written(tmp_path):
    link = tmp_path / "latest.npz"
    link.symlink_to(tmp_path / "adam.npz")
    TWO.save(link)
    assert link.is_symlink()
    assert equal(AdamState.load(link), TWO)


def bytes_of(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def saved(tmp_path):
    TWO.save(tmp_path / "x")
    return (tmp_path / "x").read_bytes()


HEAD = {"format": np.array("rectified.interchange.AdamState"), "version": np.array(1)}
DAMAGED = {
    "empty": (lambda _: b"", "is not a file of"),
    "text": (lambda _: b"{}", "is not a file of"),
    "pickle": (lambda _: pickle.dumps([1]), "is not a file of"),
    "half": (lambda path: saved(path)[:-700], "is not a file of"),
    "a bit": (lambda path: saved(path).replace(TWO.m["w"].tobytes(), bytes(24)), "is not a file of"),
    "another's": (lambda _: bytes_of(x=np.ones(2)), "its format is not"),
    "no version": (lambda _: bytes_of(format=HEAD["format"]), "is not a file of"),
    "later": (lambda _: bytes_of(**{**HEAD, "version": np.array(2)}), "has version 2 of its format"),
    "objects": (lambda _: bytes_of(**HEAD, **{"m/w": np.array([{}])}), "is not a file of"),
    "a key": (lambda _: bytes_of(**HEAD, w=np.ones(2)), "it has 'w'"),
    "no counts": (lambda _: bytes_of(**HEAD, **{"m/w": np.ones(2), "v/w": np.ones(2)}), "is damaged: m and counts"),
    "a float": (
        lambda _: bytes_of(**HEAD, **{"m/w": np.ones(2), "v/w": np.ones(2), "counts/w": np.array(1.5)}),
        "the count of 'w' is 1.5",
    ),
}


@pytest.mark.parametrize("how", DAMAGED)
def test_another_file_is_refused_by_its_name(tmp_path, how):
    content, says = DAMAGED[how]
    (tmp_path / "there.npz").write_bytes(content(tmp_path))
    with pytest.raises(ValueError, match=says) as caught:
        AdamState.load(tmp_path / "there.npz")
    assert "there.npz" in str(caught.value)


def test_a_single_array_is_refused(tmp_path):
    np.save(tmp_path / "one.npy", np.ones(3))
    with pytest.raises(ValueError, match="is not a file of"):
        AdamState.load(tmp_path / "one.npy")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        AdamState.load(tmp_path / "none.npz")


@pytest.mark.parametrize("name", ["a\\b", "a\0b", "a\nb", "a.npy"])
def test_a_name_that_a_zip_file_would_change_is_not_saved(tmp_path, name):
    with pytest.raises(ValueError, match="cannot be a name in a file"):
        state_of({name: (2,)}).save(tmp_path / "adam.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"v": {"w": np.ones((2, 3))}}, ValueError, "m and v must have the same names; 'b' is in one"),
        ({"counts": {"w": 1, "b": 1, "c": 1}}, ValueError, "m and counts must have the same names; 'c'"),
        ({"v_max": {"c": np.ones(2)}}, ValueError, "m and v_max must have the same names; 'c'"),
        ({"v": {"w": np.ones((3, 2)), "b": np.ones(3)}}, ValueError, "the moments of 'w' have different shapes"),
        ({"v_max": {"w": np.ones(3)}}, ValueError, "the moments of 'w' have different shapes"),
        ({"counts": {"w": 1, "b": 0}}, ValueError, "the count of 'b' is 0, but its moments are not"),
        ({"counts": {"w": -1, "b": 1}}, ValueError, "the count of 'w' is -1"),
        ({"counts": {"w": 1.5, "b": 1}}, TypeError, "the count of 'w' is 1.5"),
        ({"counts": {"w": True, "b": 1}}, TypeError, "the count of 'w' is True"),
        ({"m": {"w": np.ones((2, 3), int), "b": np.ones(3)}}, TypeError, "m of 'w' has the dtype int64"),
        ({"m": {"w": np.array([None]), "b": np.ones(3)}}, TypeError, "m of 'w' has the dtype object"),
    ],
)
def test_a_state_is_consistent(change, error, says):
    with pytest.raises(error, match=says):
        dataclasses.replace(TWO, **change)


def test_bfloat16_becomes_float32_exactly():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.array([1 / 3, 3e38, 1e-40], ml_dtypes.bfloat16)
    state = AdamState({"w": x}, {"w": x}, {"w": 1})
    assert state.m["w"].dtype == np.float32
    assert np.array_equal(state.m["w"].astype(ml_dtypes.bfloat16), x)


def test_names_and_layouts_go_there_and_back():
    there = TWO.renamed({"w": "kernel"}).mapped(lambda name, x: x.T)
    assert list(there.m) == ["kernel", "b"]
    assert there.v["kernel"].shape == there.v_max["kernel"].shape == (3, 2)
    assert equal(there.mapped(lambda name, x: x.T).renamed(lambda name: {"kernel": "w"}.get(name, name)), TWO)
    assert list(TWO.renamed({"w": None}).m) == ["b"]
    assert not TWO.renamed({"w": None}).v_max


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ({"x": "y"}, "the state has no 'x' to rename; it has 'w', 'b'"),
        ({"w": "b"}, "several parameters would be called 'b'"),
        (lambda name: "same", "several parameters would be called 'same'"),
    ],
)
def test_a_renaming_that_loses_something_is_refused(names, says):
    with pytest.raises(ValueError, match=says):
        TWO.renamed(names)


def test_two_states_are_merged_as_dicts_are():
    other = state_of({"w": (2, 3), "c": ()}, counts=5, seed=1)
    both = TWO | other
    assert both.counts == {"w": 5, "b": 3, "c": 5}
    assert not both.v_max, "the w of the right side has none"
    assert (other | TWO).v_max.keys() == {"w"}
    with pytest.raises(TypeError):
        TWO | {}


def test_all_that_does_not_fit_is_in_one_message_with_the_way_out():
    wanted = {"kernel": Wanted((2, 3)), "b": Wanted((3, 1))}
    with pytest.raises(ValueError, match="does not fit the optimizer") as caught:
        check_fit(TWO, wanted, "the optimizer")
    text = str(caught.value)
    for part in (
        "the state lacks 'kernel'",
        "the optimizer lacks 'w'",
        "'b' is (3,) and has to be (3, 1)",
        "state.renamed({old: new})",
        "state.mapped(",
    ):
        assert part in text
    many = {f"p{i}": Wanted((2,)) for i in range(500)}
    with pytest.raises(ValueError, match="and 494 more") as caught:
        check_fit(TWO, many, "the optimizer")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("name", "package", "extra"),
    [("from_optax", "optax", "jax"), ("AdamState", "numpy", "interchange"), ("to_torch", "numpy", "interchange")],
)
def test_a_missing_package_is_named_with_its_extra(name, package, extra):
    code = f"""
import sys
sys.modules["{package}"] = None
import rectified.interchange
try: rectified.interchange.{name}
except ModuleNotFoundError as error: print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout == f"{name} needs {package}: pip install 'rectified[{extra}]'\n"


def test_a_name_that_does_not_exist_is_no_attribute():
    import rectified.interchange

    assert {"AdamState", "from_keras"} <= set(dir(rectified.interchange))
    with pytest.raises(AttributeError, match="no attribute 'from_mxnet'"):
        rectified.interchange.from_mxnet  # noqa: B018
