"""The check at the start of a training: it plays what the trainer does, changes nothing, and can stop a bad one."""

import logging
import math
from types import SimpleNamespace

import lightning.pytorch as pl
import pytest
import torch
from accelerate import Accelerator
from accelerate.utils.deepspeed import DeepSpeedOptimizerWrapper
from lightning.pytorch.callbacks import Callback, GradientAccumulationScheduler
from torch.nn import functional as F
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from transformers import Trainer, TrainerCallback, TrainingArguments, get_linear_schedule_with_warmup

import rectified
from rectified.probe.play.played import play
from rectified.trainers import accelerate as prepared
from rectified.trainers import checking, huggingface, lightning
from rectified.trainers.accelerate import check_prepared
from rectified.warmup import Linear
from short_runs import BATCH, LIGHTNING_WARNS, network, pictures, same_bits, weights
from tiny_llama import Windows, llama

BATCHES, EPOCHS = 8, 3
STEPS = BATCHES * EPOCHS
SHORT, LONG = Linear(4), Linear(10 * STEPS)

pytestmark = pytest.mark.filterwarnings(*LIGHTNING_WARNS)


def data(batches=BATCHES):
    return DataLoader(TensorDataset(*pictures(batches * BATCH)), batch_size=BATCH)


class Adam:
    """An AdamW of rectified's, and a schedule to 0 with a warmup of its own if `ramp` is not 0."""

    def __init__(self, warmup=None, ramp=0):
        self.warmup, self.ramp = warmup, ramp

    def optimizer(self, model):
        return rectified.AdamW(model.parameters(), lr=0.005, warmup=self.warmup)

    def schedule(self, optimizer):
        return get_linear_schedule_with_warmup(optimizer, self.ramp, STEPS)


# Each trains STEPS steps; its findings are None without a check.


class WithHuggingFace:
    def __init__(self, folder, adam, check=True, callbacks=(), resume=None, **options):
        fail_on = options.pop("fail_on", None)
        self.model, self.resume = llama(), resume
        self.optimizer = adam.optimizer(self.model)
        self.callback = huggingface.CheckCallback(fail_on) if check else None
        options = {"max_steps": STEPS, "warmup_steps": adam.ramp, "save_strategy": "no", "report_to": "none"} | options
        arguments = TrainingArguments(
            str(folder), per_device_train_batch_size=4, use_cpu=True, disable_tqdm=True, **options
        )
        self.trainer = Trainer(
            model=self.model,
            args=arguments,
            train_dataset=Windows(),
            eval_dataset=Windows(8),
            optimizers=(self.optimizer, None),
            callbacks=[*callbacks, *([self.callback] if check else [])],
        )

    def train(self):
        self.trainer.train(resume_from_checkpoint=self.resume)

    @property
    def findings(self):
        return self.callback.findings


class Classifier(pl.LightningModule):
    """A network whose optimizers and schedulers are given as a function of the module."""

    def __init__(self, configure):
        super().__init__()
        self.network = network()
        self.configure = configure

    def configure_optimizers(self):
        return self.configure(self)

    def training_step(self, batch, index):
        return F.cross_entropy(self.network(batch[0]), batch[1])


def each_step(adam):
    """Lightning's configuration of an optimizer with a schedule that steps with it."""

    def configure(module):
        optimizer = adam.optimizer(module)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": adam.schedule(optimizer), "interval": "step"},
        }

    return configure


class WithLightning:
    def __init__(self, folder, adam, check=True, fail_on=None, loader=None, callbacks=(), module=Classifier, **options):
        configure = adam if callable(adam) else each_step(adam)
        self.model, self.loader = module(configure), data() if loader is None else loader
        self.callback = lightning.CheckCallback(fail_on) if check else None
        options = {"max_epochs": EPOCHS} | options
        self.trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            default_root_dir=folder,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            enable_checkpointing=False,
            callbacks=[*callbacks, *([self.callback] if check else [])],
            **options,
        )

    def train(self):
        self.trainer.fit(self.model, self.loader)

    @property
    def findings(self):
        return self.callback.findings


