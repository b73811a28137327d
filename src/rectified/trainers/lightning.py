"""Lightning: a check of the warmup at the start; omega and the effective lr in the Trainer's loggers."""

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

try:
    from lightning.pytorch import Callback
    from lightning.pytorch.callbacks import GradientAccumulationScheduler
except ModuleNotFoundError:  # the same framework under its older name
    from pytorch_lightning import Callback
    from pytorch_lightning.callbacks import GradientAccumulationScheduler

from ..optim.wrap.compat import unwrapped
from ..probe import Finding
from ..probe.finding import Severity
from .checking import Paced, as_severity, findings_of, report, unchecked, whole_steps
from .metrics import warmup_metrics

if TYPE_CHECKING:
    from lightning.pytorch import LightningModule, Trainer
    from torch.optim import Optimizer


class WarmupMonitor(Callback):  # type: ignore[misc]  # pyproject: the frameworks' types are not followed
    """Logs :func:`~rectified.trainers.warmup_metrics` at each logged step, as ``LearningRateMonitor`` logs the lr.

    A module with several optimizers gets ``omega/optimizer0``, ``omega/optimizer1`` and so on.
    """

    def on_before_optimizer_step(
        self, trainer: "Trainer", pl_module: "LightningModule", optimizer: "Optimizer"
    ) -> None:
        if not trainer._logger_connector.should_update_logs:  # as in LearningRateMonitor; no public name for it
            return
        metrics = warmup_metrics(optimizer)
        if len(trainer.optimizers) > 1:
            index = next(i for i, other in enumerate(trainer.optimizers) if other is optimizer)
            metrics = {f"{name}/optimizer{index}": value for name, value in metrics.items()}
        pl_module.log_dict(metrics)


class CheckCallback(Callback):  # type: ignore[misc]
    """Checks warmup, schedule and optimizer when a training starts, with :func:`rectified.check`.

    It reads from the Trainer the optimizers, the schedulers with their intervals and frequencies, the number of steps
    that are left, and the numbers of batches per optimizer step, of processes, and of batches per epoch. The first
    process logs the findings, errors and warnings as such and notes as information, to the logger ``rectified.check``.
    The training is not changed.

    A scheduler that follows a metric is left out. If the number of steps is unknown, or if the module or a
    GradientAccumulationScheduler decides when to step, nothing is checked, which the log says. In manual optimization
    each optimizer is taken to step once per batch; where the interval of a scheduler is not ``"step"``, only findings
    that hold both per step and per epoch are kept.

    Args:
        fail_on: the least severity, ``"error"``, ``"warning"`` or ``"note"``, that ends the training with a ValueError
            before its first step; None never does.

    Attributes:
        findings: what was found when the last training started, the most severe first; of several optimizers, one
            after the other.
    """

    def __init__(self, fail_on: Severity | None = None) -> None:
        self.findings: list[Finding] = []
        self._fail_on = as_severity(fail_on)

    def on_train_start(self, trainer: "Trainer", pl_module: "LightningModule") -> None:
        first = trainer.is_global_zero
        optimizers = [one for one in trainer.optimizers if one.param_groups]  # none: configure_optimizers gave None
        self.findings = []
        if why := self._unknown(trainer, pl_module):
            unchecked(why, first=first)
            return
        for index, optimizer in enumerate(optimizers):
            found = self._found(trainer, pl_module, optimizer)
            several = f"optimizer {index}: " if len(optimizers) > 1 else ""
            self.findings += [replace(finding, title=several + finding.title) for finding in found]
        report(self.findings, first=first, fail_on=self._fail_on)

    @staticmethod
    def _unknown(trainer: "Trainer", module: "LightningModule") -> str | None:
        """Why it cannot be known when the optimizers and schedulers step; None if it can."""
        own_way = type(module).lr_scheduler_step.__qualname__ != "LightningModule.lr_scheduler_step"
        if any(isinstance(one, GradientAccumulationScheduler) for one in trainer.callbacks):
            return "GradientAccumulationScheduler changes the number of steps per epoch"
        if trainer.lr_scheduler_configs and own_way:
            return f"{type(module).__name__}.lr_scheduler_step steps the schedulers in its own way"
        steps = trainer.estimated_stepping_batches
        if steps < 0 or not math.isfinite(steps):  # -1: an iterable data set without max_steps
            return "the length of the run is unknown; set max_steps, or max_epochs with a data set that has a length"
        per_epoch = any(config.interval == "epoch" for config in trainer.lr_scheduler_configs)
        if per_epoch and not math.isfinite(trainer.num_training_batches):
            return "a scheduler steps once per epoch, and the length of an epoch is unknown; set limit_train_batches"
        return None

    def _found(self, trainer: "Trainer", module: "LightningModule", optimizer: Any) -> list[Finding]:
        """The findings for one optimizer and its schedulers."""
        together = len(trainer.optimizers)  # global_step and max_steps count the steps of all
        steps, taken = int(trainer.estimated_stepping_batches), trainer.global_step // together
        if together > 1 and trainer.max_steps > 0:
            steps = min(steps, trainer.max_steps // together)
        configs = [
            config
            for config in trainer.lr_scheduler_configs
            if unwrapped(config.scheduler.optimizer) is unwrapped(optimizer) and not config.reduce_on_plateau
        ]
        accumulation, left = trainer.accumulate_grad_batches, steps - taken
        known = {
            "first": trainer.is_global_zero,
            "accumulation": accumulation,
            "processes": trainer.world_size,
            "batches_per_epoch": whole_steps(trainer.num_training_batches, accumulation),
            "model": module if together == 1 else None,
        }
        schedulers = [config.scheduler for config in configs]
        intervals = {config.interval for config in configs} or {"step"}
        if not module.automatic_optimization:
            found = findings_of(optimizer, schedulers, left, **known)
            if intervals == {"step"}:
                return found
            also = findings_of(optimizer, schedulers, left, interval="epoch", **known)
            return [finding for finding in found if finding.rule in {other.rule for other in also}]
        if len(intervals) > 1 or any(config.frequency > 1 for config in configs):
            schedulers = [self._paced(trainer, config) for config in configs]
            intervals = {"step"}
        return findings_of(optimizer, schedulers, left, interval=intervals.pop(), **known)

    @staticmethod
    def _paced(trainer: "Trainer", config: Any) -> Paced:
        """A scheduler that is asked after every optimizer step, and steps when Lightning would step it."""
        accumulation, frequency = int(trainer.accumulate_grad_batches), int(config.frequency)
        batches, taken = float(trainer.num_training_batches), int(trainer.global_step)
        per_epoch = math.ceil(batches / accumulation) if math.isfinite(batches) else batches

        def per_step(t: int) -> bool:
            batch = min(((taken + t - 1) % per_epoch + 1) * accumulation, batches)  # it counts batches in their epoch
            return batch % frequency == 0

        def per_epochs(t: int) -> bool:
            return (taken + t) % (per_epoch * frequency) == 0

        return Paced(config.scheduler, per_step if config.interval == "step" else per_epochs)
