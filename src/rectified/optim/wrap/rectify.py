"""A warmup for any optimizer of any library."""

from collections.abc import Callable
from typing import Any

import torch
from torch._compile import _disable_dynamo
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from ...warmup import Rectified, Warmup
from .._torch import Optimizer
from ..step.options import Group
from .scaling import OnZero, Scaling


def rectify(
    optimizer: torch.optim.Optimizer,
    warmup: Warmup | None = None,
    beta2: float | None = None,
    *,
    on_zero: OnZero = "skip",
) -> "Warmed":
    r"""The same optimizer with a warmup in front: its lr is multiplied by omega for as long as each step takes.

    .. math:: \gamma_t \leftarrow \gamma_t\,\omega(t; \beta_2)

    Between steps the lr is what it was, so that schedulers, made before or after, loggers and checkpoints see the one
    that they know. Each group has its own count t of steps in which it had a gradient, saved in the group; one that has
    stepped before goes on from its states' own count.

    What is scaled is lr, and with it whatever the optimizer multiplies by lr: decoupled weight decay too (torch's
    AdamW: ``theta *= 1 - lr * weight_decay``), which in this package's own optimizers omega leaves alone. A momentum
    that keeps steps already multiplied by lr carries a factor of the past on; torch.optim's keep gradients.

    For a v that its optimizer does not debias (RMSprop, Adadelta) the rectification, which is derived for one that is,
    has the bias correction in it: omega = r_t sqrt(1 - beta2^t).

    Args:
        optimizer: any torch.optim.Optimizer. It is used as it is, not copied, and may have stepped before.
        warmup: as in :mod:`rectified.warmup`; ``None`` is ``Rectified()``.
        beta2: decay rate of v; ``None`` reads it from each group at each step: ``betas[1]`` of two, RMSprop's
            ``alpha``, Adadelta's ``rho``. Linear, SecondMomentOnly and Constant need none.
        on_zero: what happens in the first steps, where omega is 0. ``"skip"``: they are left out, and the warmup begins
            with its first positive omega (RAdam's r_6 at t = 1). ``"hold"``: lr is 0 in them, so that the optimizer's
            moments move and its parameters do not.

    Returns:
        A torch.optim.Optimizer; what is asked of it and it does not know itself it asks of `optimizer`.

    Raises:
        TypeError: no optimizer, or no warmup.
        ValueError: it has a warmup already; a group has no lr; beta2 is needed and not to be found; or the warmup
            rectifies, and this optimizer's v is no exponential average: Adagrad's is a sum, Adamax's and AMSGrad's a
            maximum, Lion and SGD have none.

    A step costs a few microseconds more. With a GradScaler that leaves unscaling to the optimizer (``fused=True``) each
    step reads from the device whether it was skipped.

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
    """What :func:`rectify` returns: another optimizer, whose groups, state and saves are its own."""

    def __init__(
        self, optimizer: torch.optim.Optimizer, warmup: Warmup, beta2: float | None = None, on_zero: OnZero = "skip"
    ) -> None:
        self._begin(Scaling(optimizer, warmup, beta2, on_zero))

    def _begin(self, scaling: Scaling) -> None:
        self.optimizer, self.scaling = scaling.optimizer, scaling
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
        """What only the wrapped one has: ``train()`` and ``eval()``, whether it takes a GradScaler's scale, ..."""
        if name in ("optimizer", "scaling"):  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.optimizer, name)

    def __setattr__(self, name: str, value: Any) -> None:
        # By these a GradScaler speaks to the optimizer that steps.
        if name in ("grad_scale", "found_inf"):
            setattr(self.optimizer, name, value)
        else:
            super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        if name in ("grad_scale", "found_inf"):
            delattr(self.optimizer, name)
        else:
            super().__delattr__(name)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.scaling.warmup!r}, {self.optimizer!r})"

    def __getstate__(self) -> dict[str, Any]:
        scaling = self.scaling
        return {
            "optimizer": self.optimizer,
            "warmup": scaling.warmup,
            "beta2": scaling.beta2,
            "on_zero": scaling.on_zero,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._begin(Scaling(**state))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step of the wrapped optimizer; returns what that returns."""
        if torch.compiler.is_compiling():
            return self._untraced_step(closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
        ):
            return self._hooked_step(closure)
        return self._step(closure)

    step.hooked = True  # type: ignore[attr-defined]  # as in Adam: torch's wrapper is called where there are hooks

    def _step(self, closure: Callable[[], Any] | None = None) -> Any:
        self.scaling.scale()
        try:
            result = self.optimizer.step() if closure is None else self.optimizer.step(closure)
        except BaseException:
            self.scaling.forget()
            raise
        self.scaling.finish()
        return result

    _hooked_step = Optimizer.profile_hook_step(_step)

    # As in Adam, what torch.compile has of a step is the call.
    @_disable_dynamo
    def _untraced_step(self, closure: Callable[[], Any] | None = None) -> Any:
        return self._hooked_step(closure)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Of the wrapped optimizer."""
        self.optimizer.zero_grad(set_to_none)

    def add_param_group(self, param_group: Group) -> None:
        """Add a group to the wrapped optimizer; its clock starts now."""
        self.optimizer.add_param_group(param_group)
        try:
            self.scaling.accept(len(self.param_groups) - 1, self.param_groups[-1])
        except ValueError:
            self.param_groups.pop()
            raise
        self.scaling.begin()

    def state_dict(self) -> dict[str, Any]:
        """The wrapped optimizer's, with the counts in its groups."""
        return self.optimizer.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load into the wrapped optimizer. A save from before there was a warmup goes on from its states' count."""
        self.optimizer.load_state_dict(state_dict)
        self.scaling.begin()

    def register_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_state_dict_pre_hook(hook, prepend)

    def register_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_state_dict_post_hook(hook, prepend)

    def register_load_state_dict_pre_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_load_state_dict_pre_hook(hook, prepend)

    def register_load_state_dict_post_hook(self, hook: Any, prepend: bool = False) -> Any:
        return self.optimizer.register_load_state_dict_post_hook(hook, prepend)
