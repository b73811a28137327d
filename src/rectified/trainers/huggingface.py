"""Hugging Face Trainer: a check of the warmup at the start; omega and the effective lr in every log of the loss."""

from typing import TYPE_CHECKING, Any

from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import TrainerCallback

from ..probe import Finding
from ..probe.finding import Severity
from .checking import as_severity, batches_of, findings_of, report, whole_steps
from .metrics import warmup_metrics

if TYPE_CHECKING:
    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments


def log_warmup(trainer: "Trainer") -> "WarmupCallback":
    """Make a Trainer log the warmup to everything it reports to; returns the callback that does so.

    Trainer runs the callbacks in its ``callbacks`` argument after those that report to TensorBoard, W&B and so on, so
    they could add only to the printed logs and to ``log_history``. This one is placed first.
    """
    callback = WarmupCallback()
    trainer.callback_handler.callbacks.insert(0, callback)
    return callback


class WarmupCallback(TrainerCallback):  # type: ignore[misc]  # pyproject: the frameworks' types are not followed
    """Adds :func:`~rectified.trainers.warmup_metrics` to each log of the training loss; see :func:`log_warmup`.

    Like Trainer's own ``learning_rate``, the values are those of the last step before the log.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, float] = {}

    def on_pre_optimizer_step(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        optimizer: Any = None,
        **kwargs: Any,
    ) -> None:
        step = state.global_step + 1
        by_steps = args.logging_strategy == "steps"
        if not by_steps or step % state.logging_steps == 0 or (step == 1 and args.logging_first_step):
            self._metrics = warmup_metrics(optimizer)

    def on_log(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs is not None and "loss" in logs:  # not an evaluation or the summary at the end
            logs.update(self._metrics)
            state.log_history[-1].update(self._metrics)
            self._metrics = {}


class CheckCallback(TrainerCallback):  # type: ignore[misc]
    """Checks warmup, schedule and optimizer when a training starts, with :func:`rectified.check`.

    It reads from Trainer the optimizer, the scheduler, the model, the number of steps that are left, and the numbers of
    micro-batches per optimizer step, of processes, and of micro-batches per epoch. The first process logs the findings,
    errors and warnings as such and notes as information, to the logger ``rectified.check``. It changes nothing.

    A scheduler that follows a metric (ReduceLROnPlateau, GreedyLR) is left out. With DeepSpeed or a layerwise optimizer
    nothing is checked, which the log says: what they step is hidden.

    Args:
        fail_on: the least severity, ``"error"``, ``"warning"`` or ``"note"``, that ends the training with a ValueError
            before its first step; None never does.

    Attributes:
        findings: what was found when the last training started, the most severe first.
    """

    def __init__(self, fail_on: Severity | None = None) -> None:
        self.findings: list[Finding] = []
        self._fail_on = as_severity(fail_on)

    def on_train_begin(
        self,
        args: "TrainingArguments",
        state: "TrainerState",
        control: "TrainerControl",
        model: Any = None,
        optimizer: Any = None,
        lr_scheduler: Any = None,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        # A checkpoint is loaded before this: global_step, the optimizer's state and the scheduler's are those of it.
        # Trainer steps its scheduler once per optimizer step in any number of processes: Accelerate does not wrap it.
        accumulation = args.gradient_accumulation_steps
        by_metric = isinstance(lr_scheduler, ReduceLROnPlateau) or type(lr_scheduler).__name__ == "GreedyLR"
        self.findings = findings_of(
            optimizer,
            None if by_metric else lr_scheduler,
            state.max_steps - state.global_step,
            first=state.is_world_process_zero,
            accumulation=accumulation,
            processes=args.world_size,
            batches_per_epoch=whole_steps(batches_of(train_dataloader), accumulation),
            model=model,
        )
        report(self.findings, first=state.is_world_process_zero, fail_on=self._fail_on)
