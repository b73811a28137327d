"""Which way a step is taken: torch's private op where it is the one that was tested, foreach ops elsewhere, and why."""

import logging
from functools import partial
from types import SimpleNamespace

import pytest
import torch

import rectified
from rectified.optim import _torch
from rectified.warmup import Linear
from reference import Textbook, linear
from roster import both_paths, every_method
from trajectories import FusedCalls, numbers, parameters, race, train


def test_the_op_is_known_to_this_torch():
    """The canary: torch's private op still has the signature that was tested. If not, read what has changed."""
    assert _torch.has_known_op()


@every_method
def test_plain_parameters_take_the_fused_op_and_say_nothing(method, caplog):
    params = parameters()
    optimizer = method.optimizer(params)
    with FusedCalls() as calls, caplog.at_level(logging.DEBUG, logger="rectified"):
        train(optimizer, params, range(1, 8))
    assert calls.count >= 3
    assert not caplog.records


@every_method
def test_without_the_op_the_foreach_path_serves_and_the_log_says_so_once(method, caplog, monkeypatch):
    monkeypatch.setattr(_torch, "HAS_FUSED_ADAM", False)
    params = parameters()
    optimizer = method.optimizer(params, lr=0.01)
    twins = [method.textbook(numbers(p), lr=0.01) for p in params]
    with FusedCalls() as calls, caplog.at_level(logging.DEBUG, logger="rectified"):
        so_far = race(optimizer, params, twins, range(1, 6))
        race(optimizer, params, twins, range(6, 9), lambda i, _: i > 0, so_far=so_far)  # a new plan, no new word
    assert calls.count == 0
    (record,) = caplog.records
    assert "no fused Adam op of the known signature" in record.getMessage()


@pytest.mark.parametrize("name", ["_fused_adam_", "_fused_adamw_"])
@pytest.mark.parametrize("overload", ["default", "tensor_lr"])
@pytest.mark.parametrize("change", ["another", "none"])
def test_another_signature_is_not_the_known_op(name, overload, change, monkeypatch):
    overloads = {each: getattr(getattr(torch.ops.aten, name), each) for each in ("default", "tensor_lr")}
    schema = str(overloads[overload]._schema)
    overloads[overload] = SimpleNamespace(_schema=schema.replace("bool maximize", "bool minimize"))
    if change == "none":
        del overloads[overload]
    monkeypatch.setattr(torch.ops.aten, name, SimpleNamespace(**overloads))
    assert not _torch.has_known_op()


class Tagged(torch.Tensor):
    """A subclass of somebody's."""


def test_each_reason_is_told_once_and_names_the_parameter(caplog):
    def tagged(*shape):
        return torch.nn.Parameter(torch.randn(*shape).as_subclass(Tagged))

    named = [
        ("left", tagged(6, 2)),
        ("right", tagged(3)),
        ("nowhere", torch.nn.Parameter(torch.zeros(4, 5, device="meta"))),
    ]
    optimizer = rectified.Adam(named)
    with caplog.at_level(logging.DEBUG, logger="rectified"):
        for _ in range(4):
            for _, p in named:
                p.grad = torch.ones_like(p)
            optimizer.step()
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 2
    assert "left" in told[0]
    assert "(6, 2)" in told[0]
    assert "subclass" in told[0]
    assert "nowhere" in told[1]
    assert "device" in told[1]


def test_what_is_only_copied_is_not_worth_a_word(caplog):
    params = [torch.nn.Parameter(torch.zeros(6, 6)[:, :2]), *parameters(torch.complex64), *parameters(torch.bfloat16)]
    optimizer = rectified.Adam(params)
    with FusedCalls() as calls, caplog.at_level(logging.DEBUG, logger="rectified"):
        train(optimizer, params, range(1, 5))
    assert calls.count == 12
    assert not caplog.records


@pytest.mark.parametrize("options", [{"foreach": True}, {"fused": False}], ids=str)
def test_who_asks_for_foreach_is_not_told_why(options, caplog):
    params = parameters()
    optimizer = rectified.RAdam(params, **options)
    with FusedCalls() as calls, caplog.at_level(logging.DEBUG, logger="rectified"):
        train(optimizer, params, range(1, 5))
    assert calls.count == 0
    assert not caplog.records


@both_paths
@pytest.mark.parametrize("steps", [10, 10**5, 10**7, 10**12, 10**300])
@pytest.mark.parametrize("decay", [0.01, 10.0])
def test_a_tiny_omega_does_not_scale_the_decoupled_decay(path, steps, decay):
    """The op takes decay / (omega c), which must neither overflow nor lose its digits."""
    params = parameters()
    optimizer = rectified.AdamW(params, lr=0.01, weight_decay=decay, warmup=Linear(steps), **path)
    twins = [
        Textbook(numbers(p), lr=0.01, weight_decay=decay, decoupled=True, omega=partial(linear, steps=steps))
        for p in params
    ]
    race(optimizer, params, twins, range(1, 9))
