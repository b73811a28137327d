"""A warmup for any optimizer of any library."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...warmup import Rectified, Warmup
from ...warmup.interface import OnZero
from .._torch import Optimizer, disable_dynamo
from ..observe.remembered import refuse_memories
from ..states.clock import refuse_count
from ..step.options import CLOCK, OBSERVED, Group
from .compat import unwrapped
from .scaling import Scaling

_OLD_CLOCK = (
    "warmup_steps"  # the key of a group's step count in saves of 0.1.0, which is also ScheduleFree's own option
)


def rectify(
    optimizer: torch.optim.Optimizer,
    warmup: Warmup | None = None,
    beta2: float | None = None,
    *,
    on_zero: OnZero = "skip",
) -> "Warmed":
    r"""Add a warmup to any optimizer: during each step, its lr is multiplied by omega.

    .. math:: \gamma_t \leftarrow \gamma_t\,\omega(t; \beta_2)

    Between steps the lr is unchanged, so schedulers (created before or after), loggers and checkpoints see the usual
    one. Each group has its own count t of steps in which it had a gradient, saved in the group; a group that has
    stepped before continues from the count in its states.

    Omega scales lr, and with it everything that the optimizer multiplies by lr, including decoupled weight decay
    (torch's AdamW: ``theta *= 1 - lr * weight_decay``), which omega does not scale in this package's own optimizers. A
    momentum that accumulates steps already multiplied by lr keeps past factors; torch.optim's accumulate gradients.

    Rectification is derived for a v with bias correction. For optimizers without one (RMSprop, Adadelta) omega includes
    it: omega = r_t sqrt(1 - beta2^t).

    Args:
        optimizer: any torch.optim.Optimizer. It is not copied, and may have stepped before.
        warmup: as in :mod:`rectified.warmup`; ``None`` is ``Rectified()``.
        beta2: decay rate of v; ``None`` reads it from each group at each step: ``betas[1]`` of two, RMSprop's
            ``alpha``, Adadelta's ``rho``. Linear, SecondMomentOnly and Constant need none.
        on_zero: what happens in the first steps, in which omega is 0. ``"skip"``: they are left out, and the warmup
            starts with its first positive omega (RAdam's r_6 at t = 1). ``"hold"``: lr is 0 in them, so the optimizer's
            moments change but its parameters do not.

    Returns:
        A torch.optim.Optimizer that delegates unknown attributes to `optimizer`.

    Raises:
        TypeError: the optimizer or the warmup is not one.
        ValueError: the optimizer already has a warmup; a group has no lr; beta2 is needed but unknown; or the warmup
            rectifies but this optimizer's v is not an exponential average: Adagrad's is a sum, Adamax's and AMSGrad's a
            maximum, and Lion and SGD have none.

    A step takes a few microseconds longer. With a GradScaler that leaves unscaling to the optimizer (``fused=True``),
    each step reads from the device whether it was skipped.

    >>> import torch, rectified
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = rectified.rectify(torch.optim.NAdam([p], lr=0.1))
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> group = optimizer.param_groups[0]
    >>> group["lr"], round(group["omega"], 4), isinstance(optimizer, torch.optim.Optimizer)
    (0.1, 0.0258, True)

    Reference: arXiv:1908.03265, section 4.2.
    """
    return Warmed(optimizer, Rectified() if warmup is None else warmup, beta2, on_zero)


class Warmed(Optimizer):
    """The optimizer that :func:`rectify` returns; it shares groups, state and saved states with the wrapped one."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup: Warmup, beta2: float | None = None, on_zero: OnZero = "skip"
    ) -> None:
        self._begin(optimizer, Scaling(optimizer, warmup, beta2, on_zero, lasting=False))

    def _begin(self, optimizer: torch.optim.Optimizer, scaling: Scaling) -> None:
        self.optimizer, self.scaling = optimizer, scaling
        super().__setstate__({})  # torch's own: the step hooks

    # What is the wrapped optimizer's own. A load replaces its lists, so that nothing may be kept here.

    @property
    def param_groups(self) -> list[Group]:
        return self.optimizer.param_groups

    @param_groups.setter
    def param_groups(self, groups: list[Group]) -> None:
        self.optimizer.param_groups = groups

    @property
    def state(self) -> Any:
        return self.optimizer.state

    @state.setter
    def state(self, state: Any) -> None:
        self.optimizer.state = state

    @property
    def defaults(self) -> dict[str, Any]:
        return self.optimizer.defaults

    @defaults.setter
    def defaults(self, defaults: dict[str, Any]) -> None:
        self.optimizer.defaults = defaults

    def __getattr__(self, name: str) -> Any:
        """Delegate other attributes to the wrapped optimizer: ``train()``, ``eval()``, flags for GradScaler, ..."""
        if name in ("optimizer", "scaling"):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # GradScaler sets these on the optimizer that steps.
        if name in ("grad_scale", "found_inf"):
            setattr(unwrapped(self.optimizer), name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in ("grad_scale", "found_inf"):
            delattr(unwrapped(self.optimizer), name)
        else:
            super().__delattr__(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.scaling.warmup!r}, {self.optimizer!r})"

    def __getstate__(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer, "scaling": self.scaling}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(state["optimizer"], state["scaling"].copied(state["optimizer"]))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step of the wrapped optimizer, and return its result."""
        if torch.compiler.is_compiling():
            return self._untraced_step(closure)
        return self._step(closure)

    # Marked as wrapped, since torch would call global hooks here and in the wrapped optimizer, twice per step.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        args: tuple[Any, ...] = (self,) if closure is None else (self, closure)
        kwargs: dict[str, Any] = {}
        for hook in self.hooks("step_pre").values():
            replaced = hook(self, args, kwargs)
            if replaced is not None:
                args, kwargs = replaced
        try:
            result = self.optimizer.step(*args[1:], **kwargs)
        except BaseException:
            self.scaling.forget()
            raise
        for hook in self.hooks("step_post").values():
            hook(self, args, kwargs)
        return result

    # As in BaseOptimizer, torch.compile only sees the call of a step.
    @disable_dynamo
    def _untraced_step(self, closure: Callable[[], Any] | None = None) -> Any:
        return self._step(closure)

    def observe_loss(self, loss: float | Tensor) -> None:
        """Pass the loss to a warmup that observes it, before each step."""
        self.scaling.loss = loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Reset the gradients of the wrapped optimizer's parameters."""
        self.optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to the wrapped optimizer, with its own step count; an invalid group raises, changing nothing."""
        self.optimizer.add_param_group(param_group)
        inner = unwrapped(self.optimizer)
        try:
            self.scaling.accept(inner, len(self.param_groups) - 1, self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise
        self.scaling.clock(inner, self.param_groups[-1])

    def state_dict(self) -> dict[str, Any]:
        """The state of the wrapped optimizer, with the step counts in its groups."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state into the wrapped optimizer; one saved without a warmup continues from the count in its states.

        Raises:
            ValueError: the state does not fit the wrapped optimizer, or a count is invalid; nothing is changed then.
        """
        inner = unwrapped(self.optimizer)
        load(inner, self.optimizer.load_state_dict, state_dict)
        for group in self.param_groups:
            self.scaling.clock(inner, group)

    def register_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_state_dict_pre_hook(hook, prepend)

    def register_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_state_dict_post_hook(hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_load_state_dict_pre_hook(hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_load_state_dict_post_hook(hook, prepend)


def load(optimizer: torch.optim.Optimizer, load_state_dict: Callable[[Any], Any], state_dict: Any) -> None:
    """Load a state into another library's optimizer, completely or not at all.

    Raises:
        ValueError: the state does not fit; the previous state is restored.
    """
    before = dict(optimizer.__dict__)
    groups = [(group, dict(group)) for group in optimizer.param_groups]
    entries = [(entry, dict(entry)) for entry in optimizer.state.values() if isinstance(entry, dict)]
    state = dict(optimizer.state)
    try:
        state_dict = _with_new_clock(optimizer, state_dict)
        _refuse_counts(state_dict)
        load_state_dict(state_dict)
    except BaseException as error:
        optimizer.__dict__.clear()
        optimizer.__dict__.update(before)
        for mine, copy in (*groups, *entries):
            mine.clear()
            mine.update(copy)
        optimizer.state.clear()
        optimizer.state.update(state)
        if isinstance(error, ValueError) or not isinstance(error, Exception):
            raise
        raise ValueError(f"this is not a state of {type(optimizer).__name__}: {error!r}") from error


def _with_new_clock(optimizer: torch.optim.Optimizer, state_dict: Any) -> Any:
    """A saved state with each group's step count under its key, also one saved by 0.1.0."""
    if _OLD_CLOCK in optimizer.defaults:
        return state_dict
    groups = [
        group if CLOCK in group else {CLOCK if name == _OLD_CLOCK else name: x for name, x in group.items()}
        for group in state_dict["param_groups"]
    ]
    return {**state_dict, "param_groups": groups}


def _refuse_counts(state_dict: Any) -> None:
    """Raise for a saved state with invalid step counts."""
    for index, group in enumerate(state_dict["param_groups"]):
        if CLOCK in group:
            refuse_count(group[CLOCK], f"group {index}", ValueError)
        refuse_memories(group.get(OBSERVED, ()), f"group {index}")
    for key, entry in state_dict["state"].items():
        step = entry.get("step") if isinstance(entry, dict) else None
        if isinstance(step, int | float) or (isinstance(step, Tensor) and step.numel() == 1):
            refuse_count(float(step), f"parameter {key}", ValueError)
