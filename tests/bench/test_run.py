"""The bench itself: real processes on the smallest model; peers that fail or are missing; what a wrong call says."""

import json
import sys
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from rectified.bench import entries, measure
from rectified.bench.models import MODELS
from rectified.bench.ratios import Measured, Outcome
from rectified.bench.run import _turn
from rectified.bench.worker import Worker
from rectified.cli import main


def test_a_run_writes_tables_numbers_and_a_picture(tmp_path, capsys):
    out = tmp_path / "bench"
    call = ["bench", "--models", "cnn", "--methods", "torch AdamW fused,rectified AdamW", "--rounds", "0.03"]
    assert main([*call, "--device", "cpu", "--threads", "1", "--out", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "torch AdamW fused" in shown
    written = json.loads((out / "bench.json").read_text())
    measured = written["outcomes"][0]["entries"]
    assert {"rectified RAdam", "torch AdamW fused", "rectified AdamW + untuned linear"} <= measured.keys()
    assert "torch RAdam" not in measured
    for name, each in measured.items():
        assert len(each["warm"]) == len(each["cold"]) == 2, name
        assert min(each["warm"].values()) > 0
    assert written["command"].startswith("rectified bench --models cnn")
    assert "| rectified RAdam | 1 (" in (out / "bench.md").read_text()
    assert "torch AdamW fused" in "".join(ElementTree.parse(out / "bench.svg").getroot().itertext())


@pytest.mark.parametrize(
    ("call", "word"),
    [
        (["--models", "cnn,resnet"], "--models has 'resnet'; there are cnn, resnet20"),
        (["--methods", "torhc"], "--methods has 'torhc'; there are rectified RAdam;"),
        (["--rounds", "0"], "--rounds is 0; it must be above 0"),
        (["--threads", "0"], "--threads is 0; it must be at least 1"),
        (["--device", "tpu"], "--device is 'tpu'; it must be cpu"),
        (["--also", "no/such/python"], "--also no/such/python: no such interpreter"),
        (["--also", "/bin/true"], "/bin/true cannot take part: its process ended with status 0"),
    ],
)
def test_a_wrong_call_says_what_is_right(call, word, capsys):
    assert main(["bench", *call]) == 2
    assert word in capsys.readouterr().err


def test_who_takes_part_in_a_round():
    """In a full one all, but the slow in every third only; in a short one the base and others' near it."""
    ratios = {
        "rectified RAdam": 1,
        "rectified AdamW": 1,
        "torch AdamW fused": 1.1,
        "torch RAdam": 6,
        "bitsandbytes AdamW": 9,
    }
    found = {name: Measured({0: float(ratio)}) for name, ratio in ratios.items()}
    outcome = Outcome("gpt2", 10**8, 10, 3, found, [1e9], {})
    assert set(_turn(outcome, 0, short=False)) == set(_turn(outcome, 3, short=False)) == ratios.keys()
    assert set(_turn(outcome, 1, short=False)) == ratios.keys() - {"bitsandbytes AdamW"}
    assert set(_turn(outcome, 1, short=True)) == {"rectified RAdam", "torch AdamW fused"}
    orders = set()
    for _ in range(20):
        outcome.bandwidth.append(1e9)
        orders.add(tuple(_turn(outcome, 0, short=False)))
    assert len(orders) > 10, "each round has its own"


def test_states_have_the_bytes_that_the_docs_state():
    arena = measure.Arena(MODELS["cnn"](), "cpu")
    size, counts = arena.size, 4 * len(arena.grads)
    expected = {
        "rectified RAdam": 8 * size + counts,
        "rectified Adam amsgrad": 12 * size + counts,
        "rectified RAdam (bf16)": 8 * size + counts,
        "rectified RAdam kahan (bf16)": 10 * size + counts,
        "rectified RAdam bf16 states (bf16)": 4 * size + counts,
    }
    assert {name: arena.memory(entries.BY_NAME[name])["state"] for name in expected} == expected


def test_our_step_needs_no_memory_of_its_own_and_torchs_foreach_one_copy():
    arena = measure.Arena([(1000, 1000)], "cpu")
    assert arena.memory(entries.BASE)["beyond"] < 1000
    assert arena.memory(entries.BY_NAME["torch AdamW foreach"])["beyond"] == pytest.approx(4 * arena.size, rel=0.01)


def test_an_entry_that_fails_says_so_and_a_process_that_dies_is_begun_anew(tmp_path):
    (tmp_path / "pytorch_optimizer.py").write_text(
        "import os\nclass RAdam:\n    def __init__(self, params, lr): self.n = 0\n    def step(self): os._exit(3)\n"
    )
    (tmp_path / "schedulefree.py").write_text(
        "class RAdamScheduleFree:\n    def __init__(self, params, lr): raise OSError('no such op')\n"
    )
    worker = Worker(sys.executable, {"device": "cpu", "threads": 1, "model": "cnn"}, [str(tmp_path)])
    try:
        with pytest.raises(RuntimeError, match="OSError: no such op"):
            worker.ask("memory", entry="schedulefree RAdamScheduleFree")
        with pytest.raises(RuntimeError, match="its process ended with status 3"):
            worker.ask("memory", entry="pytorch_optimizer RAdam")
        assert worker.ask("block", entry="rectified RAdam", steps=2, cold=1)["warm"] > 0
    finally:
        worker.end()


def test_every_entry_is_named_once_and_what_is_not_installed_is_said(monkeypatch):
    assert len(entries.BY_NAME) == len(entries.ENTRIES)
    monkeypatch.setitem(sys.modules, "optimi", None)
    assert "not installed" in entries.missing(entries.BY_NAME["torch-optimi RAdam"], "cpu")
    assert entries.missing(entries.BY_NAME["rectified RAdam in a CUDA graph"], "cpu") == "only for cuda"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_cuda_graph_is_replayed():
    arena = measure.Arena(MODELS["cnn"](), "cuda")
    assert arena.block(entries.BY_NAME["rectified RAdam in a CUDA graph"], steps=3, cold=1)["warm"] > 0
