"""Watching a run: the signals of Adam's steps on a log-spaced schedule, without changing the run."""

import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..optim._torch import has_step_hooks
from ..optim.step.options import value_of
from .adam_state import (
    Factors,
    Watched,
    alike,
    as_sums,
    factors,
    inner_optimizer,
    reduced,
    sums_after,
    sums_before,
    watched,
)
from .play.own_warmup import omega_function
from .signals import Observation, StepSums, signals
from .verdict import Verdict, verdict_of

_PER_OCTAVE = 4
_PENDING = 256  # losses that may wait on a device before they are read


def is_observed(step: int) -> bool:
    """Whether a step is observed: all of the first 5, then about four per doubling.

    >>> [step for step in range(1, 70) if is_observed(step)]
    [1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 19, 23, 27, 32, 38, 45, 54, 64]
    """
    nearest = round(_PER_OCTAVE * math.log2(step))
    return any(round(2 ** (k / _PER_OCTAVE)) == step for k in (nearest - 1, nearest, nearest + 1))


@dataclass
class _Open:
    """An observed step, until the next gradient completes it."""

    step: int
    beta1: float
    sums: dict[str, tuple[int, StepSums]]  # by tensor: its group and sums
    loss: float = math.nan
    loss_after: float = math.nan
    best_loss: float = math.inf


