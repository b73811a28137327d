"""What every optimizer here shares: groups, state, saving and loading, hooks, refusals."""

import inspect
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from functools import cache
from itertools import zip_longest
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.optim.optimizer import ParamsT

from ..warmup import KINDS, Warmup, from_plain, to_plain
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
from .step.capturable import Row, Schedule
from .step.clock import Clock, number_in, refuse_count
from .step.dtensor import local, shards_alike
from .step.kernels import Kernel, alike, foreach, fused, overlaps, why_not_fused
from .step.options import Group, check_options, check_paths, check_warmup
from .step.plan import Bucket, Found, Plan
from .step.state import following
from .step.update import omega_of
from .step.warn import tell_fallback_reasons

Loss = float | Tensor
Work = tuple[Group, Plan, list[Found]]

# So that torch.load(weights_only=True) takes a save that holds warmups as they are, which others' code may write.
torch.serialization.add_safe_globals(list(KINDS))


class BaseOptimizer(Optimizer):
    """An optimizer whose parameters each count their own steps; a subclass names its states and takes the step.

    What a subclass defines: ``STATES``, its constructor, :meth:`check` for options of its own, and either
    :meth:`numbers` and :meth:`update`, or :meth:`move` for what is once a group.
    """

    STATES: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors like the parameter in its state, 0 at first."""
    SCALARS: ClassVar[dict[str, float]] = {}
    """Further numbers in a parameter's state, beside its step, and what they are at first."""
    ELEMENTWISE: ClassVar[bool] = True
    """Whether no element's step depends on another's, so that each rank may step its own shards of a DTensor."""
    DEPENDS_ON: ClassVar[tuple[str, ...]] = ("foreach", "fused", "differentiable", "capturable")
    """Options that decide about states and kernels: the plan is made anew where one changes."""

    _plans: list[Plan]

    def __init__(self, params: ParamsT, options: dict[str, Any]) -> None:
        takes = _keywords(type(self))
        # `defaults` are what the constructor takes, so that type(o)(params, **o.defaults) is another such optimizer.
        self._fixed = {} if takes is None else {name: x for name, x in options.items() if name not in takes}
        self._forget_plans()
        self.check({**options, **self._fixed})
        super().__init__(params, {name: x for name, x in options.items() if name not in self._fixed})

    # What a group asks for.

    def check(self, group: Group) -> None:
        """Raise for an option that no step could use."""
        check_options(group)
        check_paths(group)
        check_warmup(self.given_warmup(group), self.beta2(group))

    def given_warmup(self, group: Group) -> Any:
        """The group's warmup as it was given; None is none."""
        return group.get("warmup")

    def beta2(self, group: Group) -> Any:
        """The decay rate of the second moment, of which the warmup is a function; NaN where there is none."""
        return group["betas"][1] if "betas" in group else float("nan")

    def warmup(self, group: Group) -> Warmup | None:
        """The group's warmup; None is none."""
        given = self.given_warmup(group)
        return given if given is None or isinstance(given, Warmup) else check_warmup(given, self.beta2(group))

    def omega(self, group: Group, t: int) -> float:
        """The warmup's factor for step t."""
        return omega_of(self.warmup(group), t, float(self.beta2(group)))

    def has_momentum_step(self, group: Group, t: int) -> bool:
        """Whether step t, at which omega is 0, moves the parameters by lr * m_hat; else they stand still."""
        return False

    def state_names(self, p: Tensor, group: Group) -> Sequence[str]:
        """Those of STATES that this parameter has in this group."""
        return self.STATES

    def state_dtype(self, p: Tensor, group: Group, name: str) -> torch.dtype:
        """The dtype of a state of the parameter."""
        return p.dtype

    def row(self, group: Group) -> Row:
        """With capturable: what is tabled for each count."""
        raise NotImplementedError(f"{type(self).__name__} has no capturable")

    def new_state(self, p: Tensor, group: Group) -> dict[str, Tensor]:
        """States of a parameter with its first gradient that do not begin at 0."""
        return {}

    def kernel(self, group: Group, theta: Tensor, grad: Tensor, states: TensorList, reasons: set[str]) -> Kernel:
        """How a parameter is to be stepped; adds to `reasons` why the fused op may not, where that is worth a word."""
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
            RuntimeError: a gradient is sparse, or a parameter cannot be stepped. Nothing has moved then.
        """
        if torch.compiler.is_compiling():
            return self._untraced_step(closure)
        if self._is_watched() and type(self).step is BaseOptimizer.step:  # torch wraps a subclass's own step
            return self._hooked_step(closure)
        return self._step(closure)

    # torch wraps every step() in hooks and a profiler range, a tenth of a small model's step. Marked as wrapped, it
    # is left alone, and calls the wrapper itself where there is a hook or a profiler to serve.
    step.hooked = True  # type: ignore[attr-defined]

    def _is_watched(self) -> bool:
        return bool(
            self._optimizer_step_pre_hooks
            or self._optimizer_step_post_hooks
            or global_pre_hooks
            or global_post_hooks
            or profiler_enabled()
        )

    def _step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        graded = torch.is_grad_enabled()
        set_grad_enabled(self.defaults.get("differentiable", False))
        try:
            if not self.skips():
                self.take(self._planned())
        finally:
            set_grad_enabled(graded)
        return loss

    _hooked_step = Optimizer.profile_hook_step(_step)

    # torch.compile cannot trace the op, and would trace the bookkeeping for every lr. Its graph ends before a step.
    @disable_dynamo
    def _untraced_step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        return self._hooked_step(closure) if type(self).step is BaseOptimizer.step else self._step(closure)

    def skips(self) -> bool:
        """Whether a GradScaler asks this step to do nothing."""
        return False

    def take(self, work: list[Work]) -> None:
        """Step what is planned; whatever can be refused is found out before anything moves."""
        for group, plan, found in work:
            if found:
                self.move(group, [as_real(here) for here in found])
            plan.advance()

    def move(self, group: Group, found: list[Found]) -> None:
        """Step the buckets of a group."""
        raise NotImplementedError

    def _planned(self) -> list[Work]:
        """Each group with its plan and the tensors of its buckets."""
        olds = self._plans[: len(self.param_groups)]
        work = [self.plan(group, old) for group, old in zip_longest(self.param_groups, olds)]
        self._plans = [plan for _, plan, _ in work]
        return work

    def _forget_plans(self) -> None:
        self._plans = []

    def plan(self, group: Group, old: Plan | None) -> Work:
        """The group with its plan, remade where the old one no longer holds, and with its tensors at this step."""
        options = self._depends_on(group)
        found = old.find(group["params"], self.state, options) if old is not None else None
        if old is not None and found is not None:
            return group, old, found
        plan = self._made(group, old, options)
        tell_fallback_reasons(self, group, plan.reasons)
        return group, plan, [bucket.note(group["params"], self.state) for bucket in plan.buckets]

    def _depends_on(self, group: Group) -> tuple[Any, ...]:
        """What of the group's options the plan rests on."""
        options = tuple(map(group.get, self.DEPENDS_ON))
        if not group.get("capturable"):
            return options
        # A tensor beta that is written to has another version: no value is read.
        beta1, beta2 = (
            (x, version_of(x)) if isinstance(x, Tensor) else x for x in (group.get("betas", (0,))[0], self.beta2(group))
        )
        return *options, self.given_warmup(group), beta2, beta1 if isinstance(beta1, tuple) else None

    def _made(self, group: Group, old: Plan | None, options: tuple[Any, ...]) -> Plan:
        """A new plan. It writes nothing but the states of parameters that have their first gradient."""
        params: list[Tensor] = group["params"]
        for i, p in enumerate(params):
            self.refuse(p, self.state.get(p, {}), group, f"parameter {i}")
        clocks, keys = self._create_state(group, old)
        plan = Plan([], [i for i, p in enumerate(params) if p.grad is None], params, options, clocks, {})
        found: dict[Any, list[int]] = {}
        seen: dict[Tensor, int] = {}
        times = Counter(params)
        for i, p in enumerate(params):
            if p.grad is None:
                continue
            again = seen[p] = seen.get(p, -1) + 1  # a parameter that is listed twice steps twice, one after the other
            names = self.state_names(p, group)
            states = [self.state[p][name] for name in names]
            sharded = self.ELEMENTWISE and shards_alike(p, [p.grad, *states])
            theta, grad, *states = map(local, (p, p.grad, *states)) if sharded else (p, p.grad, *states)
            reasons: set[str] = set()
            kernel = self.kernel(group, theta, grad, states, reasons)
            for reason in reasons:
                plan.reasons.setdefault(reason, i)
            key = again, times[p], keys[p], kernel, sharded, p.device, p.dtype, tuple(names)
            found.setdefault(key, []).append(i)
        for (again, n, (count, *scalars), kernel, sharded, *_, names), indices in found.items():
            positions = [self.STATES.index(name) for name in names]
            at = None if len(indices) == len(params) else indices
            bucket = Bucket(int(count) + again, kernel, at, names, positions, len(self.STATES), sharded)
            bucket.scalars, bucket.again, bucket.times = scalars, again, n
            plan.buckets.append(bucket)
        if group.get("capturable"):
            # A tensor beta is read here, and not at a step.
            plan.betas = tuple(map(float, group.get("betas", ())))
            given, seen_as, beta2 = self.given_warmup(group), self.warmup(group), float(self.beta2(group))
            for device in clocks:
                known = old.schedules.get(device) if old is not None else None
                fits = known is not None and (known.warmup, known.beta2) == (given, beta2)
                plan.schedules[device] = known if fits else Schedule(self.row(group), given, seen_as, beta2, device)
        plan.buckets.sort(key=lambda bucket: (bucket.again, -bucket.t))
        return plan

    def _create_state(self, group: Group, old: Plan | None) -> tuple[dict[torch.device, Clock], dict[Tensor, Any]]:
        """Give every parameter with a gradient its state: the one place where states are made, and made to fit.

        Returns:
            The group's clocks by device, and of each parameter its count with its further SCALARS.
        """
        params: list[Tensor] = group["params"]
        for p in dict.fromkeys(params):
            if p.grad is None:
                continue
            entry = self.state[p]
            if not entry:
                entry.update(
                    {"step": 0.0, **self.SCALARS, **self.new_state(p, group)}
                )  # numbers until the clock adopts
            for name in self.state_names(p, group):
                entry[name] = following(p, entry.get(name), self.state_dtype(p, group, name))
        times = Counter(p for p in params if p.grad is not None)
        first = {p: i for i, p in reversed(list(enumerate(params)))}  # a parameter that is listed twice counts there
        on = [p.device if group.get("capturable") else torch.device("cpu") for p in params]
        clocks: dict[torch.device, Clock] = {}
        keys: dict[Tensor, Any] = {}
        for device in dict.fromkeys(on):
            mine = [here == device and first[p] == i for i, (p, here) in enumerate(zip(params, on, strict=True))]
            entries = [(self.state.get(p) or None) if m else None for p, m in zip(params, mine, strict=True)]
            clock = old.clocks.get(device) if old is not None and old.is_for(params) else None
            clocks[device] = clock = clock or Clock(len(params), device, self.SCALARS)
            counts = clock.adopt(entries)
            clock.note_present([times[p] * m for p, m in zip(params, mine, strict=True)])
            others = [scalars.adopt(entries) for scalars in clock.others.values()]
            for i, p in enumerate(params):
                if mine[i]:
                    keys[p] = counts[i], *(column[i] for column in others)
        return clocks, keys

    def refuse(self, p: Tensor, entry: Mapping[str, Any], group: Group, whose: str) -> None:
        """Raise for a parameter with which no step can be taken."""
        if p.grad is not None and p.grad.is_sparse:
            name = type(self).__name__.replace("AdamW", "Adam")  # torch's words
            raise RuntimeError(
                f"{whose} of shape {tuple(p.shape)} has a sparse gradient. {name} does not support sparse gradients, "
                "please consider SparseAdam instead, or make it dense (for an embedding: sparse=False)"
            )
        if p.grad is not None and overlaps(p):
            raise RuntimeError(
                f"{whose} of shape {tuple(p.shape)} has several elements at one place of memory (strides "
                f"{p.stride()}), so that no step in place exists: give the optimizer the tensor that was expanded"
            )
        for name in self.STATES:
            if name in entry and entry[name].shape != p.shape:
                raise RuntimeError(
                    f"{whose} has shape {tuple(p.shape)}, but its {name} has {tuple(entry[name].shape)}: it was "
                    "resized after it had stepped. Begin it afresh with `del optimizer.state[parameter]`"
                )

    # Groups, copies, saves.

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; its missing options are the constructor's. Raises as the constructor does, changing nothing."""
        if isinstance(param_group, dict):
            self.check({**self.defaults, **self._fixed, **param_group})
        super().add_param_group(param_group)
        for name, x in {**self._fixed, "omega": None}.items():
            self.param_groups[-1].setdefault(name, x)

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
                if self.state.get(p):
                    self._restart(p, chosen)

    @torch.no_grad()
    def _restart(self, p: Tensor, group: Group) -> None:
        """Make a parameter's state what it was before its first step, in place: a CUDA graph may hold it."""
        new = self.new_state(p, group) if p.grad is not None else {}
        for name, x in self.state[p].items():
            if name != "compensation" and isinstance(x, Tensor):
                x.copy_(new[name]) if name in new else x.fill_(self.SCALARS.get(name, 0))

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_fixed": self._fixed}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over a pickled or copied state. Plans are never part of one."""
        self._forget_plans()
        super().__setstate__(state)
        takes = _keywords(type(self))
        if takes is not None and "differentiable" not in takes:
            self.defaults.pop("differentiable", None)  # which torch puts there

    def state_dict(self) -> dict[str, Any]:
        """The state in torch.optim's own format; warmups as plain values, so that ``weights_only=True`` loads it.

        Counts are copies: each owns its memory. A warmup that is not of :mod:`rectified.warmup` cannot be saved so and
        is left out; on load the constructor's stays.
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

        # Before the user's own post-hooks, which then have in hand what is saved.
        hook = self.register_state_dict_post_hook(make_plain, prepend=True)
        try:
            return super().state_dict()
        finally:
            hook.remove()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state saved here or by the torch.optim class of the same name.

        Options that the save lacks keep this optimizer's values. The loaded tensors are copies. Everything is read and
        checked before anything is changed.

        Raises:
            ValueError: the save does not fit this optimizer; nothing is changed then.
        """
        for hook in self.hooks("load_state_dict_pre").values():
            replaced = hook(self, state_dict)
            state_dict = state_dict if replaced is None else replaced
        try:
            groups, state = self._loaded(state_dict)
        except ValueError:
            raise
        except Exception as error:
            problem = f"it lacks {error}" if isinstance(error, KeyError) else error
            raise ValueError(f"this is no state of {type(self).__name__}: {problem}") from error
        self._forget_plans()
        self.param_groups, self.state = groups, defaultdict(dict, state)
        for hook in self.hooks("load_state_dict_post").values():
            hook(self)

    def _loaded(self, state_dict: dict[str, Any]) -> tuple[list[Group], dict[Any, Any]]:
        """The groups and states of a save, as this optimizer would have them."""
        saved_groups, saved_state = state_dict["param_groups"], state_dict["state"]
        if len(saved_groups) != len(self.param_groups):
            raise ValueError("loaded state dict has a different number of parameter groups")
        known = {"params", "param_names", "warmup", "omega", *self.defaults, *self._fixed}
        groups: list[Group] = []
        keys: dict[Any, Tensor] = {}
        for ours, saved in zip(self.param_groups, saved_groups, strict=True):
            if len(ours["params"]) != len(saved["params"]):
                raise ValueError(
                    "loaded state dict contains a parameter group that doesn't match the size of optimizer's group"
                )
            keys.update(zip(saved["params"], ours["params"], strict=True))
            options = {name: deepcopy(x) for name, x in saved.items() if name not in ("params", "param_names")}
            rest = {name: x for name, x in ours.items() if name in known and name not in options}
            group = {**rest, **self.adopt(options)}
            self.check(group)
            groups.append(group)
        names = {
            p: name for group in groups for p, name in zip(group["params"], group.get("param_names", ()), strict=False)
        }
        state: dict[Any, Any] = {}
        for key, entry in saved_state.items():
            p = keys.get(key)
            state[key if p is None else p] = (
                deepcopy(entry) if p is None else self._loaded_entry(p, entry, names.get(p, f"parameter {key}"))
            )
        return groups, state

    def adopt(self, options: Group) -> Group:
        """The options of a saved group, as this optimizer's own groups have them."""
        if isinstance(options.get("warmup"), dict):
            options["warmup"] = from_plain(options["warmup"])
        return options

    def _loaded_entry(self, p: Tensor, entry: Any, whose: str) -> dict[str, Any]:
        """A copy of a parameter's saved state.

        Raises:
            ValueError: it is not this optimizer's, does not fit the parameter, or cannot be copied.
        """
        if not isinstance(entry, Mapping):
            raise ValueError(f"the saved state of {whose} is {entry!r}; it must be a dict")
        *first, last = self.required_states()
        if entry and not {*first, last} <= entry.keys():
            raise ValueError(
                f"the saved state of {whose} has {', '.join(map(str, entry))}, but not all of {', '.join(first)} and "
                f"{last}: it is another optimizer's"
            )
        own = {}
        for name, x in entry.items():
            if name in self.STATES:
                if not isinstance(x, Tensor):
                    raise ValueError(f"the saved {name} of {whose} is {x!r}; it must be a tensor")
                if x.layout is not torch.strided or x.is_complex() != p.is_complex():
                    raise ValueError(f"the saved {name} of {whose} is {x.layout}, {x.dtype}; its parameter {p.dtype}")
                if x.shape != p.shape:
                    raise ValueError(
                        f"the saved {name} of {whose} has shape {tuple(x.shape)}, but its parameter {tuple(p.shape)}: "
                        "the state is of another model, or its parameters are in another order"
                    )
            elif name == "step" or name in self.SCALARS:
                if isinstance(x, Tensor) and x.numel() != 1:
                    raise ValueError(f"the saved {name} of {whose} has shape {tuple(x.shape)}; it must be one number")
                if not isinstance(x, Tensor):  # older saves have a plain number
                    x = torch.tensor(float(x), dtype=torch.float64 if name in self.SCALARS else torch.float32)
                if name == "step":
                    refuse_count(number_in(x), whose, ValueError)
            own[name] = _copy(x, p.device if name in self.STATES else None, f"{name} of {whose}")
        return own

    def required_states(self) -> Sequence[str]:
        """The names without which a saved state is not this optimizer's."""
        return ("step", *self.STATES)


