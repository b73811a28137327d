"""A method as a value: an optimizer with its options and its warmup."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ...messages import shown
from ...optim import Adam, RAdam, rectify
from ...optim.explain import omegas_of
from ...warmup import Warmup
from ...warmup.period import first_at
from ...workloads.numbers import learning_rate
from ...workloads.user_code import users_code
from .controls import MeanOmega, SmallerLr, control_name

_SWITCHES = ("foreach", "fused", "capturable", "differentiable", "maximize")  # None is the optimizer's own choice


@dataclass(frozen=True)
class PartOfRun:
    """A warmup whose length is a fraction of the run.

    >>> from rectified.warmup import Linear
    >>> PartOfRun(Linear, 0.1).over(3000)
    Linear(steps=300)
    """

    kind: Callable[[int], Warmup]
    part: float

    def over(self, steps: int) -> Warmup:
        """The warmup for a run of that many steps; it lasts at least one step."""
        return self.kind(max(1, round(self.part * steps)))


@dataclass(frozen=True)
class Method:
    """A method of a study: an optimizer with its options and its warmup.

    Attributes:
        name: the method's name in the study.
        options: keywords of the optimizer, without lr and warmup.
        lr: the method's own lr; None if it uses the study's.
        warmup: the warmup that scales its updates; None for the optimizer's own behavior. :meth:`over` resolves one
            that depends on the length of the run, such as :class:`~rectified.study.config.method.PartOfRun`.

    Raises:
        ValueError: the name is no line of text, or the optimizer is no class of them.

    >>> from rectified.study.config.methods import parse
    >>> method = parse("adam+linear-500(beta2=0.95)")
    >>> method.name, method.omega(100), method.lr
    ('adam+linear-500(beta2=0.95)', 0.2, None)
    """

    name: str
    optimizer: type[torch.optim.Optimizer]
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    lr: float | None = None
    warmup: Warmup | PartOfRun | MeanOmega | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isprintable():
            raise ValueError(f"a method's name is {shown(self.name)}; it must be a line of text")
        if not isinstance(self.optimizer, type) or not issubclass(self.optimizer, torch.optim.Optimizer):
            raise ValueError(f"method {shown(self.name)}: {shown(self.optimizer)} is no class of optimizers")

    def over(self, steps: int) -> "Method":
        """The method for a run of that many steps, with its warmup resolved.

        >>> from rectified.study.config.methods import parse
        >>> parse("adam+linear-10%").over(2000).omega(100)
        0.5
        """
        return self if self.warmup is None or isinstance(self.warmup, Warmup) else self._over(self.warmup, steps)

    def _over(self, warmup: PartOfRun | MeanOmega, steps: int) -> "Method":
        return replace(self, warmup=warmup.over(steps))

    @property
    def warms_up(self) -> bool:
        """Whether the method has a warmup that a control could leave out."""
        if self.warmup is None:
            return issubclass(self.optimizer, RAdam)
        return not isinstance(self.warmup, SmallerLr | MeanOmega) and not self.observes

    @property
    def observes(self) -> bool:
        """Whether omega depends on the run, so that nothing is known of it before."""
        kind = self.warmup.kind if isinstance(self.warmup, PartOfRun) else self.warmup
        return bool(getattr(kind, "observes", ()))

    def control(self) -> "Method":
        """The matched-lr control: the method without its warmup, at lr times the warmup's mean omega over the run.

        >>> from rectified.study.config.methods import parse
        >>> round(parse("adam+linear-10%").control().over(2000).omega(1), 2)
        0.95

        Raises:
            ValueError: the method has no warmup, or one whose mean omega is known only after the run.
        """
        if self.observes:
            raise ValueError(
                f"method {shown(self.name)} has an omega that depends on the run, so its mean is not known before: "
                "take the mean of omega in the steps.csv of its runs, and run adam at lr times that"
            )
        if not self.warms_up:
            raise ValueError(f"method {shown(self.name)} has no warmup, so there is nothing to match")
        warmup = MeanOmega(replace(self, name=""))
        if not issubclass(self.optimizer, RAdam):
            return replace(self, name=control_name(self.name), warmup=warmup)
        options = {"eps_hat": True, **self.options}  # as RAdam's default
        kept = {name: value for name, value in options.items() if name in keywords(Adam)}
        return Method(control_name(self.name), Adam, kept, self.lr, warmup)

    def build(
        self, params: Iterable[torch.nn.Parameter], lr: float, weight_decay: float = 0.0
    ) -> torch.optim.Optimizer:
        """Build the optimizer for these parameters.

        Args:
            weight_decay: used if the optimizer supports it and the method's options do not set it. Decoupled if that is
                an option, otherwise as the optimizer defines it, as for SGD and most of torch.optim.

        Raises:
            ValueError: the warmup depends on the length of the run; call :meth:`over` first.
        """
        if self.warmup is not None and not isinstance(self.warmup, Warmup):
            raise ValueError(
                f"method {shown(self.name)}: its warmup depends on the length of the run; call over(steps) first"
            )
        options, takes = dict(self.options), keywords(self.optimizer)
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

    def dummy(self, lr: float = 0.1) -> torch.optim.Optimizer:
        """The optimizer over two small zero parameters."""
        return self.build([torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2))], lr)

    def same_as(self, other: "Method") -> bool:
        """Whether another method does the same at the same lr, whatever their names.

        >>> from rectified.study.config.methods import parse
        >>> parse("adam").same_as(parse("adam(eps=1e-8)")), parse("adam").same_as(parse("adam-eps"))
        (True, False)
        """
        if self.optimizer != other.optimizer:
            return False
        if "warmup" not in keywords(self.optimizer) and self.warmup != other.warmup:
            return False
        ours, theirs = ({**method.dummy().param_groups[0], "params": None} for method in (self, other))
        return ours == theirs

    def omega(self, t: int) -> float:
        """The warmup factor at step t; 1 without a warmup. If it depends on the run, its value without observation."""
        return self.omegas([t])[0]

    def omegas(self, steps: Iterable[int]) -> list[float]:
        """The warmup factor :meth:`omega` at each of the steps."""
        return list(map(self.omega_function(), steps))

    def omega_function(self) -> Callable[[int], float]:
        """A function that equals :meth:`omega` and is faster for many steps."""
        return omegas_of(self.dummy(), 0)

    def warm_at(self) -> int | None:
        """The first step with omega >= 0.9; None if there is none."""
        return first_at(self.omega_function(), level=0.9)

    def check(self) -> None:
        """Build the optimizer over two small parameters and take a step, so that errors appear before a study runs.

        Raises:
            ValueError: the lr is invalid, or the optimizer rejects, ignores or fails with one of the options.
        """
        what, takes = f"method {shown(self.name)}", keywords(self.optimizer)
        if self.lr is not None:
            try:
                learning_rate(self.lr)
            except ValueError as error:
                raise ValueError(f"{what}: lr is {shown(self.lr)}: {error}") from None
        if self.optimizer.__module__.startswith(
            ("rectified.", "torch.")
        ):  # nothing is known about the options of other libraries
            _check_kinds(what, self.options, takes)
        with users_code(what):
            built = self.over(1000).dummy(0.1 if self.lr is None else self.lr)
            ignored = [
                key for key in self.options if not (key in takes or key in built.defaults or hasattr(built, key))
            ]
        if ignored:
            names = ", ".join(key for key in takes if key not in ("params", "kwargs", "warmup"))
            raise ValueError(f"{what}: {self.optimizer.__name__} does not use {shown(ignored[0])}; it takes {names}")
        with users_code(f"{what} fails at its first step"), torch.random.fork_rng(devices=[]), _no_warnings():
            _step(built)


def _check_kinds(what: str, options: dict[str, Any], takes: dict[str, Any]) -> None:
    """Reject a number in place of a bool and a bool in place of a number, which Python would accept."""
    for name, value in options.items():
        default = takes.get(name)
        switch = isinstance(default, bool) or name in _SWITCHES
        if switch and not isinstance(value, bool) and value is not default:
            raise ValueError(f"{what}: {name} is {shown(value)}; it must be True or False")
        if isinstance(value, bool) and not switch and isinstance(default, int | float):
            raise ValueError(f"{what}: {name} is {value}; it must be a number")


@contextmanager
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the run gives its own warnings
        yield


def _step(optimizer: torch.optim.Optimizer) -> None:
    for p in optimizer.param_groups[0]["params"]:
        p.grad = torch.ones_like(p)
    if callable(switch := getattr(optimizer, "train", None)):
        switch()
    optimizer.step()


def keywords(optimizer: type[torch.optim.Optimizer]) -> dict[str, Any]:
    """The arguments of an optimizer's constructor, with their defaults."""
    return {name: x.default for name, x in inspect.signature(optimizer).parameters.items()}
