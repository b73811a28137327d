"""Lightning with rectified.AdamW: return it from configure_optimizers. No optimizer_step, no second scheduler.

python examples/lightning_module.py          (needs: pip install 'rectified[trainers]')
"""

import lightning.pytorch as pl
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import rectified
from rectified.trainers.lightning import WarmupMonitor
from rectified.warmup import Linear

pl.seed_everything(0, verbose=False)
x = torch.randn(1600, 10)
y = (x[:, 0] * x[:, 1] > 0).long()  # the signs of two inputs agree
loader = DataLoader(TensorDataset(x, y), batch_size=32, shuffle=True)


class Classifier(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.network = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 2))

    def training_step(self, batch, index):
        inputs, targets = batch
        loss = F.cross_entropy(self.network(inputs), targets)
        self.log("loss", loss, on_step=False, on_epoch=True)
        return loss

    def configure_optimizers(self):
        steps = int(self.trainer.estimated_stepping_batches)  # 200 in all
        optimizer = rectified.AdamW(self.parameters(), lr=1e-2, warmup=Linear(steps // 10))
        decay = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "step"}}

    def on_train_epoch_end(self):
        seen = self.trainer.callback_metrics  # of the last step that was logged
        values = "  ".join(f"{name} {seen[name].item():.4f}" for name in ("loss", "omega", "effective_lr"))
        print(f"epoch {self.current_epoch}  {values}")


trainer = pl.Trainer(
    max_epochs=4,
    callbacks=[WarmupMonitor()],  # omega and effective_lr go to every logger, beside the loss
    log_every_n_steps=10,
    accelerator="cpu",
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
model = Classifier()
trainer.fit(model, loader)
print(f"accuracy {100 * (model.network(x).argmax(1) == y).float().mean():.1f} %")
