"""The methods of a study by name: one table of optimizers, one of warmups.

    adam   adamw   sgd   adam-eps
    radam   radam-paper   radam-exact   radam-ema   radam-hold   radam-4hold   radam-4adam   radam-4momentum-4adam
    rmsprop   nadam   adadelta   lamb
    gi-adam   random-v0-adam   stable-adamw   sgd-hd   adam-hd   cocob   yellowfin
    any other optimizer by where it is: torch.optim.Adagrad   pytorch_optimizer.AdaBound(gamma=1e-3)

A warmup joins on with a plus, where there is none yet:

    adam+untuned-linear   adam+untuned-exponential   adam+rectified
    adam+linear-500   adam+linear-10%   adam+second-moment-only-500       for so many steps, or a part of the run
    adam+my_warmups.Cosine(100)                                           your own, by where it is

Other libraries' optimizers get it from :func:`rectified.rectify`, as in torch.optim.NAdam+linear-500.

Without its warmup, at lr times the warmup's mean omega over the run (what of a warmup is a smaller lr):

    matched-lr(radam)   matched-lr(adam+linear-10%)

Options in parentheses stand last and are the optimizer's keywords (and beta1, beta2): ``adam(beta2=0.95,eps=1e-6)``. An
lr among them fixes the method's lr: it then runs once, not over the study's lrs. So does an optimizer that takes no lr
(cocob).
"""

import difflib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
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
from ...warmup import (
    Linear,
    Rectified,
    SecondMomentOnly,
    UntunedExponential,
    UntunedLinear,
    Warmup,
    as_warmup,
    first_at,
)
from ...workloads.specs import read_arguments, read_options
from ...workloads.user_code import imported
from .ablation import Unrectified
from .controls import MeanOmega, SmallerLr, control_name, controlled

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
_LONG_WARMUPS: dict[str, Callable[[int], Warmup]] = {"linear": Linear, "second-moment-only": SecondMomentOnly}
_RENAMED = {"adam-2k": "adam+second-moment-only-2000"}

_OPTIMIZER = re.compile(r"[A-Za-z0-9_.-]+")
_LENGTH = re.compile(r"(?P<name>[a-z-]+?)-(?P<number>\d+(?:\.\d+)?)(?P<percent>%?)")
_PATH = re.compile(r"(?P<path>[A-Za-z_][\w.]*\.\w+)(?:\((?P<arguments>[^()]*)\))?")


@dataclass(frozen=True)
class PartOfRun:
    """A warmup whose length is a part of the run that it is in.

    >>> PartOfRun(Linear, 0.1).over(3000)
    Linear(steps=300)
    """

    kind: Callable[[int], Warmup]
    part: float

    def over(self, steps: int) -> Warmup:
        """The warmup of a run of that many steps; it lasts for one step at least."""
        return self.kind(max(1, round(self.part * steps)))


