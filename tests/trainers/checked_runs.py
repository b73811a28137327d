"""Trainings of STEPS steps that are checked at their start, by trainer; without a check their findings are None."""

import lightning.pytorch as pl
from accelerate import Accelerator
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset
from transformers import Trainer, TrainingArguments, get_linear_schedule_with_warmup

import rectified
from rectified.trainers import huggingface, lightning
from rectified.trainers.accelerate import check_prepared
from rectified.warmup import Linear
from short_runs import BATCH, network, pictures
from tiny_llama import Windows, llama

BATCHES, EPOCHS = 8, 3
STEPS = BATCHES * EPOCHS
SHORT, LONG = Linear(4), Linear(10 * STEPS)


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


def rules(findings, *severities):
    return {finding.rule for finding in findings if not severities or finding.severity in severities}


def halving(optimizer):
    return StepLR(optimizer, 1, 0.5)


def stepped(*configs):
    """One optimizer and schedulers, each with its interval and frequency."""

    def configure(module):
        optimizer = Adam(SHORT).optimizer(module)
        return [optimizer], [
            {"scheduler": make(optimizer), "interval": interval, "frequency": frequency}
            for make, interval, frequency in configs
        ]

    return configure
