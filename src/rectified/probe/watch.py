"""Watching a run: the signals of Adam's steps on a log-spaced schedule, without changing the run."""

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..optim._torch import has_step_hooks
from ..optim.observe.feedback import after_closure
from ..optim.states.dtensor import is_sharded, whole
from ..optim.step.options import value_of
from .adam_state import (
    Factors,
    Watched,
    alike,
    as_sums,
    factors,
    inner_optimizer,
    products_before,
    reduced,
    sums_after,
    surprises_before,
    watched,
)
from .assumptions import Clipping, StepCheck
from .play.own_warmup import omega_function
from .probe_verdict import Verdict, verdict_of
from .signals import Observation, StepSums, signals
from .snapshot import Buffers, kept_generators

_CHECKED = 8  # observed steps that are compared with the moments
_PENDING = 256  # losses that may wait on a device before they are read


def is_observed(step: int) -> bool:
    """Whether a step is observed: each of the first 8, then two per doubling.

    >>> [step for step in range(1, 70) if is_observed(step)]
    [1, 2, 3, 4, 5, 6, 7, 8, 11, 16, 23, 32, 45, 64]
    """
    return step <= 8 or round(2 ** (round(2 * math.log2(step)) / 2)) == step


@dataclass
class _Open:
    """An observed step, until the next gradient completes it."""

    step: int
    beta1: float
    sums: dict[str, tuple[int, StepSums]]  # by tensor: its group and sums
    factor: float  # of the gradient before clipping over that of the step
    loss: float = math.nan
    loss_after: float = math.nan
    best_loss: float = math.inf