@dataclass(frozen=True)
class Method:
    """An optimizer with its options and its warmup, as a study names it.

    Attributes:
        options: keywords of the optimizer, without its lr and the warmup.
        lr: its own; None where it takes the study's.
        warmup: in front of its updates; None for what the optimizer does by itself. One that depends on the length of
            the run, such as :class:`PartOfRun`, becomes a warmup by :meth:`over`.

    >>> method = parse("adam+linear-500(beta2=0.95)")
    >>> method.name, method.omega(100), method.lr
    ('adam+linear-500(beta2=0.95)', 0.2, None)
    """

    name: str
    optimizer: type[torch.optim.Optimizer]
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    lr: float | None = None
    warmup: Warmup | PartOfRun | MeanOmega | None = None

    def over(self, steps: int) -> "Method":
        """The method as a run of that many steps has it.

        >>> parse("adam+linear-10%").over(2000).omega(100)
        0.5
        """
        return self if self.warmup is None or isinstance(self.warmup, Warmup) else self._over(self.warmup, steps)

    def _over(self, warmup: PartOfRun | MeanOmega, steps: int) -> "Method":
        return replace(self, warmup=warmup.over(steps))

    @property
    def warms_up(self) -> bool:
        """Whether it has a warmup, that a control could do without."""
        if self.warmup is None:
            return issubclass(self.optimizer, RAdam)
        return not isinstance(self.warmup, SmallerLr | MeanOmega)

    def control(self) -> "Method":
        """The same without the warmup, at lr times its mean omega over the run.

        >>> round(parse("adam+linear-10%").control().over(2000).omega(1), 2)
        0.95

        Raises:
            ValueError: it has no warmup.
        """
        if not self.warms_up:
            raise ValueError(f"method {self.name!r} has no warmup, so there is nothing to match")
        warmup = MeanOmega(replace(self, name=""))
        if not issubclass(self.optimizer, RAdam):
            return replace(self, name=control_name(self.name), warmup=warmup)
        options = {"eps_hat": True, **self.options}  # as RAdam's default
        kept = {name: value for name, value in options.items() if name in _keywords(Adam)}
        return Method(control_name(self.name), Adam, kept, self.lr, warmup)

    def build(
        self, params: Iterable[torch.nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        """The optimizer over params.

        Args:
            weight_decay: for a method that takes it and has none of its own among its options: decoupled where that
                is an option, otherwise whatever the optimizer makes of it, as SGD and most of torch.optim.

        Raises:
            ValueError: the warmup depends on the length of the run; call :meth:`over` first.
        """
        if self.warmup is not None and not isinstance(self.warmup, Warmup):
            raise ValueError(f"method {self.name!r}: its warmup depends on the run, whose steps are not known yet")
        options, takes = dict(self.options), _keywords(self.optimizer)
        if weight_decay and "weight_decay" not in options and "weight_decay" in takes:
            options["weight_decay"] = weight_decay
            if "decoupled_weight_decay" in takes:
                options.setdefault("decoupled_weight_decay", True)
        if "lr" in takes:
            options["lr"] = lr
        if self.warmup is None:
            return self.optimizer(params, **options)
        if "warmup" in takes:
            return self.optimizer(params, **options, warmup=self.warmup)  # type: ignore[call-arg]
        return rectify(self.optimizer(params, **options), self.warmup, on_zero="hold")

    def _built(self, lr: float = 0.1) -> torch.optim.Optimizer:
        return self.build([torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))], lr)

    def same_as(self, other: "Method") -> bool:
        """Whether it does the same at the same lr, under whatever name.

        >>> parse("adam").same_as(parse("adam(eps=1e-8)")), parse("adam").same_as(parse("adam-eps"))
        (True, False)
        """
        if self.optimizer != other.optimizer:
            return False
        if "warmup" not in _keywords(self.optimizer) and self.warmup != other.warmup:
            return False
        ours, theirs = ({**method._built().param_groups[0], "params": None} for method in (self, other))
        return ours == theirs

    def omega(self, t: int) -> float:
        """The factor in front of step t's update; 1 for an optimizer without a warmup."""
        return self.omegas([t])[0]

    def omegas(self, steps: Iterable[int]) -> list[float]:
        """:meth:`omega` at each of the steps."""
        return list(map(self.omega_function(), steps))

    def omega_function(self) -> Callable[[int], float]:
        """:meth:`omega`, quicker where it is asked for many steps."""
        return omegas_of(self._built(), 0)

    def warm_at(self) -> int | None:
        """The first step with omega >= 0.9; None if there is none."""
        return first_at(self.omega_function(), level=0.9)

    def try_out(self) -> None:
        """Take a step with two small parameters.

        Raises:
            ValueError: the step fails, as with an optimizer that wants more than gradients.
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
    name = text.strip()
    if (inner := controlled(name)) is not None:
        return parse(inner).control()
    what = f"method {name!r}"
    head, plus, tail = _apart(name, "+")
    optimizer_name, options_text = _parenthesized(head)
    if plus and options_text is not None:
        raise ValueError(f"{what}: options stand last, as in adam+linear-500(beta2=0.95)")
    warmup: Warmup | PartOfRun | None = None
    if plus:
        warmup, options_text = _warmup(what, optimizer_name, tail)
    optimizer, fixed = _optimizer(what, optimizer_name)
    if warmup is not None and not _is_bare(optimizer_name):
        raise ValueError(f"{what}: {optimizer_name} has its own first steps, and takes no warmup in front of them")
    takes = _keywords(optimizer)
    options = fixed | read_options(what, options_text or "")
    own_warmup = options.pop("warmup", None)
    if own_warmup is not None and not isinstance(own_warmup, Warmup):
        raise ValueError(f"{what}: write a warmup as in adam+linear-500, not among the options")
    if "lr" in options and "lr" not in takes:
        raise ValueError(f"{what}: {optimizer.__name__} takes no lr")
    lr = options.pop("lr", None if "lr" in takes else 1.0)
    if lr is not None and (isinstance(lr, bool) or not isinstance(lr, int | float)):
        raise ValueError(f"{what}: lr is {lr!r}; it must be a number")
    if ("beta1" in options or "beta2" in options) and "betas" in takes:
        first, second = takes["betas"] if isinstance(takes["betas"], tuple) else (0.9, 0.999)
        options["betas"] = (options.pop("beta1", first), options.pop("beta2", second))
    method = Method(name, optimizer, options, None if lr is None else float(lr), warmup or own_warmup)
    _check(what, method, takes)
    return method


def read_method(name: str) -> Method | None:
    """The method of a name in a study's folder; None where that is not known without importing somebody's code."""
    text = _RENAMED.get(name, name)
    head, _, tail = _apart(controlled(text) or text, "+")
    optimizer, _ = _parenthesized(head)
    if ("." in optimizer and not optimizer.startswith("torch.optim.")) or _PATH.match(tail):
        return None
    try:
        return replace(parse(text), name=name)  # as its folder calls it
    except ValueError:  # of another version
        return None


def _check(what: str, method: Method, takes: dict[str, Any]) -> None:
    try:
        built = method.over(1000)._built(0.1 if method.lr is None else method.lr)
    except Exception as error:  # whatever another library's constructor raises
        raise ValueError(f"{what}: {error}") from None
    ignored = [key for key in method.options if not (key in takes or key in built.defaults or hasattr(built, key))]
    if ignored:
        names = [key for key in takes if key not in ("params", "kwargs", "warmup")]
        raise ValueError(
            f"{what}: {method.optimizer.__name__} makes nothing of {ignored[0]!r}; it takes {', '.join(names)}"
        )
    if not method.optimizer.__module__.startswith("rectified."):
        method.over(1000).try_out()  # to fail before anything runs


def _apart(text: str, sign: str) -> tuple[str, str, str]:
    """Like str.partition, at the first sign outside parentheses."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == sign and not depth:
            return text[:i], sign, text[i + 1 :]
    return text, "", ""


