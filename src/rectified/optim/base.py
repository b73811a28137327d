"""The base class of the optimizers: groups, state, saving and loading, hooks, and checks."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import zip_longest
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..warmup import Warmup
from ..warmup.plain import from_plain
from ._torch import (
    Optimizer,
    TensorList,
    disable_dynamo,
    global_post_hooks,
    global_pre_hooks,
    profiler_enabled,
    set_grad_enabled,
    version_of,
)
from .observe.feedback import Undo, undo
from .observe.own_steps import observe_last_step, refuse_observation
from .observe.remembered import FromMemory, memories, observing
from .observe.slopes import LastStep
from .saving import read_save, save_warmup
from .states.create import following
from .step.capturable import Row
from .step.kernels import Kernel, alike, foreach, fused, name_of, overlaps, why_not_fused
from .step.make_plan import make_plan
from .step.options import OBSERVED, Group, check_options, check_paths, check_warmup, keywords, plain
from .step.plan import Found, Plan, as_real
from .step.update import omega_of
from .step.warn import log_fallback_reasons

Loss = float | Tensor
Work = tuple[Group, Plan, list[Found]]


class BaseOptimizer(Optimizer):
    """The base class of optimizers whose parameters each count their own steps.

    A subclass defines ``STATES``, its constructor, :meth:`check` for its own options, and either :meth:`numbers` and
    :meth:`update`, or :meth:`move` if a step needs an entire group.
    """

    STATES: ClassVar[tuple[str, ...]] = ()
    """The names of the state tensors that have the parameter's shape and start at 0."""
    SCALARS: ClassVar[dict[str, float]] = {}
    """Additional numbers in a parameter's state besides its step count, with their initial values."""
    ELEMENTWISE: ClassVar[bool] = True
    """Whether the step is elementwise, so that each rank may step its own shards of a DTensor."""
    DEPENDS_ON: ClassVar[tuple[str, ...]] = ("foreach", "fused", "differentiable", "capturable")
    """Options that affect states and kernels: a change of one rebuilds the plan."""
    OBSERVABLE: ClassVar[bool] = False
    """Whether a warmup may observe the run: the step is Adam's, so that the moments show what it was."""

    _plans: list[Plan]
    observed_loss: Loss | None = None  # of the next step

    def __init__(self, params: ParamsT, options: dict[str, Any]) -> None:
        takes = keywords(type(self))
        options = {name: plain(x) for name, x in options.items()}
        # `defaults` are the constructor's arguments, so that type(o)(params, **o.defaults) rebuilds the optimizer.
        self._fixed = {} if takes is None else {name: x for name, x in options.items() if name not in takes}
        self._forget_plans()
        self.check({**options, **self._fixed})
        super().__init__(params, {name: x for name, x in options.items() if name not in self._fixed})

    # What a group asks for.

    def check(self, group: Group) -> None:
        """Raise for an invalid option of a group."""
        check_options(group)
        check_paths(group)
        check_warmup(group.get("warmup"), self.beta2(group))
        refuse_observation(self, group)

    def beta2(self, group: Group) -> Any:
        """The decay rate of the second moment, on which the warmup depends; NaN if there is none."""
        return group["betas"][1] if "betas" in group else float("nan")

    def warmup(self, group: Group) -> Warmup | None:
        """The group's warmup, or None."""
        given = group.get("warmup")
        found = given if given is None or isinstance(given, Warmup) else check_warmup(given, self.beta2(group))
        return FromMemory(found, memories(group, found)) if found is not None and found.observes else found

    def omega(self, group: Group, t: int) -> float:
        """The warmup's factor for step t."""
        return omega_of(self.warmup(group), t, float(self.beta2(group)))

    def has_momentum_step(self, group: Group, t: int) -> bool:
        """Whether step t, at which omega is 0, moves the parameters by lr * m_hat instead of holding them."""
        return False

    def state_names(self, p: Tensor, group: Group) -> Sequence[str]:
        """The names of STATES that a parameter has in this group."""
        return self.STATES

    def make_states(self, p: Tensor, group: Group, entry: dict[str, Any]) -> None:
        """Create the states that are missing, and adapt others to their parameter."""
        for name in self.state_names(p, group):
            entry[name] = following(p, entry.get(name), self.state_dtype(p, group, name))

    def state_shape(self, p: Tensor, name: str) -> torch.Size:
        """The shape of a state of the parameter."""
        return p.shape

    def state_dtype(self, p: Tensor, group: Group, name: str) -> torch.dtype:
        """The dtype of a state of the parameter."""
        return p.dtype

    def row(self, group: Group) -> Row:
        """A function that returns the row to tabulate for each count, for capturable steps."""
        raise NotImplementedError(f"{type(self).__name__} has no capturable")

    def new_state(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        """The initial states that are not 0, for a parameter with its first gradient."""
        return {}

    def kernel(self, group: Group, theta: Tensor, grad: Tensor, states: TensorList, reasons: set[str]) -> Kernel:
        """The kernel for a parameter; adds to `reasons` why the fused op cannot be used, if that merits a warning."""
        asked = group.get("foreach") or group.get("fused") is False
        if asked or why_not_fused(theta, grad, states):
            return foreach
        return fused if alike(theta, states[0]) and alike(grad, states[0]) else foreach

    # A step: plan, numbers, kernel.

    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:  # type: ignore[override]
        """Take one step.

        Args:
            closure: reevaluates the model and returns the loss, as in torch.optim.

        Returns:
            The closure's loss, if one was given.

        Raises:
            RuntimeError: a gradient is sparse, or a parameter cannot be stepped. No parameter has changed then.
        """
        if torch.compiler.is_compiling():
            return self._untraced_step(closure)
        if (
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or global_pre_hooks
            or global_post_hooks
            or profiler_enabled()
        ) and type(self).step is BaseOptimizer.step:  # torch wraps a subclass's own step
            return self._hooked_step(closure)
        return self._step(closure)

    # torch wraps every step() in hooks and a profiler range, which takes a tenth of a small model's step. Marked as
    # already wrapped, this one calls the wrapper itself only if there is a hook or a profiler.
    step.hooked = True  # type: ignore[attr-defined]

    def _step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
            self.observed_loss = self.observed_loss if loss is None else loss
        graded = torch.is_grad_enabled()
        set_grad_enabled(self.defaults.get("differentiable", False))
        observed: Undo = []
        try:
            if not self.skips():
                work = self._planned()
                for group in self.param_groups:
                    if getattr(group.get("warmup"), "observes", None):  # `observing`, without a call
                        observed = observe_last_step(self, work)
                        break
                self.take(work)
        except BaseException:
            undo(observed)
            raise
        finally:
            set_grad_enabled(graded)
            self.observed_loss = None  # which may hold a graph
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

    # torch.compile cannot trace the op, and would retrace the bookkeeping for every lr. Its graph ends before a step.
    @disable_dynamo
    def _untraced_step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        return self._hooked_step(closure) if type(self).step is BaseOptimizer.step else self._step(closure)

    def observe_loss(self, loss: Loss) -> None:
        """Pass the loss to a warmup that observes it, before the next step; not needed if that step has a closure."""
        self.observed_loss = loss

    def skips(self) -> bool:
        """Whether a GradScaler requires this step to be skipped."""
        return False

    def take(self, work: list[Work]) -> None:
        """Take the planned steps; everything that may raise is checked before any parameter changes."""
        for group, plan, found in work:
            if found:
                self.move(group, [as_real(here) for here in found])
            plan.advance()

    def move(self, group: Group, found: list[Found]) -> None:
        """Step the buckets of a group."""
        raise NotImplementedError

    def last_step(self, group: Group, here: Found) -> LastStep:
        """The last step of a bucket, for the slopes along it; for optimizers that are ``OBSERVABLE``."""
        raise NotImplementedError(f"{type(self).__name__} is OBSERVABLE without last_step(group, here): define it")

    def _planned(self) -> list[Work]:
        """The work of a step: each group with its plan and the tensors of its buckets."""
        olds = self._plans[: len(self.param_groups)]
        work = [self.plan(group, old) for group, old in zip_longest(self.param_groups, olds)]
        self._plans = [plan for _, plan, _ in work]
        return work

    def _forget_plans(self) -> None:
        self._plans = []
        self.captured: list[Any] = []  # what CUDA graphs of a step read

    def plan(self, group: Group, old: Plan | None) -> Work:
        """A group with its plan, rebuilt if the old one is no longer valid, and its tensors at this step."""
        options = self._depends_on(group)
        found = old.find(group["params"], self.state, options) if old is not None else None
        if old is not None and found is not None:
            return group, old, found
        self.check(group)  # what it depends on may have been set since
        plan = make_plan(self, group, old, options)
        log_fallback_reasons(self, group, plan.reasons)
        return group, plan, [bucket.note(group["params"], self.state) for bucket in plan.buckets]

    def _depends_on(self, group: Group) -> tuple[Any, ...]:
        """The option values that a group's plan depends on."""
        options = tuple(map(group.get, self.DEPENDS_ON))
        if not group.get("capturable"):
            return options
        # A changed tensor beta has another version, so its value need not be read.
        beta1, beta2 = (
            (x, version_of(x)) if isinstance(x, Tensor) else x for x in (group.get("betas", (0,))[0], self.beta2(group))
        )
        return *options, group.get("warmup"), beta2, beta1 if isinstance(beta1, tuple) else None

    def refuse(self, p: Tensor, entry: Mapping[str, Any], group: Group, whose: str) -> None:
        """Raise for a parameter that cannot be stepped."""
        if p.grad is not None and p.grad.is_sparse:
            name = type(self).__name__.replace("AdamW", "Adam")  # torch's wording
            raise RuntimeError(
                f"{whose} of shape {tuple(p.shape)} has a sparse gradient. {name} does not support sparse gradients, "
                "please consider SparseAdam instead, or make it dense (for an embedding: sparse=False)"
            )
        if p.grad is not None and overlaps(p):
            raise RuntimeError(
                f"{whose} of shape {tuple(p.shape)} has several elements at the same memory location (strides "
                f"{p.stride()}), so it cannot be stepped in place: pass the tensor that was expanded"
            )
        for name in self.STATES:
            if name in entry and entry[name].shape != self.state_shape(p, name):
                raise RuntimeError(
                    f"{whose} has shape {tuple(p.shape)}, but its {name} has {tuple(entry[name].shape)}: it was "
                    "resized after a step. Reset it with `del optimizer.state[parameter]`"
                )

    def kernels(self, group: int, t: int) -> tuple[str, ...]:
        """The names of the kernels that took step t of a group's parameters; empty without a plan."""
        buckets = self._plans[group].buckets if group < len(self._plans) else []
        return tuple(sorted({name_of(bucket.kernel) for bucket in buckets if bucket.t == t}))

    # Groups, copies, saves.

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group, with the constructor's options as defaults; an invalid group raises and changes nothing."""
        if isinstance(param_group, dict):
            self.check({**self.defaults, **self._fixed, **param_group})
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group.update({name: plain(x) for name, x in group.items() if name != "params"})
        for name, x in {**self._fixed, "omega": None}.items():
            group.setdefault(name, x)
        if observing(group.get("warmup")):
            group.setdefault(OBSERVED, ())

    def restart_warmup(self, group: int | None = None) -> None:
        """Restart the warmup of one group or of every group, for an lr restart, new data or fine-tuning.

        This resets moments and counts to 0. Both are necessary: a warmup is for a v that averages few gradients, and
        an old v with a count of 1 would get the wrong bias correction. Kahan compensation is part of the weights and
        stays.

        Args:
            group: index in ``param_groups``; ``None`` for all groups.

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
                if self.state.get(p):
                    self._restart(p, chosen)
            if OBSERVED in chosen:
                chosen[OBSERVED] = ()

    @torch.no_grad()
    def _restart(self, p: Tensor, group: Group) -> None:
        """Reset a parameter's state to that before its first step, in place, since a CUDA graph may refer to it."""
        new = self.new_state(p, group) if p.grad is not None else {}
        for name, x in self.state[p].items():
            if name != "compensation" and isinstance(x, Tensor):
                x.copy_(new[name]) if name in new else x.fill_(self.SCALARS.get(name, 0))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_fixed": self._fixed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled or copied state, which never includes plans."""
        self._forget_plans()
        super().__setstate__(state)
        takes = keywords(type(self))
        if takes is not None and "differentiable" not in takes:
            self.defaults.pop("differentiable", None)  # which torch puts there

    def state_dict(self) -> dict[str, Any]:
        """The state in torch.optim's format, with warmups as plain values, so that ``weights_only=True`` loads it.

        Counts are copies that own their memory. A warmup that is not from :mod:`rectified.warmup` cannot be saved like
        this and is left out; on load the constructor's warmup stays.
        """

        def make_plain(_: torch.optim.Optimizer, saved: dict[str, Any]) -> None:
            numbers = ("step", *self.SCALARS)
            saved["state"] = {
                key: {name: x.clone() if name in numbers else x for name, x in entry.items()}
                if isinstance(entry, dict)
                else entry
                for key, entry in saved["state"].items()
            }
            saved["param_groups"] = list(map(save_warmup, saved["param_groups"]))

        # Before the user's own post-hooks, so that they see what is saved.
        hook = self.register_state_dict_post_hook(make_plain, prepend=True)
        try:
            return super().state_dict()
        finally:
            hook.remove()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state saved here or by the torch.optim class of the same name.

        Options missing from the saved state keep this optimizer's values. Loaded tensors are copies. Everything is
        checked before anything is changed.

        Raises:
            ValueError: the saved state does not fit this optimizer; nothing is changed then.
        """
        for hook in self.hooks("load_state_dict_pre").values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        try:
            groups, state = read_save(self, state_dict)
        except ValueError:
            raise
        except Exception as error:
            problem = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"this is not a state of {type(self).__name__}: {problem}") from error
        self._forget_plans()
        self.param_groups, self.state = groups, defaultdict(dict, state)
        for hook in self.hooks("load_state_dict_post").values():
            hook(self)

    def adopt(self, options: Group) -> Group:
        """Convert the options of a saved group to those of this optimizer's groups."""
        if isinstance(options.get("warmup"), dict):
            options["warmup"] = from_plain(options["warmup"])
        return options

    def required_states(self) -> Sequence[str]:
        """The state names that a saved state must have to belong to this optimizer."""
        return ("step", *self.STATES)
