"""The methods of a study by name: one table of optimizers, one of warmups.

    adam   adamw   sgd   adam-2k   adam-eps
    radam   radam-paper   radam-exact   radam-ema   radam-hold   radam-4hold   radam-4adam   radam-4momentum-4adam
    rmsprop   nadam   adadelta   lamb
    gi-adam   random-v0-adam   stable-adamw   sgd-hd   adam-hd   cocob   yellowfin
    any other optimizer by where it is: torch.optim.Adagrad   pytorch_optimizer.AdaBound(gamma=1e-3)

A warmup joins on with a plus, where there is none yet: adam+untuned-linear, adam+untuned-exponential, adam+linear-500,
adam+second-moment-only-500, adam+rectified, torch.optim.NAdam+linear-500. Others' optimizers get it from
:func:`rectified.rectify`.

A method may carry options, which are its optimizer's keywords (and beta1, beta2): ``adam(beta2=0.95,eps=1e-6)``. An lr
among them fixes the method's lr: it then runs once, not over the study's lrs, as one does that knows no lr (cocob).
"""

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch

from ...optim import (
    COCOB,
    LAMB,
    SGDHD,
    Adadelta,
    Adam,
    AdamHD,
    AdamW,
    GIAdam,
    NAdam,
    RAdam,
    RandomV0Adam,
    RMSprop,
    StableAdamW,
    YellowFin,
    rectify,
)
from ...optim.explain import omegas_of
from ...warmup import Linear, Rectified, SecondMomentOnly, UntunedExponential, UntunedLinear, Warmup, first_at
from ...workloads.specs import read_options, split
from .ablation import Unrectified

_OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "adam": (Adam, {}),
    "adamw": (AdamW, {}),
    "sgd": (torch.optim.SGD, {"momentum": 0.9}),
    "radam": (RAdam, {}),
    "radam-paper": (RAdam, {"threshold": 4}),
    "radam-exact": (RAdam, {"variance": "exact"}),
    "radam-ema": (RAdam, {"variance": "ema"}),
    "radam-hold": (RAdam, {"start": "hold"}),
    "radam-4hold": (RAdam, {"threshold": 4, "start": "hold"}),
    "radam-4adam": (Adam, {"warmup": Unrectified(1, 4), "eps_hat": True}),
    "radam-4momentum-4adam": (Adam, {"warmup": Unrectified(5, 8), "eps_hat": True}),
    "adam-2k": (Adam, {"warmup": SecondMomentOnly(2000)}),
    "adam-eps": (Adam, {"eps": 1e-4, "eps_hat": True}),
    "rmsprop": (RMSprop, {}),
    "nadam": (NAdam, {}),
    "adadelta": (Adadelta, {}),
    "lamb": (LAMB, {}),
    "gi-adam": (GIAdam, {}),
    "random-v0-adam": (RandomV0Adam, {}),
    "stable-adamw": (StableAdamW, {}),
    "sgd-hd": (SGDHD, {}),
    "adam-hd": (AdamHD, {}),
    "cocob": (COCOB, {}),
    "yellowfin": (YellowFin, {"lr": 1.0}),  # a factor in front of the lr that it tunes
}
_WARMUPS: dict[str, Callable[[int], Warmup]] = {
    "untuned-linear": lambda _: UntunedLinear(),
    "untuned-exponential": lambda _: UntunedExponential(),
    "linear-N": Linear,
    "second-moment-only-N": SecondMomentOnly,
    "rectified": lambda _: Rectified(),
}
_SHAPE = re.compile(
    r"(?P<optimizer>[A-Za-z0-9_.-]+)(\+(?P<warmup>[a-z-]+?)(-(?P<steps>\d+))?)?(\((?P<options>.*)\))?", re.DOTALL
)


@dataclass(frozen=True)
class Method:
    """An optimizer with its options, as a study names it.

    Attributes:
        lr: its own; None where it takes the study's.
        around: a warmup that :func:`rectified.rectify` puts around another's optimizer.

    >>> method = parse("adam+linear-500(beta2=0.95)")
    >>> method.name, method.omega(100), method.lr
    ('adam+linear-500(beta2=0.95)', 0.2, None)
    """

    name: str
    optimizer: type[torch.optim.Optimizer]
    options: dict[str, Any] = field(hash=False)
    lr: float | None = None
    around: Warmup | None = None

    def build(
        self, params: Iterable[torch.nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        """The optimizer over params.

        Args:
            weight_decay: for a method that takes it and has none of its own among its options; decoupled where it has
                that for an option. Where it has not, as SGD and most of torch.optim, it is what that optimizer makes
                of it.
        """
        options, takes = dict(self.options), _keywords(self.optimizer)
        if weight_decay and "weight_decay" not in options and "weight_decay" in takes:
            options["weight_decay"] = weight_decay
            if "decoupled_weight_decay" in takes:
                options.setdefault("decoupled_weight_decay", True)
        if "lr" in takes:
            options["lr"] = lr
        optimizer = self.optimizer(params, **options)
        return optimizer if self.around is None else rectify(optimizer, self.around, on_zero="hold")

    def _built(self, lr: float = 0.1) -> torch.optim.Optimizer:
        return self.build([torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))], lr)

    def same_as(self, other: "Method") -> bool:
        """Whether it does the same at the same lr, under whatever name.

        >>> parse("adam").same_as(parse("adam(eps=1e-8)")), parse("adam").same_as(parse("adam-eps"))
        (True, False)
        """
        if (self.optimizer, self.around) != (other.optimizer, other.around):
            return False
        ours, theirs = ({**method._built().param_groups[0], "params": None} for method in (self, other))
        return ours == theirs

    def omega(self, t: int) -> float:
        """The factor in front of step t's update; 1 for an optimizer without a warmup."""
        return self.omegas([t])[0]

    def omegas(self, steps: Iterable[int]) -> list[float]:
        """:meth:`omega` at each of the steps."""
        return list(map(omegas_of(self._built(), 0), steps))

    def warm_at(self) -> int | None:
        """First step with omega >= 0.9; None if there is none."""
        return first_at(omegas_of(self._built(), 0), level=0.9)

    def try_out(self) -> None:
        """Take a step with two small parameters.

        Raises:
            ValueError: that fails, as with an optimizer that wants more than gradients.
        """
        optimizer = self._built()
        for p in optimizer.param_groups[0]["params"]:
            p.grad = torch.ones_like(p)
        with torch.random.fork_rng(devices=[]):
            try:
                if callable(switch := getattr(optimizer, "train", None)):
                    switch()
                optimizer.step()
            except Exception as error:
                raise ValueError(f"method {self.name!r} fails at its first step: {error!r}") from error