class Probe:
    r"""Watches a run with Adam, AdamW, RAdam or another torch optimizer that steps by Adam's moments.

    On a log-spaced schedule of steps it reads parameters, gradients and moments, and computes the signals of
    :class:`~rectified.probe.signals.Signals`. It changes nothing: a run with a probe is equal bit for bit to one
    without. It holds no tensor of the run's size.

    Args:
        optimizer: the optimizer, possibly inside a trainer's wrapper. FSDP2's sharded parameters are summed over ranks.
        model: the model. With it, a second loss leaves its buffers unchanged, such as BatchNorm's averages.
        steps: the number of steps of the run, for the advised length of a warmup.
        every: a function of the step that says whether to observe it. If None: each of the first 8, then
            two per doubling (11, 16, 23, 32, 45, 64, ...).

    Raises:
        TypeError: it is no optimizer, it keeps no moments like Adam's, or `every` is no function.
        ValueError: its steps cannot be observed, as those of a wrapper that skips torch's hooks; or `steps` is not
            positive.

    Warns:
        UserWarning: after a step, the optimizer has kept other moments than Adam's, as Lion and Adamax do, or its step
            was not theirs, as NAdam's and LAMB's. What rests on the step is NaN then.

    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    >>> probe = Probe(optimizer)
    >>> for _ in range(20):
    ...     loss = model(torch.ones(8, 2)).square().mean()
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    ...     probe.observe(loss)
    >>> metrics = probe.metrics()
    >>> int(metrics["probe/step"]), round(metrics["probe/lr"], 3)
    (16, 0.1)
    """

    def __init__(
        self,
        optimizer: Any,
        model: nn.Module | None = None,
        *,
        steps: int | None = None,
        every: Callable[[int], bool] | None = None,
    ) -> None:
        if steps is not None and steps < 1:
            raise ValueError(f"steps is {steps}; it must be the number of steps of the run, 1 or more")
        if every is not None and not callable(every):
            raise TypeError(f"every is {every!r}; it must be a function of the step, such as lambda t: t % 10 == 0")
        self.optimizer = inner_optimizer(optimizer)
        if not has_step_hooks(self.optimizer):
            raise ValueError(
                f"{type(self.optimizer).__name__} is a wrapper whose steps cannot be observed: probe the optimizer "
                "inside it"
            )
        self.history: list[Observation] = []
        self.losses: list[float] = []
        self.steps = steps
        self.full_lr = self._lr()  # the largest so far: a scheduler may change it
        self._model = model
        self._every = is_observed if every is None else every
        self._waiting: list[Tensor] = []  # losses on a device
        self._step = -1  # unknown until the first step
        self._open: _Open | None = None
        self._surprise: dict[str, float] = {}
        self._clipping = Clipping(self.optimizer)
        self._check = StepCheck()
        self._factor = 1.0
        self._best = math.inf
        self._skipped = self._unlike = self._due = False
        self._warned: set[str] = set()
        self._hooks = [
            self.optimizer.register_step_pre_hook(self._pre_hook),
            self.optimizer.register_step_post_hook(self._after),
        ]

    def close(self) -> None:
        """Stop watching. What was observed stays."""
        for hook in self._hooks:
            hook.remove()
        self._clipping.remove()

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def observe(
        self,
        loss: float | Tensor,
        again: Callable[[], float | Tensor] | None = None,
        *,
        grad_norm: float | Tensor | None = None,
    ) -> None:
        """Note the loss of the step that was just taken.

        Args:
            loss: the loss of the step's batch, computed before the step. A tensor on a GPU is read later, with others.
                If several processes train together, it should be the mean over them, and `again` likewise.
            again: computes the loss of the same batch once more, with the new parameters; called without gradients in
                the observed steps only, for the gain ratio. It should use the same random numbers for dropout; those
                that it draws do not change the run. Give the probe the model if it has buffers that move.
            grad_norm: the norm of all gradients before they were clipped, which ``clip_grad_norm_`` returns. Needed
                only if a GradScaler has unscaled them as well; otherwise clipping is measured.
        """
        if isinstance(loss, Tensor) and not loss.is_cpu:
            self._waiting.append(loss.detach().reshape(()))
            if len(self._waiting) >= _PENDING:
                self._read_losses()
        else:
            self._read_losses()
            self.losses.append(float(loss.detach() if isinstance(loss, Tensor) else loss))
        opened = self._open
        if opened is not None and opened.step == self._step and math.isnan(opened.loss):
            self._read_losses()
            opened.loss, opened.best_loss = self.losses[-1], self._best
            if grad_norm is not None:
                used = math.sqrt(sum(s.g2 for _, s in opened.sums.values()))
                if isinstance(grad_norm, Tensor) and is_sharded(grad_norm):
                    grad_norm = whole(grad_norm)
                opened.factor = float(grad_norm) / used if used else 1.0
            if again is not None:
                opened.loss_after = self._second_loss(again)
                if opened.loss_after == math.inf:  # there may be no next step
                    self._complete(opened, {})
                    self._open = None
        self._best = min([self._best, *self.losses[-1:]])

    def _second_loss(self, again: Callable[[], float | Tensor]) -> float:
        """The loss after the step; infinite if it is not a number."""
        buffers = None if self._model is None else Buffers(self._model)
        torch.clear_autocast_cache()  # which has the parameters before the step
        with kept_generators(), torch.no_grad():
            try:
                after = float(again())
            finally:
                if buffers is not None:
                    buffers.restore()
        return after if math.isfinite(after) else math.inf

    def metrics(self) -> dict[str, float]:
        """The signals of the last complete observation, for any logger; empty before the second step."""
        if not self.history:
            return {}
        last = self.history[-1]
        return {f"probe/{name}": float(value) for name, value in asdict(last.model).items()}

    def verdict(self) -> Verdict:
        """Whether the run needs a warmup, by what was observed so far.

        It rests on the gain ratios of the first steps, so pass ``again`` to :meth:`observe`. Without them it nearly
        always cannot tell.

        >>> model = torch.nn.Linear(4, 1)
        >>> optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        >>> probe, x = Probe(optimizer), torch.randn(64, 4)
        >>> for _ in range(10):
        ...     loss = model(x).square().mean()
        ...     optimizer.zero_grad()
        ...     loss.backward()
        ...     optimizer.step()
        ...     probe.observe(loss, again=lambda: model(x).square().mean())
        >>> probe.verdict().answer
        'not needed'
        """
        found = verdict_of(self.history, self.full_lr, self.steps)
        if self._unlike and math.isnan(found.reach):
            why = f"a step of {type(self.optimizer).__name__} is not that of Adam's moments, so its gain is unknown"
            return Verdict("cannot tell", why)
        return found

    def write(self, folder: str | Path, title: str = "") -> Path:
        """Write probe.html, probe.json, signals.csv and a TensorBoard file into a folder; return the page's path.

        It needs the extra ``study``.

        Raises:
            ValueError: no complete step was observed yet.
        """
        from .report import write_files

        return write_files(Path(folder), self, self.verdict(), title=title)

    # Hooks around the optimizer's step.

    def _pre_hook(self, optimizer: torch.optim.Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Before a step: if a closure makes the gradients, look right after it; else now."""
        replaced = after_closure(optimizer, args, kwargs, lambda loss: self._before())
        if replaced is None:
            self._before()
        return replaced

    def _before(self) -> None:
        """Gradients are there, moments have not moved."""
        found_inf = self.optimizer.__dict__.get("found_inf")
        self._skipped = isinstance(found_inf, Tensor) and bool(found_inf)
        if self._skipped:
            return
        if self._step < 0:
            self._step = max((one.t for one in watched(self.optimizer)), default=0)
            self._due = self._every(self._step + 1)
        if self._due or self._open is not None:
            self._look_before()

    @torch.no_grad()
    def _look_before(self) -> None:
        """What the last step did to the gradient, and what the next one will begin with."""
        scale = self.optimizer.__dict__.get("grad_scale")
        scale = float(scale) if isinstance(scale, Tensor) else 1.0
        self._factor = self._clipping.factor()
        stepped = [
            (several, self._factors(several[0])) for several in alike(x for x in watched(self.optimizer) if x.t > 0)
        ]
        if self._open is not None:
            following: dict[str, list[float]] = {}
            for several, f in stepped:
                rows = reduced(products_before(several, f), several) * (self._factor / scale)
                following.update(zip([one.name for one in several], rows.tolist(), strict=True))
            self._complete(self._open, following)
            self._open = None
        if self._due:
            self._surprise = {}
            for several, f in stepped:
                largest = reduced(surprises_before(several, f), several, largest=True) / scale**2
                self._surprise.update(zip([one.name for one in several], largest.tolist(), strict=True))
            if len(self.history) < _CHECKED:
                self._check.before(self.optimizer)

    def _after(self, *_: Any) -> None:
        """The step was taken."""
        if self._skipped or self._step < 0:
            return
        self._step += 1
        if self._due:
            self._look_after()
        self._due = self._every(self._step + 1)
        self._clipping.is_due = self._due or self._open is not None

    @torch.no_grad()
    def _look_after(self) -> None:
        """What the step was."""
        self.full_lr = max(self.full_lr, self._lr())
        found = [(several, self._factors(several[0])) for several in alike(watched(self.optimizer))]
        if not found:
            self._warn("nothing", self._nothing())
            return
        if not self._check.is_like((one, f) for several, f in found for one in several):
            self._unlike = True
            name = type(self.optimizer).__name__
            what = f"step {self._step} of {name} is not that of Adam's moments: signals that rest on it are NaN"
            self._warn("unlike", what)
        sums: dict[str, tuple[int, StepSums]] = {}
        for several, f in found:
            rows = reduced(sums_after(several, f), several).tolist()
            for one, row in zip(several, rows, strict=True):
                one_sums = as_sums(one, replace(f, a=math.nan) if self._unlike else f, row)
                surprise = self._surprise.get(one.name, math.nan)
                sums[one.name] = one.group, replace(one_sums, surprise=surprise)
        beta1 = value_of(self.optimizer.param_groups[0]["betas"][0])
        self._open = _Open(self._step, beta1, sums, self._factor)

    def _nothing(self) -> str:
        """Why nothing is observed in a step."""
        name, groups = type(self.optimizer).__name__, self.optimizer.param_groups
        if all(p.grad is None for group in groups for p in group["params"]):
            return f"no parameter of {name} has a gradient at its step, as with steps in backward: nothing is observed"
        kept = sorted({str(key) for state in self.optimizer.state.values() for key in state})
        return (
            f"a probe reads exp_avg and exp_avg_sq of dense gradients, and {name} keeps "
            f"{', '.join(kept) or 'no state'}: nothing is observed"
        )

    def _warn(self, kind: str, message: str) -> None:
        """Warn once of each kind."""
        if kind not in self._warned:
            self._warned.add(kind)
            warnings.warn(message, stacklevel=2)

    def _lr(self) -> float:
        """The largest lr of all groups, also one that a schedule has yet to reach."""
        names = ("lr", "initial_lr", "max_lr")
        return max(value_of(group[name]) for group in self.optimizer.param_groups for name in names if name in group)

    def _factors(self, one: Watched) -> Factors:
        return factors(self.optimizer, one.group, max(one.t, 1), omega_function(self.optimizer, one.group))

    def _complete(self, opened: _Open, following: dict[str, list[float]]) -> None:
        """Record an observation, given <g_(t+1), d_t> and <g_(t+1), theta_t> of each tensor, once they are known."""
        if math.isnan(opened.factor) and not math.isnan(opened.loss_after):
            self._warn(
                "clipping",
                "gradients were both unscaled and clipped before the step, and a probe cannot measure which part was "
                "clipping: pass the norm that clip_grad_norm_ returns as observe(..., grad_norm=norm)",
            )
        unknown = [math.nan, math.nan]
        found: dict[str, tuple[int, StepSums]] = {}
        for name, (group, s) in opened.sums.items():
            next_g_d, next_g_theta = following.get(name, unknown)
            slopes = {"g_d": opened.factor * s.g_d, "g_theta": opened.factor * s.g_theta}
            found[name] = group, replace(s, **slopes, next_g_d=next_g_d, next_g_theta=next_g_theta)
        whole = signals([s for _, s in found.values()], opened.step, opened.loss, opened.loss_after, opened.beta1)
        self.history.append(Observation(whole, opened.best_loss, found, opened.beta1))

    def _read_losses(self) -> None:
        if self._waiting:
            self.losses += torch.stack(self._waiting).tolist()
            self._waiting.clear()