class Probe:
    r"""Watches a run with Adam, AdamW, RAdam or another torch optimizer that keeps Adam's moments.

    On a log-spaced schedule of steps it reads parameters, gradients and moments, and computes the signals of
    :class:`~rectified.probe.signals.Signals`. It changes nothing: a run with a probe is equal bit for bit to one
    without. It holds no tensor of the run's size.

    Args:
        optimizer: the optimizer, possibly inside a trainer's wrapper. FSDP2's sharded parameters are summed over ranks.
        steps: the number of steps of the run, for the advised length of a warmup.
        every: a function of the step that says whether to observe it. If None: the first 5, then
            about four per doubling (1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 13, 16, 19, 23, 27, 32, 38, ...).

    Raises:
        TypeError: the optimizer keeps no moments like Adam's.
        ValueError: its steps cannot be observed, as those of a wrapper that skips torch's hooks.

    Warns:
        UserWarning: after a step, the optimizer has kept other moments than Adam's, as Lion and Adamax do.

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
    (19, 0.1)
    """

    def __init__(self, optimizer: Any, *, steps: int | None = None, every: Callable[[int], bool] | None = None) -> None:
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
        self._every = is_observed if every is None else every
        self._waiting: list[Tensor] = []  # losses on a device
        self._step = -1  # unknown until the first step
        self._open: _Open | None = None
        self._surprise: dict[str, float] = {}
        self._scale = 1.0
        self._best = math.inf
        self._skipped = self._warned = False
        self._hooks = [
            self.optimizer.register_step_pre_hook(self._pre_hook),
            self.optimizer.register_step_post_hook(self._after),
        ]

    def close(self) -> None:
        """Stop watching. What was observed stays."""
        for hook in self._hooks:
            hook.remove()

    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def observe(self, loss: float | Tensor, again: Callable[[], float | Tensor] | None = None) -> None:
        """Note the loss of the step that was just taken.

        Args:
            loss: the loss of the step's batch, computed before the step. A tensor on a GPU is read later, with others.
                If several processes train together, it should be the mean over them, and `again` likewise.
            again: computes the loss of the same batch once more, with the new parameters; called without gradients in
                the observed steps only, for the gain ratio. It must not change buffers, and should use the same
                random numbers for dropout. Random numbers that it draws do not change the run.
        """
        if isinstance(loss, Tensor):
            self._waiting.append(loss.detach().reshape(()))
            if loss.is_cpu or len(self._waiting) >= _PENDING:
                self._read_losses()
        else:
            self._read_losses()
            self.losses.append(float(loss))
        if self._open is not None and self._open.step == self._step and math.isnan(self._open.loss):
            self._read_losses()
            self._open.loss, self._open.best_loss = self.losses[-1], self._best
            if again is not None:
                devices = [
                    x for x in {p.device for g in self.optimizer.param_groups for p in g["params"]} if x.type == "cuda"
                ]
                with torch.random.fork_rng(devices=devices), torch.no_grad():
                    after = float(again())
                self._open.loss_after = math.inf if math.isnan(after) else after
        self._best = min([self._best, *self.losses[-1:]])

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
        return verdict_of(self.history, self.full_lr, self.steps)

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
        closure = kwargs.get("closure") or (
            args[1] if len(args) > 1 and args[0] is optimizer else next(iter(args), None)
        )
        if not callable(closure):
            self._before()
            return None

        def observed() -> Any:
            loss = closure()
            self._before()
            return loss

        if "closure" in kwargs:
            return args, {**kwargs, "closure": observed}
        return (*(args[:-1]), observed), kwargs

    @torch.no_grad()
    def _before(self) -> None:
        """Gradients are there, moments have not moved."""
        given = self.optimizer.__dict__
        found_inf, scale = given.get("found_inf"), given.get("grad_scale")
        self._skipped = isinstance(found_inf, Tensor) and bool(found_inf)
        if self._skipped:
            return
        if self._step < 0:
            self._step = max((one.t for one in watched(self.optimizer)), default=0)
        opened, due = self._open, self._every(self._step + 1)
        if opened is None and not due:
            return
        self._scale = float(scale) if isinstance(scale, Tensor) else 1.0
        names: list[str] = []
        dots, maxima = [], []
        for several in alike(one for one in watched(self.optimizer) if one.t > 0):
            gains, largest = sums_before(several, self._factors(several[0]))
            names += [one.name for one in several]
            dots.append(reduced(gains, several).cpu())
            maxima.append(reduced(largest, several, largest=True).cpu())
        found = torch.cat([*dots, *maxima]).tolist() if names else []
        self._surprise = {n: x / self._scale**2 for n, x in zip(names, found[len(names) :], strict=True)}
        if opened is not None:
            self._complete(opened, {n: x / self._scale for n, x in zip(names, found, strict=False)})
            self._open = None

    @torch.no_grad()
    def _after(self, *_: Any) -> None:
        """The step was taken."""
        if self._skipped or self._step < 0:
            return
        self._step += 1
        if not self._every(self._step):
            return
        self.full_lr = max(self.full_lr, self._lr())
        sums: dict[str, tuple[int, StepSums]] = {}
        for several in alike(watched(self.optimizer)):
            f = self._factors(several[0])
            rows = reduced(sums_after(several, f), several).tolist()
            for one, row in zip(several, rows, strict=True):
                surprise = self._surprise.get(one.name, math.nan)
                sums[one.name] = one.group, replace(as_sums(one, f, row), surprise=surprise)
        if not sums:
            self._warn_of_nothing()
            return
        beta1 = float(self.optimizer.param_groups[0]["betas"][0])
        self._open = _Open(self._step, beta1, sums)

    def _warn_of_nothing(self) -> None:
        """Say once that the optimizer keeps other moments than Adam's, where it took a step."""
        groups = self.optimizer.param_groups
        if self._warned or all(p.grad is None for group in groups for p in group["params"]):
            return
        self._warned = True
        kept = sorted({str(key) for state in self.optimizer.state.values() for key in state})
        warnings.warn(
            f"a probe reads exp_avg and exp_avg_sq, and {type(self.optimizer).__name__} keeps "
            f"{', '.join(kept) or 'no state'}: nothing is observed",
            stacklevel=2,
        )

    def _lr(self) -> float:
        return max(value_of(group["lr"]) for group in self.optimizer.param_groups)

    def _factors(self, one: Watched) -> Factors:
        return factors(self.optimizer, one.group, max(one.t, 1), omega_function(self.optimizer, one.group))

    def _complete(self, opened: _Open, next_g_d: dict[str, float]) -> None:
        """Record an observation, now that the next gradient is known."""
        tensors, groups = {}, {}
        sums = {
            name: (group, replace(s, next_g_d=next_g_d.get(name, math.nan))) for name, (group, s) in opened.sums.items()
        }
        at = (opened.step, opened.loss, opened.loss_after, opened.beta1)
        for name, (_, s) in sums.items():
            tensors[name] = signals(s, opened.step, beta1=opened.beta1)
        for group in dict.fromkeys(group for group, _ in sums.values()):
            members = [s for other, s in sums.values() if other == group]
            groups[group] = signals(StepSums.total(members), opened.step, beta1=opened.beta1)
        whole = signals(StepSums.total([s for _, s in sums.values()]), *at)
        self.history.append(Observation(whole, groups, tensors, opened.best_loss))

    def _read_losses(self) -> None:
        if self._waiting:
            self.losses += torch.stack(self._waiting).tolist()
            self._waiting.clear()