def parse(text: str) -> Method:
    """The method of that name.

    Raises:
        ValueError: an unknown name, or an option that its optimizer does not take; says what there is.
    """
    shape = _SHAPE.fullmatch(text.strip())
    unknown = ValueError(
        f"unknown method {text!r}; there are {', '.join(_OPTIMIZERS)}; with {', '.join('+' + key for key in _WARMUPS)} "
        f"{', '.join(filter(_is_bare, _OPTIMIZERS))}; and others' by where they are, such as torch.optim.Adagrad"
        + "; options stand last, as in adam+linear-500(beta2=0.95)"
        * (")+" in text)
    )
    if shape is None:
        raise unknown
    name, is_ours = shape["optimizer"], "." not in shape["optimizer"]
    if is_ours and name not in _OPTIMIZERS:
        raise unknown
    optimizer, fixed = _OPTIMIZERS[name] if is_ours else (_found(text, name), {})
    options, around = dict(fixed), None
    if shape["warmup"] is not None:
        key = shape["warmup"] + ("-N" if shape["steps"] else "")
        if key not in _WARMUPS or (is_ours and not _is_bare(name)):
            raise unknown
        try:
            warmup = _WARMUPS[key](int(shape["steps"] or 0))
        except ValueError as error:
            raise ValueError(f"method {text!r}: {error}") from None
        if is_ours:
            options["warmup"] = warmup
        else:
            around = warmup
    options |= read_options(f"method {text!r}", shape["options"] or "")
    takes = _keywords(optimizer)
    if "lr" in options and "lr" not in takes:
        raise ValueError(f"method {text!r}: {optimizer.__name__} takes no lr")
    lr = options.pop("lr", None if "lr" in takes else 1.0)
    if lr is not None and not isinstance(lr, int | float):
        raise ValueError(f"method {text!r}: lr is {lr!r}; it must be a number")
    if ("beta1" in options or "beta2" in options) and "betas" in takes:
        first, second = takes["betas"] if isinstance(takes["betas"], tuple) else (0.9, 0.999)
        options["betas"] = (options.pop("beta1", first), options.pop("beta2", second))
    method = Method(text.strip(), optimizer, options, None if lr is None else float(lr), around)
    try:
        built = method._built(0.1 if lr is None else lr)
    except Exception as error:  # whatever another's constructor raises
        raise ValueError(f"method {text!r}: {error}") from None
    if ignored := [key for key in options if not (key in takes or key in built.defaults or hasattr(built, key))]:
        names = [key for key in takes if key not in ("params", "kwargs")]
        raise ValueError(
            f"method {text!r}: {optimizer.__name__} makes nothing of {ignored[0]!r}; it takes {', '.join(names)}"
        )
    return method


def _is_bare(name: str) -> bool:
    """Whether that method of ours can be given a warmup, and has none yet."""
    optimizer, fixed = _OPTIMIZERS[name]
    return "warmup" in _keywords(optimizer) and "warmup" not in fixed and name != "adam-eps"


def _found(text: str, path: str) -> type[torch.optim.Optimizer]:
    """The class at that dotted path.

    Raises:
        ValueError: it cannot be imported, or is no torch.optim.Optimizer.
    """
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except ImportError as error:
        raise ValueError(f"method {text!r}: {error}; install what it is from, or correct the name") from None
    except AttributeError:
        raise ValueError(f"method {text!r}: {module} has no {name}") from None
    if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
        raise ValueError(f"method {text!r}: {path} is {found!r}, and no torch.optim.Optimizer")
    return found


def _keywords(optimizer: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """The arguments that its constructor takes, with their defaults."""
    return {name: x.default for name, x in inspect.signature(optimizer).parameters.items()}


def parse_list(text: str) -> tuple[Method, ...]:
    """The methods of a comma-separated list; a comma inside parentheses belongs to its method.

    Others' optimizers take a step here, to fail before anything runs.

    >>> [method.name for method in parse_list("adam(beta1=0.8,beta2=0.9), radam")]
    ['adam(beta1=0.8,beta2=0.9)', 'radam']
    """
    methods = tuple(parse(part) for part in split(text))
    for method in methods:
        if not method.optimizer.__module__.startswith("rectified."):
            method.try_out()
    return methods


def known() -> list[str]:
    """Every name, N standing for a number."""
    warmed = [f"{name}+{warmup}" for name in _OPTIMIZERS if _is_bare(name) for warmup in _WARMUPS]
    return [*_OPTIMIZERS, *warmed]
