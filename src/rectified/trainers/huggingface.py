"""Hugging Face Trainer: omega and the effective lr next to the loss, in every log."""

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

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
