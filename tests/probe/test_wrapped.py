"""Probe in Accelerate and in Lightning: the observations of a plain loop, and only real steps are counted."""

from dataclasses import asdict

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import rectified
from rectified import Probe
from rectified.warmup import Linear

BATCH, BATCHES, ACCUMULATED = 8, 24, 3

OPTIMIZERS = {
    "torch AdamW": lambda params: torch.optim.AdamW(params, lr=0.02),
    "rectified AdamW": lambda params: rectified.AdamW(params, lr=0.02, warmup=Linear(5)),
}
every_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)
every_accumulation = pytest.mark.parametrize("accumulate", [1, ACCUMULATED])


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 1))


def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH * BATCHES, 5, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=BATCH)


def loss_of(model, batch):
    return (model(batch[0]) - batch[1]).square().mean()


def plain(build, accumulate):
    """The observations and the weights of a plain loop; a step's loss is that of its last batch."""
    model = network()
    optimizer = build(model.parameters())
    probe = Probe(optimizer)
    for index, batch in enumerate(data()):
        loss = loss_of(model, batch)
        (loss / accumulate).backward()
        if (index + 1) % accumulate == 0:
            optimizer.step()
            optimizer.zero_grad()
            probe.observe(loss, again=lambda batch=batch: loss_of(model, batch))
    return probe, list(model.parameters())


def check(probe, weights, build, accumulate):
    expected, straight = plain(build, accumulate)
    assert all(map(torch.equal, weights, straight))
    steps = BATCHES // accumulate
    assert [o.step for o in probe.history] == [o.step for o in expected.history]
    assert 4 <= probe.history[-1].step < steps
    assert len(probe.losses) == steps
    for o, e in zip(probe.history, expected.history, strict=True):
        assert asdict(o.model) == pytest.approx(asdict(e.model), rel=1e-6, nan_ok=True)
        assert o.best_loss == pytest.approx(e.best_loss)
    assert probe.metrics() == pytest.approx(expected.metrics(), rel=1e-6, nan_ok=True)


@every_optimizer
@every_accumulation
def test_accelerate(build, accumulate):
    accelerate = pytest.importorskip("accelerate")
    accelerate.state.AcceleratorState._reset_state(reset_partial_state=True)
    accelerate.state.GradientState._reset_state()
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulate)
    model = network()
    model, optimizer, loader = accelerator.prepare(model, build(model.parameters()), data())
    probe = Probe(optimizer)
    for batch in loader:
        with accelerator.accumulate(model):
            loss = loss_of(model, batch)
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
        if accelerator.sync_gradients:
            probe.observe(loss, again=lambda batch=batch: loss_of(model, batch))
    check(probe, list(model.parameters()), build, accumulate)


@every_optimizer
@every_accumulation
@pytest.mark.filterwarnings(
    r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning",
    "ignore:.* available but not used:UserWarning",
    "ignore:.*does not have many workers:UserWarning",
)
def test_lightning_whose_steps_are_closures(build, accumulate, tmp_path):
    pl = pytest.importorskip("lightning.pytorch")

    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.network = network()

        def training_step(self, batch, index):
            return loss_of(self.network, batch)

        def configure_optimizers(self):
            return build(self.network.parameters())

    class Watch(pl.Callback):
        """What a user would write."""

        def on_train_start(self, trainer, module):
            self.probe, self.steps = Probe(module.optimizers()), 0

        def on_train_batch_end(self, trainer, module, outputs, batch, index):
            if trainer.global_step > self.steps:
                self.steps = trainer.global_step
                loss = outputs["loss"] * trainer.accumulate_grad_batches  # Lightning has divided it
                self.probe.observe(loss, again=lambda: loss_of(module.network, batch))

    watch, module = Watch(), Module()
    pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        accumulate_grad_batches=accumulate,
        callbacks=[watch],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    ).fit(module, data())
    check(watch.probe, list(module.network.parameters()), build, accumulate)