def _parenthesized(text: str) -> tuple[str, str | None]:
    """A name and what stands in the parentheses after it; None where there are none."""
    name, opened, rest = text.partition("(")
    if not opened:
        return name, None
    return name, rest[:-1] if rest.endswith(")") else rest + ")"  # which then is no list of options


def _warmup(what: str, optimizer: str, text: str) -> tuple[Warmup | PartOfRun, str | None]:
    """The warmup after the plus, and the options behind it."""
    if user := _PATH.match(text):
        rest = text[user.end() :]
        if not rest or (rest.startswith("(") and rest.endswith(")")):
            return _own_warmup(what, user["path"], user["arguments"] or ""), rest[1:-1] if rest else None
    name, options = _parenthesized(text)
    if name in _WARMUPS:
        return _WARMUPS[name](), options
    length = _LENGTH.fullmatch(name)
    if length and length["name"] in _LONG_WARMUPS:
        kind = _LONG_WARMUPS[length["name"]]
        try:
            if length["percent"]:
                if not 0 < float(length["number"]) <= 100:
                    raise ValueError(f"a part of the run is {length['number']}%; it must be above 0% and at most 100%")
                return PartOfRun(kind, float(length["number"]) / 100), options
            if not length["number"].isdigit():
                raise ValueError(f"{length['name']} needs a whole number of steps, or a part of the run, as 10%")
            return kind(int(length["number"])), options
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None
    if name in _LONG_WARMUPS:
        example = f"{optimizer}+{name}"
        raise ValueError(f"{what}: {name} needs its steps, as in {example}-500, or a part of the run, {example}-10%")
    there_are = ", ".join([*_WARMUPS, *_long_names()])
    raise ValueError(f"{what}: unknown warmup {name!r}; there are {there_are}, or your own, as my_module.MyWarmup(1)")


def _own_warmup(what: str, path: str, arguments: str) -> Warmup:
    values, keywords = read_arguments(what, arguments)
    found = imported(what, path)
    try:
        made = found(*values, **keywords) if callable(found) and not isinstance(found, Warmup) else found
        warmup = as_warmup(made)
        if warmup is None:
            raise TypeError("it is None")
    except Exception as error:  # whatever a user's own code raises
        raise ValueError(f"{what}: {path} makes no warmup: {error}") from None
    return warmup


def _optimizer(what: str, name: str) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    """The optimizer of that name or at that dotted path, and the options that its name stands for."""
    if "." in name and _OPTIMIZER.fullmatch(name):
        found = imported(what, name)
        if not (isinstance(found, type) and issubclass(found, torch.optim.Optimizer)):
            raise ValueError(f"{what}: {name} is {found!r}, and no torch.optim.Optimizer")
        return found, {}
    if name in _OPTIMIZERS:
        optimizer, fixed = _OPTIMIZERS[name]
        return optimizer, dict(fixed)
    if name in _RENAMED:
        raise ValueError(f"{what}: it is called {_RENAMED[name]} now")
    near = difflib.get_close_matches(name, _OPTIMIZERS, 3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(_OPTIMIZERS)};"
    raise ValueError(
        f"unknown {what}: {hint} another library's is named by where it is, as torch.optim.Adagrad; "
        "`rectified study --help` has them all"
    )


def _is_bare(name: str) -> bool:
    """Whether that method can be given a warmup, and has none yet."""
    if name not in _OPTIMIZERS:
        return "." in name
    optimizer, fixed = _OPTIMIZERS[name]
    return "warmup" in _keywords(optimizer) and "warmup" not in fixed and name != "adam-eps"


def _keywords(optimizer: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """The arguments that its constructor takes, with their defaults."""
    return {name: x.default for name, x in inspect.signature(optimizer).parameters.items()}


def known() -> list[str]:
    """Every name of a method; N stands for a number of steps, N% for a part of the run."""
    warmups = [*_WARMUPS, *_long_names()]
    return [*_OPTIMIZERS, *(f"{name}+{warmup}" for name in _OPTIMIZERS if _is_bare(name) for warmup in warmups)]


def _long_names() -> list[str]:
    return [f"{name}-N{percent}" for name in _LONG_WARMUPS for percent in ("", "%")]