class WithAccelerate:
    def __init__(self, folder, adam, check=True, fail_on=None):
        self.accelerator, self.model, self.check, self.fail_on = Accelerator(cpu=True), network(), check, fail_on
        optimizer = adam.optimizer(self.model)
        self.prepared = self.accelerator.prepare(self.model, optimizer, data(), adam.schedule(optimizer))

    def train(self):
        model, optimizer, loader, schedule = self.prepared
        if self.check:
            self.findings = check_prepared(
                self.accelerator,
                optimizer,
                schedule,
                STEPS,
                batches_per_epoch=len(loader),
                model=model,
                fail_on=self.fail_on,
            )
        for _ in range(EPOCHS):
            for images, labels in loader:
                self.accelerator.backward(F.cross_entropy(model(images), labels))
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()


each_framework = pytest.mark.parametrize("framework", [WithHuggingFace, WithLightning, WithAccelerate])


def rules(findings, *severities):
    return {finding.rule for finding in findings if not severities or finding.severity in severities}


@each_framework
def test_a_good_configuration_has_no_errors_and_trains_to_the_same_bits(framework, tmp_path):
    checked = framework(tmp_path, Adam(SHORT), fail_on="warning")
    checked.train()
    assert not rules(checked.findings, "error", "warning")
    assert "memory-longer-than-run" in rules(checked.findings, "note"), "it was checked"
    plain = framework(tmp_path, Adam(SHORT), check=False)
    start = weights(plain.model)
    plain.train()
    assert same_bits(weights(checked.model), weights(plain.model))
    assert not same_bits(weights(plain.model), start)


@each_framework
@pytest.mark.parametrize(("adam", "rule"), [(Adam(SHORT, ramp=6), "two-warmups"), (Adam(LONG), "warmup-outlives-run")])
def test_a_bad_configuration_is_found_and_trains(framework, adam, rule, tmp_path):
    run = framework(tmp_path, adam)
    start = weights(run.model)
    run.train()
    assert rule in rules(run.findings, "error")
    assert not same_bits(weights(run.model), start)


@each_framework
def test_it_can_be_stopped_before_its_first_step(framework, tmp_path):
    run = framework(tmp_path, Adam(SHORT, ramp=6), fail_on="error")
    start = weights(run.model)
    with pytest.raises(ValueError, match=r"(?s)error: the schedule warms up .*\[two-warmups.*pass fail_on=None"):
        run.train()
    assert same_bits(weights(run.model), start)


@pytest.mark.parametrize(
    "make",
    [
        huggingface.CheckCallback,
        lightning.CheckCallback,
        lambda fail_on: WithAccelerate(None, Adam(SHORT), fail_on=fail_on).train(),
    ],
    ids=["huggingface", "lightning", "accelerate"],
)
def test_fail_on_is_a_severity(make):
    with pytest.raises(ValueError, match="fail_on is 'all'; it must be one of 'error', 'warning', 'note', or None"):
        make("all")


@each_framework
def test_the_log_has_each_finding_once_by_its_severity(framework, tmp_path, caplog):
    caplog.set_level(logging.INFO, "rectified.check")
    run = framework(tmp_path, Adam(SHORT, ramp=6))
    run.train()
    logged = [(record.levelname, record.message) for record in caplog.records if record.name == "rectified.check"]
    levels = {"error": "ERROR", "warning": "WARNING", "note": "INFO"}
    assert logged == [(levels[finding.severity], str(finding)) for finding in run.findings]
    assert {level for level, _ in logged} >= {"ERROR", "INFO"}


def test_other_processes_write_no_log_but_fail_too(caplog):
    (found,) = [finding for finding in check_of(Adam(SHORT, ramp=6)) if finding.rule == "two-warmups"]
    with pytest.raises(ValueError, match="two-warmups"):
        checking.report([found], first=False, fail_on="error")
    assert not checking.unchecked("no reason", first=False)
    assert not caplog.records


def check_of(adam):
    optimizer = adam.optimizer(network())
    return rectified.check(optimizer, adam.schedule(optimizer), STEPS)


# What is played is what the trainer does.


