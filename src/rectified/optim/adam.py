"""Adam, whose warmup is a value: with it, every method here."""

from collections.abc import Callable
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor
from torch._C import _set_grad_enabled
from torch._C._autograd import _profiler_enabled
from torch._compile import _disable_dynamo
from torch.optim.optimizer import ParamsT, _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from ..warmup import Warmup, from_plain, to_plain
from ._torch import Optimizer
from .step.low_precision import Rounding
from .step.move import move, move_on_device
from .step.options import Group, check_group, omega_of
from .step.plan import STATES, Bucket, Plan
from .step.warn import say_excuses, warn_of_huge_start

Loss = float | Tensor
Planned = tuple[Group, Plan, list[tuple[Bucket, list[Tensor]]]]


class Adam(Optimizer):
    r"""Adam with a warmup on the fused kernel.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t \\
        v_t &= \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \theta_t &= \theta_{t-1} - \gamma\,\omega(t; \beta_2)\,
            \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Arguments, defaults and the saved state are torch.optim.Adam's; the last four are new.
    Each parameter has its own t: the number of steps in which it had a gradient.

    Args:
        params: parameters, named parameters, or dicts of parameter groups. As in torch, every option can be set per
            group but `differentiable`, which is the constructor's for all.
        lr: learning rate gamma; a number or a one-element tensor, at least 0.
        betas: decay rates of the first and the second moment, each in [0, 1); numbers or one-element tensors.
        eps: added to the denominator, at least 0.
        weight_decay: lambda; added to the gradient as lambda theta (L2), or decoupled, see below.
        amsgrad: divide by the largest v so far.
        maximize: ascend.
        capturable: count the steps on the device and read nothing back, as CUDA graphs need it; lr may then be a tensor
            that a scheduler changes under the graph (the betas, which some schedulers cycle, are in it as numbers). On
            a CPU too. ``group["omega"]`` is then a tensor, and every omega is asked for beforehand, see
            :mod:`rectified.warmup`. A tensor beta is read when it was written to, which no graph can hold.
        differentiable: let autograd record the step (in parameters, gradients and a tensor lr). It rounds to nearest.
        foreach, fused: ``None`` takes torch's fused op, on copies of what it cannot take as it is, and foreach ops for
            tensor subclasses and devices that it does not know; ``foreach=True`` or ``fused=False`` takes foreach ops
            throughout.
        decoupled_weight_decay: theta *= 1 - lr * weight_decay instead, at every step that may move theta; omega does
            not scale it.
        warmup: an object with ``omega(t, beta2)``, see :mod:`rectified.warmup`; ``None`` is plain Adam.
        eps_hat: add eps to sqrt(v) before its bias correction (torch's RAdam, Adam-eps), instead of after.
        state_dtype: of the moments of bfloat16 and float16 parameters, whose step is then taken in it. In the
            parameter's own dtype v stalls, as in torch, for 4 bytes less a parameter (6 with amsgrad). Wider parameters
            have moments of their own dtype.
        rounding: of bfloat16 and float16 parameters after a step in float32: to ``"nearest"``; ``"kahan"``, with what
            rounding takes kept in the state, in 2 bytes a parameter; ``"stochastic"`` (bfloat16), unbiased, by torch's
            global generator.

    Raises:
        ValueError: an option is outside its range, or the warmup never starts at this beta2.
        RuntimeError: two flags exclude each other; from ``step``, for sparse gradients, and where a CUDA graph is
            captured without ``capturable``.

    While training, ``group["omega"]`` holds the factor last used, and :func:`rectified.explain` the whole picture.

    >>> import torch
    >>> from rectified.warmup import UntunedLinear
    >>> p = torch.nn.Parameter(torch.tensor([1.0, -1.0]))
    >>> optimizer = Adam([p], lr=0.1, warmup=UntunedLinear())
    >>> p.grad = torch.tensor([0.5, 2.0])
    >>> optimizer.step()
    >>> p.data, round(optimizer.param_groups[0]["omega"], 6)
    (tensor([ 0.9999, -1.0000]), 0.0005)

    Reference: arXiv:1412.6980; for the warmups see :mod:`rectified.warmup`.
    """

    _plans: list[Plan]

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        warmup: Warmup | None = None,
        eps_hat: bool = False,
        state_dtype: torch.dtype = torch.float32,
        rounding: Rounding = "nearest",
    ) -> None:
        defaults = {
            "lr": lr,
            "betas": betas,
            "eps": eps,
            "weight_decay": weight_decay,
            "amsgrad": amsgrad,
            "maximize": maximize,
            "capturable": capturable,
            "differentiable": differentiable,
            "foreach": foreach,
            "fused": fused,
            "decoupled_weight_decay": decoupled_weight_decay,
            "warmup": warmup,
            "eps_hat": eps_hat,
            "state_dtype": state_dtype,
            "rounding": rounding,
            "omega": None,
        }
        check_group(defaults)
        self._forget_plans()
        super().__init__(params, defaults)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether a GradScaler hands over its scale and its verdict, and leaves the unscaling to the step.

        As in torch on request only (``fused=True``, or ``capturable``): Lightning refuses to clip the gradients of an
        optimizer that says so, and Accelerate cannot tell that a step was skipped, and lets the lr scheduler go on.
        """
        return all(group["fused"] or group["capturable"] for group in self.param_groups)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its missing options are the constructor's. Raises as the constructor does, changing nothing."""
        if isinstance(param_group, dict):
            check_group({**self.defaults, **param_group})
        super().add_param_group(param_group)

    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:  # type: ignore[override]
        """Take one step.

        Args:
            closure: reevaluates the model and returns the loss, as in torch.optim.

        Returns:
            The closure's loss, if one was given.
        """
        if torch.compiler.is_compiling():
            return self._untraced_step(closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or _global_optimizer_pre_hooks
            or _global_optimizer_post_hooks
            or _profiler_enabled()
        ) and type(self).step is Adam.step:  # a subclass's own step has torch's wrapper, which has served them already
            return self._hooked_step(closure)
        return self._step(closure)

    # torch wraps every step() in hooks and a profiler range, a tenth of a small model's step. Marked as wrapped, it
    # is left alone, and calls the wrapper itself where there is a hook or a profiler to serve.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        found_inf, grad_scale = self.__dict__.get("found_inf"), self.__dict__.get("grad_scale")
        if not isinstance(found_inf, Tensor):  # without a GradScaler None, with one that saw no gradient 0
            found_inf = None
        if found_inf is not None and not all(group["capturable"] for group in self.param_groups) and found_inf.item():
            return loss  # a GradScaler's step that is skipped: nothing moves, and no clock
        graded = torch.is_grad_enabled()
        _set_grad_enabled(self.defaults["differentiable"])  # as torch.no_grad() does, in a quarter of its time
        try:
            self._move(self._planned(), grad_scale, found_inf)
        finally:
            _set_grad_enabled(graded)
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

    # torch.compile cannot trace the op, and would trace the bookkeeping for every lr. Its graph ends before a step.
    @_disable_dynamo
    def _untraced_step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        return self._hooked_step(closure) if type(self).step is Adam.step else self._step(closure)

    def _move(self, planned: list[Planned], grad_scale: Tensor | None = None, found_inf: Tensor | None = None) -> None:
        """Move what is planned; whatever can be refused is found out before anything moves."""
        self._refuse_capture()
        work = [
            (group, plan, [(bucket, grads, omega_of(group, bucket.t + 1)) for bucket, grads in found])
            for group, plan, found in planned
            if not plan.schedules
        ]
        warn_of_huge_start(self, work, grad_scale)
        for group, plan, moves in work:
            for bucket, grads, omega in moves:
                move(group, bucket, grads, omega, grad_scale)
            plan.advance()
            if moves:
                group["omega"] = moves[0][2]  # of the parameters that have stepped most often
        for group, plan, found in planned:
            if plan.schedules:
                move_on_device(group, plan, found, grad_scale, found_inf)

    def _refuse_capture(self) -> None:
        """Raise where a CUDA graph is captured of a step that is counted on the host: each replay would repeat it."""
        capturing = torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]
        if capturing and not all(group["capturable"] for group in self.param_groups):
            raise RuntimeError(
                f"Attempting CUDA graph capture of step() for an instance of {type(self).__name__} but param_groups' "
                "capturable is False. Every replay would repeat this step's count: set capturable=True"
            )

    def _planned(self) -> list[Planned]:
        """Each group with its plan and gradients."""
        olds = self._plans[: len(self.param_groups)]
        planned = [self._plan(group, old) for group, old in zip_longest(self.param_groups, olds)]
        self._plans = [plan for _, plan, _ in planned]
        return planned

    def _plan(self, group: Group, old: Plan | None) -> Planned:
        """The group with its plan, remade where the old one no longer holds, and with the gradients of its buckets."""
        plan, found = old, None
        if plan is not None:
            found = plan.gradients(group, self.state)
        if plan is None or found is None:
            self._begin(group)
            plan = Plan(group, self.state, old)
            say_excuses(self, group, plan)
            found = plan.gradients(group, self.state)
            assert found is not None, "a plan just made holds"
        return group, plan, found

    def _begin(self, group: Group) -> None:
        """For a method whose v does not begin at 0: called when a parameter may have its first gradient."""

    def _forget_plans(self) -> None:
        self._plans = []

    def restart_warmup(self, group: int | None = None) -> None:
        """Begin a group's warmup anew, or every group's: for an lr restart, new data, fine-tuning.

        Moments and counts go back to 0. Both have to: a warmup answers for a v that rests on few gradients, and a count
        of 1 beside an old v would take its bias correction for that of a new one. Kahan's compensation is part of the
        weight, and stays.

        Args:
            group: index in ``param_groups``; ``None`` is all.

        Raises:
            IndexError: there is no such group.

        >>> import torch, rectified
        >>> p = torch.nn.Parameter(torch.ones(2))
        >>> optimizer = rectified.RAdam([p])
        >>> p.grad = torch.ones(2)
        >>> optimizer.step()
        >>> optimizer.restart_warmup()
        >>> rectified.explain(optimizer)[0].t
        1
        """
        for chosen in self.param_groups if group is None else [self.param_groups[group]]:
            for p in chosen["params"]:
                for name, x in self.state.get(p, {}).items():
                    if name != "compensation":
                        x.zero_()

    def state_dict(self) -> dict[str, Any]:
        """The state in torch.optim's own format; warmups as plain values, so that ``weights_only=True`` loads it.

        The steps are copies: each owns its memory. A warmup that is not of :mod:`rectified.warmup` cannot be saved so
        and is left out; on load the constructor's stays.
        """

        def make_plain(_: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
            saved["state"] = {
                key: {**entry, "step": entry["step"].clone()} if "step" in entry else entry
                for key, entry in saved["state"].items()
            }
            for group in saved["param_groups"]:
                if group["warmup"] is not None and (plain := to_plain(group["warmup"])) is not None:
                    group["warmup"] = plain
                elif group["warmup"] is not None:
                    del group["warmup"]

        # Before the user's own post-hooks, which then have in hand what is saved.
        hook = self.register_state_dict_post_hook(make_plain, prepend=True)
        try:
            return super().state_dict()
        finally:
            hook.remove()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state saved here or by the torch.optim class of the same name.

        Options that the save lacks keep this optimizer's values. Nothing is changed if the save does not fit. The
        loaded tensors are copies: torch would go on writing into those of ``state_dict``.
        """
        given: dict[str, Any] = {}

        def note(_: torch.optim.Optimizer, state_dict: dict[str, Any]) -> None:
            given.update(state_dict)

        def restore(_: torch.optim.Optimizer) -> None:
            ids = [i for group in given["param_groups"] for i in group["params"]]
            params = [p for group in self.param_groups for p in group["params"]]
            for i, p in zip(ids, params, strict=True):
                saved, entry = given["state"].get(i, {}), self.state.get(p, {})
                for name, x in entry.items():
                    if name in STATES and isinstance(saved.get(name), Tensor):
                        x = saved[name].to(device=p.device)  # torch has cast it to the parameter's dtype
                    entry[name] = x.clone() if x is saved.get(name) else x

        # After the user's own pre-hooks, which may hand on another state, and before their post-hooks.
        hooks = [
            self.register_load_state_dict_pre_hook(note),
            self.register_load_state_dict_post_hook(restore, prepend=True),
        ]
        try:
            super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a pickled or a loaded state. Plans are never part of one, and are dropped."""
        present = self.__dict__.get("param_groups")
        for i, group in enumerate(state["param_groups"]):
            for name, default in (present[i] if present else state["defaults"]).items():
                group.setdefault(name, default)
            if isinstance(group["warmup"], dict):
                group["warmup"] = from_plain(group["warmup"])
            check_group(group)
        for p, entry in state["state"].items():
            if isinstance(p, Tensor) and entry and not {"step", "exp_avg", "exp_avg_sq"} <= entry.keys():
                raise ValueError(
                    f"the saved state has {', '.join(map(str, entry))}, but not all of step, exp_avg and exp_avg_sq: "
                    "it is another optimizer's"
                )
            for name in ("exp_avg", "exp_avg_sq", "max_exp_avg_sq"):
                if isinstance(p, Tensor) and name in entry and entry[name].shape != p.shape:
                    raise ValueError(
                        f"the saved {name} has shape {tuple(entry[name].shape)}, but its parameter {tuple(p.shape)}: "
                        "the state is of another model, or its parameters are in another order"
                    )
            if "step" in entry and not isinstance(entry["step"], Tensor):  # older saves have a plain number
                entry["step"] = torch.tensor(float(entry["step"]))
        self._forget_plans()
        super().__setstate__(state)
