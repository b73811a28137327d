"""The names of methods and how they are parsed: a table of optimizers and a table of warmups.

    adam   adamw   sgd   adam-eps
    radam   radam-paper   radam-exact   radam-ema   radam-hold   radam-4hold   radam-4adam   radam-4momentum-4adam
    rmsprop   nadam   adadelta   lamb
    gi-adam   random-v0-adam   stable-adamw   sgd-hd   adam-hd   cocob   yellowfin
    any other optimizer by its import path: torch.optim.Adagrad   pytorch_optimizer.AdaBound(gamma=1e-3)

A plus adds a warmup to an optimizer that has none:

    adam+untuned-linear   adam+untuned-exponential   adam+rectified
    adam+linear-500   adam+linear-10%   adam+second-moment-only-500       for N steps, or a fraction of the run
    adam+guarded-linear-10%                                               the same, but it falls back if steps overshoot
    adam+my_warmups.Cosine(100)                                           your own, by its import path

:func:`rectified.rectify` adds it to other libraries' optimizers, as in torch.optim.NAdam+linear-500.

The matched-lr control of a method, which has no warmup but the lr times the warmup's mean omega over the run:

    matched-lr(radam)   matched-lr(adam+linear-10%)

Options go last, in parentheses, and are the optimizer's keywords (and beta1, beta2): ``adam(beta2=0.95,eps=1e-6)``. An
lr among them fixes the method's lr: the method then runs once instead of at each of the study's lrs. So does an
optimizer that takes no lr (cocob).
"""

import difflib
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from ...messages import shown
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
)
from ...optim.states.low_precision import EIGHT_BIT
from ...warmup import (
    GuardedLinear,
    Linear,
    Rectified,
    SecondMomentOnly,
    UntunedExponential,
    UntunedLinear,
    Warmup,
)
from ...warmup.interface import as_warmup
from ...workloads.numbers import learning_rate
from ...workloads.specs import check_length, read_arguments, read_options
from ...workloads.user_code import imported, users_code
from .ablation import Unrectified
from .controls import controlled
from .method import Method, PartOfRun, keywords

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
_WARMUPS: dict[str, Callable[[], Warmup]] = {
    "untuned-linear": UntunedLinear,
    "untuned-exponential": UntunedExponential,
    "rectified": Rectified,
}
_LONG_WARMUPS: dict[str, Callable[[int], Warmup]] = {
    "linear": Linear,
    "guarded-linear": GuardedLinear,
    "second-moment-only": SecondMomentOnly,
}
_RENAMED = {"adam-2k": "adam+second-moment-only-2000"}

_OPTIMIZER = re.compile(r"[A-Za-z0-9_.-]+")
_LENGTH = re.compile(r"(?P<name>[a-z-]+?)-(?P<number>[0-9]{1,18}(?:\.[0-9]{1,18})?)(?P<percent>%?)")
_PATH = re.compile(r"(?P<path>[A-Za-z_][\w.]*\.\w+)(?:\((?P<arguments>[^()]*)\))?")


def parse(text: str, imports: bool = True) -> Method:
    """Parse a method's name, and check the method by building its optimizer and taking a step.

    Args:
        imports: whether the text may name a user's own code, which is then imported and called; torch.optim's
            optimizers are always available.

    Raises:
        ValueError: the name is unknown, or its optimizer does not take an option; the message lists the alternatives.
            It has one line even if a user's code raised it, and that error is then its cause.
    """
    name = text.strip()
    what = f"method {shown(name)}"
    check_length(what, name)
    if (inner := controlled(name)) is not None:
        return parse(inner, imports).control()
    head, plus, tail = _apart(name, "+")
    optimizer_name, options_text = _parenthesized(head)
    if plus and options_text is not None:
        raise ValueError(f"{what}: options go last, as in adam+linear-500(beta2=0.95)")
    warmup: Warmup | PartOfRun | None = None
    if plus:
        warmup, options_text = _warmup(what, optimizer_name, tail, imports)
    optimizer, fixed = _optimizer(what, optimizer_name, imports)
    if warmup is not None and not _is_bare(optimizer_name):
        raise ValueError(f"{what}: {optimizer_name} has its own first steps and takes no warmup")
    with users_code(what):
        takes = keywords(optimizer)
    options = fixed | read_options(what, options_text or "")
    own_warmup = options.pop("warmup", None)
    if own_warmup is not None and not isinstance(own_warmup, Warmup):
        raise ValueError(f"{what}: a warmup is not an option; write it as in adam+linear-500")
    if "lr" in options and "lr" not in takes:
        raise ValueError(f"{what}: {optimizer.__name__} takes no lr")
    for option in options:
        if isinstance(takes.get(option), torch.dtype) and options[option] != EIGHT_BIT:
            raise ValueError(
                f"{what}: {option} is {shown(options[option])}; a study's models are float32, so it must be "
                f"{EIGHT_BIT}, or leave it out"
            )
    lr = _own_lr(what, options) if "lr" in takes else 1.0
    if ("beta1" in options or "beta2" in options) and "betas" in takes:
        if "betas" in options:
            raise ValueError(f"{what}: give betas, or beta1 and beta2")
        first, second = takes["betas"] if isinstance(takes["betas"], tuple) else (0.9, 0.999)
        options["betas"] = (options.pop("beta1", first), options.pop("beta2", second))
    method = Method(name, optimizer, options, lr, warmup or own_warmup)
    method.check()
    return method


def read_method(name: str) -> Method | None:
    """Parse a method's name from a study's folder; None if that would need to import a user's code."""
    try:
        return replace(parse(_RENAMED.get(name, name), imports=False), name=name)  # as its folder calls it
    except ValueError:  # from another version, or a user's own
        return None