@pytest.fixture
def played(monkeypatch):
    """The lrs that each check plays, in order."""
    lrs = []

    def keep(optimizer, scheduler=None, steps=0, **known):
        lrs.append(list(play(optimizer, scheduler, steps, **known).groups[0].lr))
        return []

    for module in (checking, prepared):
        monkeypatch.setattr(module, "check", keep)
    return lrs


class TrainerLrs(TrainerCallback):
    def __init__(self):
        self.lrs = []

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.lrs.append(optimizer.param_groups[0]["lr"])


@pytest.mark.parametrize(
    "options",
    [{}, {"gradient_accumulation_steps": 3}, {"max_steps": -1, "num_train_epochs": 2.5, "warmup_steps": 0.25}],
    ids=["steps", "accumulated", "epochs"],
)
def test_trainers_lrs_are_played_with_its_number_of_steps(options, tmp_path, played):
    seen = TrainerLrs()
    WithHuggingFace(tmp_path, Adam(SHORT, ramp=6), callbacks=[seen], **options).train()
    assert played == [pytest.approx(seen.lrs)]


def test_a_resumed_trainer_plays_what_is_left(tmp_path, played):
    saving = {"save_strategy": "steps", "save_steps": 4}
    WithHuggingFace(tmp_path, Adam(ramp=6), **saving).train()
    for step in (4, STEPS):
        seen = TrainerLrs()
        again = WithHuggingFace(
            tmp_path, Adam(ramp=6), callbacks=[seen], resume=str(tmp_path / f"checkpoint-{step}"), **saving
        )
        again.train()
        assert again.findings == []
        if step < STEPS:
            assert played[1] == pytest.approx(seen.lrs)
            assert len(seen.lrs) == STEPS - step
    assert len(played) == 2, "after the last step nothing is left to play, though Trainer takes one more"


@pytest.mark.parametrize("kind", ["reduce_lr_on_plateau", "greedy"])
def test_trainers_schedules_that_follow_a_metric_are_left_out(kind, tmp_path, played):
    following = {"eval_strategy": "steps", "eval_steps": 12, "metric_for_best_model": "loss"}
    WithHuggingFace(tmp_path, Adam(SHORT), lr_scheduler_type=kind, **following).train()
    assert played == [[0.005] * STEPS]


def test_trainer_has_the_model_too(tmp_path):
    run = WithHuggingFace(tmp_path, Adam(SHORT))
    run.optimizer.param_groups[0]["params"].pop()
    run.train()
    assert "parameter-in-no-group" in rules(run.findings)


class LightningLrs(Callback):
    def __init__(self):
        self.lrs = []

    def on_before_optimizer_step(self, trainer, module, optimizer):
        self.lrs.append(optimizer.param_groups[0]["lr"])


def stepped(*configs):
    """One optimizer and schedulers, each with its interval and frequency."""

    def configure(module):
        optimizer = Adam(SHORT).optimizer(module)
        return [optimizer], [
            {"scheduler": make(optimizer), "interval": interval, "frequency": frequency}
            for make, interval, frequency in configs
        ]

    return configure


def halving(optimizer):
    return StepLR(optimizer, 1, 0.5)


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


# Accelerate in several processes, whose number is set by hand.


class Several:
    """An accelerator's prepared optimizer and scheduler, as in each of several processes."""

    def __init__(self, processes, accumulate, make, monkeypatch, **options):
        accelerator = Accelerator(cpu=True, gradient_accumulation_steps=accumulate, **options)
        model = network()
        optimizer = Adam().optimizer(model)
        loader = data()
        self.model, self.optimizer, self.loader, self.schedule = accelerator.prepare(
            model, optimizer, loader, make(optimizer)
        )
        self.real = accelerator
        self.accelerator = SimpleNamespace(
            gradient_accumulation_steps=accumulate, num_processes=processes, is_main_process=True
        )
        monkeypatch.setattr("accelerate.scheduler.AcceleratorState", lambda: SimpleNamespace(num_processes=processes))

    def lrs(self):
        """The lr of every optimizer step of an epoch."""
        seen = []
        for images, labels in self.loader:
            with self.real.accumulate(self.model):
                self.real.backward(F.cross_entropy(self.model(images), labels))
                if self.real.sync_gradients:
                    seen.append(self.optimizer.param_groups[0]["lr"])
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()
        return seen


