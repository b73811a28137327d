"""The check at the start of a training plays what Lightning does, and leaves out what it does not know."""

import math

import pytest
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler
from torch.optim.lr_scheduler import LinearLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset

from checked_runs import BATCHES, EPOCHS, LONG, SHORT, STEPS, Adam, Classifier, WithLightning, halving, rules, stepped
from short_runs import BATCH, LIGHTNING_WARNS, pictures

pytestmark = pytest.mark.filterwarnings(*LIGHTNING_WARNS)


class LightningLrs(Callback):
    def __init__(self):
        self.lrs = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.lrs.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize("accumulate", [1, 2, 3])
@pytest.mark.parametrize(
    "configs",
    [
        [(halving, "step", 1)],
        [(halving, "epoch", 1)],
        [(halving, "step", 3)],
        [(halving, "step", 100)],
        [(halving, "epoch", 2)],
        [(halving, "step", 1), (lambda optimizer: StepLR(optimizer, 1, 3.0), "epoch", 1)],
        [],
    ],
    ids=["step", "epoch", "every-third-batch", "never", "second-epoch", "both", "none"],
)
def test_lightnings_lrs_are_played_with_its_intervals_and_frequencies(configs, accumulate, tmp_path, played):
    seen = LightningLrs()
    run = WithLightning(tmp_path, stepped(*configs), callbacks=[seen], accumulate_grad_batches=accumulate, max_epochs=4)
    run.train()
    assert len(seen.lrs) == 4 * math.ceil(BATCHES / accumulate)
    assert played == [pytest.approx(seen.lrs)]


def test_a_resumed_lightning_run_plays_what_is_left(tmp_path, played):
    half = WithLightning(tmp_path, stepped((halving, "epoch", 2)), max_epochs=1)
    half.train()
    half.trainer.save_checkpoint(tmp_path / "half.ckpt")
    seen = LightningLrs()
    whole = WithLightning(tmp_path, stepped((halving, "epoch", 2)), callbacks=[seen], max_epochs=4)
    whole.trainer.fit(whole.model, whole.loader, ckpt_path=tmp_path / "half.ckpt", weights_only=False)
    assert played[1] == pytest.approx(seen.lrs)
    assert len(seen.lrs) == 3 * BATCHES


def test_a_schedule_in_steps_that_lightning_steps_per_epoch_is_found(tmp_path):
    """Lightning's default interval is the epoch."""

    def configure(module):
        optimizer = Adam(SHORT).optimizer(module)
        return [optimizer], [LinearLR(optimizer, 1.0, 0.01, STEPS)]

    run = WithLightning(tmp_path, configure)
    run.train()
    assert "counted-in-epochs" in rules(run.findings, "error")


class InTurn(Classifier):
    """Two optimizers, stepped by hand, each once per batch."""

    def __init__(self, configure):
        super().__init__(configure)
        self.automatic_optimization = False

    def training_step(self, batch, index):
        for optimizer in self.optimizers():
            optimizer.zero_grad()
            self.manual_backward(super().training_step(batch, index))
            optimizer.step()


@pytest.mark.parametrize("length", [{}, {"max_epochs": -1, "max_steps": 2 * STEPS}], ids=["epochs", "steps"])
def test_several_optimizers_are_checked_with_their_own_schedulers(length, tmp_path):
    def configure(module):
        first, last = module.network[1], module.network[3]
        one, two = Adam(SHORT).optimizer(first), Adam(LONG).optimizer(last)
        return [one, two], [{"scheduler": LinearLR(one, 0.01, 1.0, 6), "interval": "step"}]

    run = WithLightning(tmp_path, configure, module=InTurn, **length)
    run.train()
    found = {(finding.title.split(":")[0], finding.rule) for finding in run.findings if finding.severity == "error"}
    assert found == {("optimizer 0", "two-warmups"), ("optimizer 1", "warmup-outlives-run")}
    assert "parameter-in-no-group" not in rules(run.findings)


def test_a_scheduler_that_a_module_steps_by_hand_may_be_in_steps_or_epochs(tmp_path):
    """Its interval is Lightning's default, which says nothing, so neither error of unit is reported."""

    def configure(module):
        optimizers = [Adam(SHORT).optimizer(module.network[1]), Adam(SHORT, ramp=6).optimizer(module.network[3])]
        return optimizers, [LinearLR(optimizers[0], 1.0, 0.01, STEPS), LinearLR(optimizers[1], 1.0, 0.01, EPOCHS)]

    run = WithLightning(tmp_path, configure, module=InTurn)
    run.train()
    assert not rules(run.findings, "error")


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(*pictures(STEPS * BATCH), strict=True))


class OwnWay(Classifier):
    def lr_scheduler_step(self, scheduler, metric):
        scheduler.step()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"loader": DataLoader(Stream(), batch_size=BATCH), "max_epochs": 1}, "the length of the run is unknown"),
        ({"max_epochs": -1, "limit_train_batches": 2, "max_time": {"seconds": 1}}, "the length of the run is unknown"),
        (
            {"loader": DataLoader(Stream(), batch_size=BATCH), "max_steps": 4, "adam": stepped((halving, "epoch", 1))},
            "the length of an epoch is unknown",
        ),
        ({"callbacks": [GradientAccumulationScheduler({1: 2})]}, "GradientAccumulationScheduler changes"),
        ({"module": OwnWay}, "OwnWay.lr_scheduler_step steps the schedulers in its own way"),
    ],
    ids=["stream", "endless", "epochs-of-a-stream", "accumulation", "own-way"],
)
@pytest.mark.filterwarnings("ignore:.*IterableDataset.*:UserWarning")
def test_what_lightning_does_not_know_is_not_checked_and_trains(options, why, tmp_path, caplog):
    run = WithLightning(tmp_path, **({"adam": Adam(LONG), "fail_on": "note"} | options))
    run.train()
    assert run.trainer.global_step > 0
    assert run.findings == []
    (record,) = (record for record in caplog.records if record.name == "rectified.check")
    assert record.levelname == "WARNING"
    assert "not checked" in record.message
    assert why in record.message


def test_lightning_leaves_out_schedules_that_follow_a_metric_and_modules_without_optimizers(tmp_path, played):
    def plateau(module):
        optimizer = Adam(SHORT).optimizer(module)
        config = {"scheduler": ReduceLROnPlateau(optimizer), "monitor": "loss", "strict": False}
        return {"optimizer": optimizer, "lr_scheduler": config}

    with pytest.warns(RuntimeWarning, match="not available"):
        WithLightning(tmp_path, plateau, max_epochs=1).train()
    assert played == [[0.005] * BATCHES]
    with pytest.warns(UserWarning, match="no optimizer"):
        WithLightning(tmp_path, lambda module: None, max_epochs=1).train()
    assert len(played) == 1


def test_a_scheduler_that_cannot_be_copied_does_not_end_a_training(tmp_path, caplog):
    class Uncopied(StepLR):
        def __deepcopy__(self, memo):
            raise RuntimeError("one of a kind")

    run = WithLightning(tmp_path, stepped((lambda optimizer: Uncopied(optimizer, 1), "step", 1)), fail_on="note")
    run.train()
    assert run.findings == []
    assert "one of a kind" in caplog.text