def save_warmup(group: Group) -> Group:
    """A saved group with its warmup as plain values; without it if it is not ours, which no checkpoint can hold."""
    warmup = group.get("warmup")
    if warmup is None:
        return group
    plain = to_plain(warmup)
    rest = {name: x for name, x in group.items() if name != "warmup"}
    return rest if plain is None else {**rest, "warmup": plain}


def _copy(x: Any, device: torch.device | None, what: str) -> Any:
    """A copy of a saved value, on that device.

    Raises:
        ValueError: it cannot be copied, as some of torchao's tensors cannot.
    """
    if not isinstance(x, Tensor):
        return deepcopy(x)
    try:
        moved = x if device is None else x.to(device=device)
        return moved.clone() if moved is x else moved
    except Exception as error:
        raise ValueError(f"the saved {what} is a {type(x).__name__} that cannot be copied: {error}") from error


def _find_keywords(kind: type) -> frozenset[str] | None:
    """The arguments that a constructor takes; None where it takes any."""
    parameters = inspect.signature(kind.__init__).parameters.values()  # type: ignore[misc]
    if any(x.kind is x.VAR_KEYWORD for x in parameters):
        return None
    return frozenset(x.name for x in parameters)


# Not as a decorator: mypy holds a class whose instances can be hashed for one that itself cannot.
_keywords: Callable[[type], frozenset[str] | None] = cache(_find_keywords)


def as_real(found: Found) -> Found:
    """Complex tensors as pairs of reals."""
    if not found.params[0].is_complex():
        return found
    return found._replace(params=real(found.params), grads=real(found.grads), states=list(map(real, found.states)))


def real(xs: Iterable[Tensor]) -> list[Tensor]:
    """Views of complex tensors as pairs of reals; others as they are."""
    return [torch.view_as_real(x.resolve_conj()) if x.is_complex() else x for x in xs]
