"""Lightning's Trainer: a small network on real pictures."""

import csv

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.plugins.precision import MixedPrecision
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import rectified
from rectified.trainers import warmup_metrics
from rectified.trainers.lightning import WarmupMonitor
from rectified.warmup import Linear
from short_runs import BATCH, LIGHTNING_WARNS, OPTIMIZERS, halving, network, pictures, plain_loop, same_bits, weights

STEPS_PER_EPOCH = 8

pytestmark = pytest.mark.filterwarnings(*LIGHTNING_WARNS)

every_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Classifier(pl.LightningModule):
    def __init__(self, build):
        super().__init__()
        self.network = network()
        self.build = build

    def training_step(self, batch, index):
        pictures, labels = batch
        loss = F.cross_entropy(self.network(pictures), labels)
        self.log("loss", loss)
        return loss

    def configure_optimizers(self):
        optimizer = self.build(self.network.parameters())
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": halving(optimizer), "interval": "step"}}


class InTurn(Classifier):
    """Two optimizers, stepped by hand."""

    def __init__(self):
        super().__init__(None)
        self.automatic_optimization = False

    def configure_optimizers(self):
        first, last = self.network[1], self.network[3]
        return (
            rectified.AdamW(first.parameters(), lr=0.01, warmup=Linear(30)),
            rectified.AdamW(
                [{"params": [last.weight]}, {"params": [last.bias], "lr": 0.02}], lr=0.01, warmup=Linear(60)
            ),
        )

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, index))
            optimizer.step()


def data():
    return DataLoader(TensorDataset(*pictures(STEPS_PER_EPOCH * BATCH)), batch_size=BATCH)


def trainer_of(folder, **options):
    options = {"max_epochs": 3, "logger": False, "enable_checkpointing": False} | options
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )


def logged(folder, name):
    """The values under this name in CSVLogger's table, by step; Lightning counts steps from 0."""
    with (folder / "metrics.csv").open() as file:
        return {int(row["step"]) + 1: float(row[name]) for row in csv.DictReader(file) if row.get(name)}


@every_optimizer
@pytest.mark.parametrize("accumulate", [1, 2])
def test_trains_as_a_plain_loop_does(build, accumulate, tmp_path):
    module = Classifier(build)
    trainer_of(tmp_path, gradient_clip_val=0.5, accumulate_grad_batches=accumulate).fit(module, data())

    model = network()
    optimizer = build(model.parameters())
    batches = [batch for _ in range(3) for batch in data()]
    plain_loop(model, optimizer, batches, accumulate=accumulate, clip=0.5, scheduler=halving(optimizer))
    assert same_bits(weights(module), weights(model))


@every_optimizer
@pytest.mark.parametrize("weights_only", [True, False])
def test_resumed_in_the_middle_of_the_warmup_it_ends_with_the_same_bits(build, weights_only, tmp_path):
    whole = Classifier(build)
    trainer_of(tmp_path).fit(whole, data())

    half = Classifier(build)
    trainer = trainer_of(tmp_path, max_epochs=1)
    trainer.fit(half, data())
    omega = half.optimizers().param_groups[0]["omega"]
    assert 0 < omega < 1, "the warmup was not over"
    trainer.save_checkpoint(tmp_path / "half.ckpt")

    resumed, seen = Classifier(build), Explained()
    trainer_of(tmp_path, callbacks=[seen]).fit(
        resumed, data(), ckpt_path=tmp_path / "half.ckpt", weights_only=weights_only
    )
    assert same_bits(weights(whole), weights(resumed))
    assert seen.steps[0].t == STEPS_PER_EPOCH + 1, "it went on where it was"
    assert seen.steps[0].omega > omega


class Explained(Callback):
    """Keeps explain() from before every step."""

    def __init__(self):
        self.steps = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.steps += rectified.explain(optimizer)


@every_optimizer
@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_loggers_get_what_explain_said_of_the_logged_steps(build, accumulate, tmp_path):
    explained, logger = Explained(), CSVLogger(tmp_path, name="", version="")
    trainer = trainer_of(
        tmp_path,
        logger=logger,
        callbacks=[explained, WarmupMonitor(), LearningRateMonitor()],
        log_every_n_steps=3,
        accumulate_grad_batches=accumulate,
    )
    trainer.fit(Classifier(build), data())
    said = {entry.t: entry for entry in explained.steps}
    omega = logged(tmp_path, "omega")
    assert list(omega) == list(range(3, 24 // accumulate + 1, 3))
    assert omega == pytest.approx({t: said[t].omega for t in omega}, rel=1e-6), "Lightning keeps float32"
    assert logged(tmp_path, "effective_lr") == pytest.approx({t: said[t].effective_lr for t in omega}, rel=1e-6)
    assert set(logged(tmp_path, "loss")) == set(omega)


def test_each_optimizer_and_group_has_its_own_name(tmp_path):
    logger = CSVLogger(tmp_path, name="", version="")
    trainer = trainer_of(tmp_path, max_epochs=1, logger=logger, callbacks=[WarmupMonitor()], log_every_n_steps=4)
    trainer.fit(InTurn(), data())
    values = {}
    for name in ("omega", "effective_lr"):
        for place in ("optimizer0", "group0/optimizer1", "group1/optimizer1"):
            values[name, place] = list(logged(tmp_path, f"{name}/{place}").values())
    assert values["omega", "optimizer0"] == pytest.approx([4 / 30, 8 / 30])
    assert values["omega", "group0/optimizer1"] == values["omega", "group1/optimizer1"]
    assert values["omega", "group1/optimizer1"] == pytest.approx([4 / 60, 8 / 60])
    assert values["effective_lr", "group1/optimizer1"] == pytest.approx([0.02 * 4 / 60, 0.02 * 8 / 60])


class OneInfiniteLoss(Classifier):
    def training_step(self, batch, index):
        loss = super().training_step(batch, index)
        return loss * float("inf") if index == 2 else loss


@every_optimizer
def test_a_step_that_the_grad_scaler_skips_does_not_advance_the_warmup(build, tmp_path):
    module = OneInfiniteLoss(build)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    trainer_of(tmp_path, max_epochs=1, plugins=[precision], gradient_clip_val=0.5).fit(module, data())
    assert scaler.get_scale() == 8.0, "one step was skipped"
    optimizer, scheduler = module.optimizers().optimizer, module.lr_schedulers()
    assert rectified.explain(optimizer)[0].t == STEPS_PER_EPOCH, "the next step, after one less than that"
    assert scheduler.last_epoch == STEPS_PER_EPOCH, "Lightning's schedules count it"


def test_the_wrapper_that_lightning_hands_out_is_read_too(tmp_path):
    module = Classifier(OPTIMIZERS["adamw-linear"])
    trainer_of(tmp_path, max_epochs=1).fit(module, data())
    assert warmup_metrics(module.optimizers()) == warmup_metrics(module.optimizers(use_pl_optimizer=False))
    assert warmup_metrics(module.optimizers())["omega"] == 9 / 30