@pytest.mark.parametrize("processes", [1, 4])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("split", [False, True])
def test_a_prepared_schedulers_lrs_are_played(processes, accumulate, split, monkeypatch, played):
    from accelerate.utils import DataLoaderConfiguration

    def make(optimizer):
        return LinearLR(optimizer, 0.01, 1.0, 40)

    config = DataLoaderConfiguration(split_batches=split)
    run = Several(processes, accumulate, make, monkeypatch, dataloader_config=config)
    steps = math.ceil(BATCHES / accumulate)
    assert check_prepared(run.accelerator, run.optimizer, run.schedule, steps, batches_per_epoch=BATCHES) == []
    assert played == [pytest.approx(run.lrs())]


def test_a_prepared_schedule_needs_its_length_times_the_number_of_processes(monkeypatch):
    def found(length):
        run = Several(4, 1, lambda optimizer: OneCycleLR(optimizer, 0.005, length), monkeypatch)
        return rules(check_prepared(run.accelerator, run.optimizer, run.schedule, STEPS), "error")

    assert not found(4 * STEPS)
    assert found(STEPS)


def test_schedulers_must_be_prepared_alike(monkeypatch):
    run = Several(4, 1, halving, monkeypatch)
    both = [run.schedule, StepLR(run.optimizer.optimizer, 1)]
    assert check_prepared(run.accelerator, run.optimizer, both[:1], STEPS)
    assert check_prepared(run.accelerator, run.optimizer, [], STEPS)
    with pytest.raises(ValueError, match="stepped 1 and 4 times per optimizer step; prepare all of them or none"):
        check_prepared(run.accelerator, run.optimizer, both, STEPS)


def test_a_scheduler_that_the_loop_steps_per_epoch(monkeypatch, played):
    run = Several(4, 2, halving, monkeypatch, step_scheduler_with_optimizer=False)
    check_prepared(
        run.accelerator, run.optimizer, run.schedule, 2 * BATCHES // 2, batches_per_epoch=BATCHES, interval="epoch"
    )
    assert played == [[0.005] * 4 + [0.0025] * 4]


def test_check_prepared_asks_for_the_number_of_steps():
    accelerator = Accelerator(cpu=True)
    with pytest.raises(ValueError, match="steps is 0; it must be a whole number, 1 or more"):
        check_prepared(accelerator, accelerator.prepare(Adam(SHORT).optimizer(network())))


def test_what_an_engine_hides_is_not_checked(caplog):
    accelerator = Accelerator(cpu=True)
    hidden = DeepSpeedOptimizerWrapper(Adam(LONG).optimizer(network()))
    assert check_prepared(accelerator, hidden, None, STEPS, fail_on="note") == []
    assert checking.findings_of(hidden, None, STEPS, first=True) == []
    assert [record.message for record in caplog.records if record.name == "rectified.check"] == 2 * [
        "the training's configuration is not checked: DeepSpeedOptimizerWrapper hides the parameter groups that are "
        "stepped"
    ]


def test_a_scheduler_that_cannot_be_copied_does_not_end_a_training(tmp_path, caplog):
    class Uncopied(StepLR):
        def __deepcopy__(self, memo):
            raise RuntimeError("one of a kind")

    run = WithLightning(tmp_path, stepped((lambda optimizer: Uncopied(optimizer, 1), "step", 1)), fail_on="note")
    run.train()
    assert run.findings == []
    assert "one of a kind" in caplog.text


def test_a_prepared_optimizer_is_not_changed():
    accelerator = Accelerator(cpu=True)
    adam = Adam(SHORT, ramp=6)
    model = network()
    optimizer = adam.optimizer(model)
    model, optimizer, schedule = accelerator.prepare(model, optimizer, adam.schedule(optimizer))
    before = (optimizer.state_dict()["param_groups"], schedule.state_dict(), torch.get_rng_state())
    check_prepared(accelerator, optimizer, schedule, STEPS, model=model)
    after = (optimizer.state_dict()["param_groups"], schedule.state_dict(), torch.get_rng_state())
    assert before[:2] == after[:2]
    assert torch.equal(before[2], after[2])
