"""The methods of a study by name: one table of optimizers, one of warmups.

    adam   adamw   sgd   adam-2k   adam-eps   adam+untuned-linear   adam+untuned-exponential   adam+linear-N
    adam+hold-N (adamw+... likewise)   radam   radam-paper   radam-exact   radam-ema   radam-hold
    radam-4hold   radam-4adam   radam-4momentum-4adam (ablation.py)

A method may carry options, which are its optimizer's keywords (and beta1, beta2): ``adam(beta2=0.95,eps=1e-6)``. An lr
among them fixes the method's lr: it then runs once, not over the study's lrs.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from ..optim import Adam, AdamW, RAdam
from ..warmup import Constant, Hold, Linear, UntunedExponential, UntunedLinear, Warmup, steps_until
from .ablation import Unrectified
from .options import read_options, split

_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "radam": (RAdam, {}),
    "radam-paper": (RAdam, {"threshold": 4}),
    "radam-exact": (RAdam, {"order": "exact"}),
    "radam-ema": (RAdam, {"order": "ema"}),
    "radam-hold": (RAdam, {"start": "hold"}),
    "radam-4hold": (RAdam, {"threshold": 4, "start": "hold"}),
    "radam-4adam": (Adam, {"warmup": Unrectified(1, 4), "eps_hat": True}),
    "radam-4momentum-4adam": (Adam, {"warmup": Unrectified(5, 8), "eps_hat": True}),
    "adam-2k": (Adam, {"warmup": Hold(2000)}),
    "adam-eps": (Adam, {"eps": 1e-4, "eps_hat": True}),
}
_WARMUPS: dict[str, Callable[[int], Warmup]] = {
    "untuned-linear": lambda _: UntunedLinear(),
    "untuned-exponential": lambda _: UntunedExponential(),
    "linear-N": Linear,
    "hold-N": Hold,
}
_SHAPE = re.compile(r"(?P<optimizer>[a-z0-9-]+)(\+(?P<warmup>[a-z-]+?)(-(?P<steps>\d+))?)?(\((?P<options>.*)\))?")


@dataclass(frozen=True)
class Method:
    """An optimizer with its options, as a study names it.

    >>> method = parse("adam+linear-500(beta2=0.95)")
    >>> method.name, method.omega(100), method.lr
    ('adam+linear-500(beta2=0.95)', 0.2, None)
    """

    name: str
    optimizer: type[torch.optim.Optimizer]
    options: dict[str, Any] = field(hash=False)
    lr: float | None = None

    def build(
        self, params: Iterable[torch.nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        """The optimizer over params.

        Args:
            weight_decay: for a method that has none of its own among its options. Decoupled; SGD's is in its gradient.
        """
        options = dict(self.options)
        if weight_decay and "weight_decay" not in options:
            options["weight_decay"] = weight_decay
            if self.optimizer in (Adam, RAdam):  # AdamW's is always decoupled
                options.setdefault("decoupled_weight_decay", True)
        return self.optimizer(params, lr=lr, **options)  # type: ignore[call-arg]

    def _group(self) -> dict[str, Any]:
        return self.build([torch.nn.Parameter(torch.zeros(1))], lr=0.1).param_groups[0]

    def same_as(self, other: "Method") -> bool:
        """Whether it does the same at the same lr, under whatever name.

        >>> parse("adam").same_as(parse("adam(eps=1e-8)")), parse("adam").same_as(parse("adam-eps"))
        (True, False)
        """
        ours, theirs = ({**method._group(), "params": None} for method in (self, other))
        return self.optimizer is other.optimizer and ours == theirs

    def omega(self, t: int) -> float:
        """The factor in front of step t's update; 1 for an optimizer without a warmup."""
        return self.omegas([t])[0]

    def omegas(self, steps: Iterable[int]) -> list[float]:
        """:meth:`omega` at each of the steps."""
        group = self._group()
        warmup, beta2 = group.get("warmup") or Constant(), group.get("betas", (0, 0))[1]
        return [float(warmup.omega(t, beta2)) for t in steps]

    def warm_at(self) -> int | None:
        """First step with omega >= 0.9; None if there is none."""
        group = self._group()
        return steps_until(group.get("warmup") or Constant(), group.get("betas", (0, 0))[1], level=0.9)


def parse(text: str) -> Method:
    """The method of that name.

    Raises:
        ValueError: an unknown name, or an option that its optimizer does not take; says what there is.
    """
    shape = _SHAPE.fullmatch(text.strip())
    if shape is None or shape["optimizer"] not in _OPTIMIZERS:
        raise ValueError(f"unknown method {text!r}; there are {', '.join(known())}")
    optimizer, fixed = _OPTIMIZERS[shape["optimizer"]]
    options = dict(fixed)
    if shape["warmup"] is not None:
        key = shape["warmup"] + ("-N" if shape["steps"] else "")
        if shape["optimizer"] not in ("adam", "adamw") or key not in _WARMUPS:
            raise ValueError(f"unknown method {text!r}; there are {', '.join(known())}")
        try:
            options["warmup"] = _WARMUPS[key](int(shape["steps"] or 0))
        except ValueError as error:
            raise ValueError(f"method {text!r}: {error}") from None
    options |= read_options(f"method {text!r}", shape["options"] or "")
    lr = options.pop("lr", None)
    if lr is not None and not isinstance(lr, int | float):
        raise ValueError(f"method {text!r}: lr is {lr!r}; it must be a number")
    if "beta1" in options or "beta2" in options:
        options["betas"] = (options.pop("beta1", 0.9), options.pop("beta2", 0.999))
    method = Method(text.strip(), optimizer, options, None if lr is None else float(lr))
    try:
        method.build([torch.nn.Parameter(torch.zeros(1))], lr=0.1 if lr is None else lr)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"method {text!r}: {error}") from None
    return method


def parse_list(text: str) -> tuple[Method, ...]:
    """The methods of a comma-separated list; a comma inside parentheses belongs to its method.

    >>> [method.name for method in parse_list("adam(beta1=0.8,beta2=0.9), radam")]
    ['adam(beta1=0.8,beta2=0.9)', 'radam']
    """
    return tuple(parse(part) for part in split(text))


def known() -> list[str]:
    """Every name, N standing for a number."""
    return [*_OPTIMIZERS, *(f"adam+{warmup}" for warmup in _WARMUPS), *(f"adamw+{warmup}" for warmup in _WARMUPS)]
