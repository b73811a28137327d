"""Every method once: how to make it, and the textbook twin that it must equal. Each property runs over all of them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

import reference
from rectified import Adam, AdamW, RAdam
from rectified.warmup import Constant, Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear


@dataclass(frozen=True)
class OwnWarmup:
    """A user's: nothing but an omega, so that its two steps of omega = 0 hold."""

    def omega(self, t, beta2):
        return 0.0 if t <= 2 else min(1.0, (t - 2) / 6 * beta2)


@dataclass(frozen=True)
class OwnMomentum:
    """A user's, with all that an optimizer asks for: v alone, then momentum, then a jump."""

    start: str = "momentum"
    m_delay: int = 2

    def omega(self, t, beta2):
        return 0.0 if t <= 4 else 0.5


@dataclass(frozen=True)
class Method:
    name: str
    make: Callable[..., Adam]
    twin: dict[str, Any] = field(default_factory=dict)
    saves_its_warmup: bool = True

    def optimizer(self, params, **options):
        return self.make(params, **options)

    def textbook(self, theta, **options):
        """The twin of one parameter; options that do not change the result (which path) are dropped."""
        options = {key: value for key, value in options.items() if key not in ("foreach", "fused")}
        if "decoupled_weight_decay" in options:
            options["decoupled"] = options.pop("decoupled_weight_decay")
        return reference.Textbook(theta, **{**self.twin, **options})


_radam = {"omega": reference.rectified, "start": "momentum", "eps_hat": True}
_exact = {"omega": reference.rectified_exactly, "start": "momentum", "eps_hat": True}
_adamw = {"weight_decay": 0.01, "decoupled": True}


METHODS = [
    Method("adam", Adam),
    Method("adam-amsgrad", partial(Adam, amsgrad=True), {"amsgrad": True}),
    Method("adam-eps", partial(Adam, eps=1e-4, eps_hat=True), {"eps": 1e-4, "eps_hat": True}),
    Method("adam+constant", partial(Adam, warmup=Constant())),
    Method(
        "adam+rectified",
        partial(Adam, warmup=Rectified(start="hold")),
        {"omega": reference.rectified, "start": "hold"},
    ),
    Method("adam+untuned-linear", partial(Adam, warmup=UntunedLinear()), {"omega": reference.untuned_linear}),
    Method(
        "adam+untuned-exponential",
        partial(Adam, warmup=UntunedExponential()),
        {"omega": reference.untuned_exponential},
    ),
    Method("adam+linear", partial(Adam, warmup=Linear(7)), {"omega": partial(reference.linear, steps=7)}),
    Method(
        "adam-2k", partial(Adam, warmup=SecondMomentOnly(3)), {"omega": partial(reference.hold, steps=3), "m_delay": 3}
    ),
    Method(
        "adam-2k-amsgrad",
        partial(Adam, warmup=SecondMomentOnly(3), amsgrad=True),
        {"omega": partial(reference.hold, steps=3), "m_delay": 3, "amsgrad": True},
    ),
    Method("adam+own", partial(Adam, warmup=OwnWarmup()), {"omega": OwnWarmup().omega}, saves_its_warmup=False),
    Method(
        "adam+own-momentum",
        partial(Adam, warmup=OwnMomentum()),
        {"omega": OwnMomentum().omega, "start": "momentum", "m_delay": 2},
        saves_its_warmup=False,
    ),
    Method("adamw", AdamW, _adamw),
    Method("adamw-amsgrad", partial(AdamW, amsgrad=True), {**_adamw, "amsgrad": True}),
    Method(
        "adamw+untuned-linear",
        partial(AdamW, warmup=UntunedLinear()),
        {**_adamw, "omega": reference.untuned_linear},
    ),
    Method(
        "adamw-2k",
        partial(AdamW, warmup=SecondMomentOnly(3)),
        {**_adamw, "omega": partial(reference.hold, steps=3), "m_delay": 3},
    ),
    Method("radam", RAdam, _radam),
    Method(
        "radam-paper",
        partial(RAdam, threshold=4),
        {**_radam, "omega": partial(reference.rectified, threshold=4)},
    ),
    Method("radam-exact", partial(RAdam, variance="exact"), _exact),
    Method("radam-exact-hold", partial(RAdam, variance="exact", start="hold"), {**_exact, "start": "hold"}),
    Method("radam-ema", partial(RAdam, variance="ema"), {**_exact, "omega": reference.rectified_by_ema}),
    Method("radam-hold", partial(RAdam, start="hold"), {**_radam, "start": "hold"}),
    Method("radam-eps-after", partial(RAdam, eps_hat=False), {**_radam, "eps_hat": False}),
    Method(
        "radam-decoupled",
        partial(RAdam, weight_decay=0.1, decoupled_weight_decay=True),
        {**_radam, "weight_decay": 0.1, "decoupled": True},
    ),
    Method(
        "radam-hold-decoupled",
        partial(RAdam, weight_decay=0.1, decoupled_weight_decay=True, start="hold"),
        {**_radam, "weight_decay": 0.1, "decoupled": True, "start": "hold"},
    ),
]

# What decides about layouts, dtypes and paths is not omega: six methods stand for all where a test multiplies.
REPRESENTATIVES = [
    method
    for method in METHODS
    if method.name
    in ("adam-amsgrad", "adam-2k", "adam+own-momentum", "adamw+untuned-linear", "radam", "radam-hold-decoupled")
]

BY_NAME = {method.name: method for method in METHODS}
representatives = pytest.mark.parametrize("method", REPRESENTATIVES, ids=lambda method: method.name)
every_method = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
both_paths = pytest.mark.parametrize("path", [{}, {"foreach": True}], ids=["fused", "foreach"])