def _own_lr(what: str, options: dict[str, Any]) -> float | None:
    if "lr" not in options:
        return None
    lr = options.pop("lr")
    try:
        return learning_rate(lr)
    except ValueError as error:
        raise ValueError(f"{what}: lr is {shown(lr)}: {error}") from None


def _apart(text: str, sign: str) -> tuple[str, str, str]:
    """Split a text like str.partition, at the first sign outside parentheses."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == sign and not depth:
            return text[:i], sign, text[i + 1 :]
    return text, "", ""


def _parenthesized(text: str) -> tuple[str, str | None]:
    """Split a text into a name and the content of the parentheses after it, which is None without parentheses."""
    name, opened, rest = text.partition("(")
    if not opened:
        return name, None
    return name, rest[:-1] if rest.endswith(")") else rest + ")"  # then it is not a valid list of options


def _warmup(what: str, optimizer: str, text: str, imports: bool) -> tuple[Warmup | PartOfRun, str | None]:
    """Parse the warmup after the plus, and the options after it."""
    if user := _PATH.match(text):
        rest = text[user.end() :]
        if not rest or (rest.startswith("(") and rest.endswith(")")):
            made = _own_warmup(what, user["path"], user["arguments"] or "", imports)
            return made, rest[1:-1] if rest else None
    name, options = _parenthesized(text)
    if name in _WARMUPS:
        return _WARMUPS[name](), options
    length = _LENGTH.fullmatch(name)
    if length and length["name"] in _LONG_WARMUPS:
        kind = _LONG_WARMUPS[length["name"]]
        try:
            if length["percent"]:
                if not 0 < float(length["number"]) <= 100:
                    raise ValueError(
                        f"the warmup's fraction of the run is {length['number']}%; it must be above 0% and at most 100%"
                    )
                return PartOfRun(kind, float(length["number"]) / 100), options
            if "." in length["number"]:
                raise ValueError(
                    f"{length['name']} needs a whole number of steps, or a fraction of the run such as 10%"
                )
            return kind(int(length["number"])), options
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    if name in _LONG_WARMUPS:
        example = f"{optimizer}+{name}"
        raise ValueError(
            f"{what}: {name} needs a length: steps, as in {example}-500, or a fraction of the run, as in {example}-10%"
        )
    near = difflib.get_close_matches(re.sub(r"-[0-9.]+%?$", "", name), [*_WARMUPS, *_LONG_WARMUPS], 1)
    hint = f"did you mean {near[0]}" if near else f"use one of {', '.join([*_WARMUPS, *_LONG_WARMUPS])}"
    raise ValueError(f"{what}: unknown warmup {shown(name)}; {hint}, or your own, such as my_module.MyWarmup(1)")


def _own_warmup(what: str, path: str, arguments: str, imports: bool) -> Warmup:
    values, keywords = read_arguments(what, arguments)
    found = _imported(what, path, imports)
    with users_code(f"{what}: {path} does not make a warmup"):
        made = found(*values, **keywords) if callable(found) and not isinstance(found, Warmup) else found
        warmup = as_warmup(made)
        if warmup is None:
            raise TypeError("it is None")
    return warmup


def _imported(what: str, path: str, imports: bool) -> Any:
    if imports:
        return imported(what, path)
    module, _, name = path.rpartition(".")
    if module != "torch.optim" or not hasattr(torch.optim, name):
        raise ValueError(f"{what}: {path} may not be imported here")
    return getattr(torch.optim, name)  # torch's own, which are there


def _optimizer(what: str, name: str, imports: bool) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The optimizer with that name or import path, and the options that its name implies."""
    if "." in name and _OPTIMIZER.fullmatch(name):
        found = _imported(what, name, imports)
        with users_code(f"{what}: {name}"):
            fits = isinstance(found, type) and issubclass(found, torch.optim.Optimizer)
        if not fits:
            raise ValueError(f"{what}: {name} is {shown(found)}, not a torch.optim.Optimizer")
        return found, {}
    if name in _OPTIMIZERS:
        optimizer, fixed = _OPTIMIZERS[name]
        return optimizer, dict(fixed)
    if name in _RENAMED:
        raise ValueError(f"{what}: it is now called {_RENAMED[name]}")
    near = difflib.get_close_matches(name, _OPTIMIZERS, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(list(_OPTIMIZERS)[:8])}, ...;"
    raise ValueError(
        f"unknown {what}: {hint} name an optimizer of another library by its import path, such as torch.optim.Adagrad; "
        "`rectified study --help` lists all methods"
    )


def _is_bare(name: str) -> bool:
    """Whether a method accepts a warmup and has none."""
    if name not in _OPTIMIZERS:
        return "." in name
    optimizer, fixed = _OPTIMIZERS[name]
    return "warmup" in keywords(optimizer) and "warmup" not in fixed and name != "adam-eps"


def known() -> list[str]:
    """Every method name; N stands for a number of steps, N% for a fraction of the run."""
    warmups = [*_WARMUPS, *_long_names()]
    return [
        *_OPTIMIZERS,
        *(f"{name}+{warmup}" for name in _OPTIMIZERS if _is_bare(name) for warmup in warmups if _fits(name, warmup)),
    ]


def _fits(name: str, warmup: str) -> bool:
    """Whether an optimizer takes a warmup: one that observes Adam's steps is not for all."""
    kind = _LONG_WARMUPS.get(warmup.split("-N")[0])
    return not getattr(kind, "observes", ()) or getattr(_OPTIMIZERS[name][0], "OBSERVABLE", False)


def _long_names() -> list[str]:
    return [f"{name}-N{percent}" for name in _LONG_WARMUPS for percent in ("", "%")]
