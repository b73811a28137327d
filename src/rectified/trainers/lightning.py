"""Lightning: omega and the effective lr in the Trainer's loggers."""

from typing import TYPE_CHECKING

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError:  # the same framework under its older name
    from pytorch_lightning import Callback

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
