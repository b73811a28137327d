"""Accelerate: a loop of the user's own, prepared."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.optimizer import AcceleratedOptimizer
from accelerate.tracking import GeneralTracker
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import rectified
from rectified.trainers import warmup_metrics
from short_runs import BATCH, OPTIMIZERS, halving, network, pictures, plain_loop, same_bits, weights

STEPS_PER_EPOCH = 8

every_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Kept(GeneralTracker):
    """A tracker that keeps what it is given."""

    name = "kept"
    requires_logging_directory = False

    def __init__(self):
        super().__init__()
        self.values = {}

    @property
    def tracker(self):
        return self.values

    def store_init_configuration(self, values):
        pass

    def log(self, values, step=None, **kwargs):
        self.values[step] = values


class Run:
    """Model, optimizer, data and schedule, prepared."""

    def __init__(self, build, **options):
        self.accelerator = Accelerator(cpu=True, **options)
        model = network()
        optimizer = build(model.parameters())
        data = DataLoader(TensorDataset(*pictures(STEPS_PER_EPOCH * BATCH)), batch_size=BATCH)
        self.model, self.optimizer, self.data, self.schedule = self.accelerator.prepare(
            model, optimizer, data, halving(optimizer)
        )
        self.steps = 0
        self.explained = {}

    def train(self, batches):
        for pictures_, labels in batches:
            with self.accelerator.accumulate(self.model):
                loss = F.cross_entropy(self.model(pictures_), labels)
                self.accelerator.backward(loss)
                if self.accelerator.sync_gradients:
                    self.accelerator.clip_grad_norm_(self.model.parameters(), 0.5)
                    self.steps += 1
                    (self.explained[self.steps],) = rectified.explain(self.optimizer.optimizer)
                    self.accelerator.log({"loss": loss.item(), **warmup_metrics(self.optimizer)}, step=self.steps)
                self.optimizer.step()
                self.schedule.step()
                self.optimizer.zero_grad()


@every_optimizer
@pytest.mark.parametrize("accumulate", [1, 2])
def test_trains_as_a_plain_loop_does(build, accumulate):
    run = Run(build, gradient_accumulation_steps=accumulate)
    for _ in range(3):
        run.train(run.data)

    model = network()
    optimizer = build(model.parameters())
    plain_loop(model, optimizer, list(run.data) * 3, accumulate=accumulate, clip=0.5, scheduler=halving(optimizer))
    assert same_bits(weights(run.model), weights(model))


@every_optimizer
def test_resumed_in_the_middle_of_the_warmup_it_ends_with_the_same_bits(build, tmp_path):
    whole = Run(build)
    for epoch in range(3):
        if epoch == 1:
            batches = list(whole.data)
            whole.train(batches[:3])
            whole.accelerator.save_state(tmp_path)
            whole.train(batches[3:])
        else:
            whole.train(whole.data)

    resumed = Run(build)
    resumed.accelerator.load_state(tmp_path)
    omega = resumed.optimizer.param_groups[0]["omega"]
    assert 0 < omega < 1, "the warmup was not over"
    resumed.train(resumed.accelerator.skip_first_batches(resumed.data, 3))
    assert resumed.explained[1].t == STEPS_PER_EPOCH + 3 + 1, "it went on where it was"
    assert resumed.explained[1].omega > omega
    resumed.train(resumed.data)
    assert same_bits(weights(whole.model), weights(resumed.model))


@every_optimizer
def test_the_trackers_get_what_explain_said(build):
    tracker = Kept()
    run = Run(build, log_with=[tracker])
    run.accelerator.init_trackers("runs")
    run.train(run.data)
    assert list(tracker.values) == list(range(1, STEPS_PER_EPOCH + 1))
    for step, said in run.explained.items():
        assert (tracker.values[step]["omega"], tracker.values[step]["effective_lr"]) == (said.omega, said.effective_lr)
        assert said.t == step


@every_optimizer
def test_a_step_that_the_grad_scaler_skips_does_not_advance_the_warmup(build):
    Accelerator(cpu=True)  # AcceleratedOptimizer asks for its state
    model = network()
    pictures_, labels = pictures(BATCH)
    scaler = torch.amp.GradScaler("cpu", init_scale=16.0)
    optimizer = AcceleratedOptimizer(build(model.parameters()), scaler=scaler)
    skipped = []
    for step in range(5):
        loss = F.cross_entropy(model(pictures_), labels)
        scaler.scale(loss * float("inf") if step == 2 else loss).backward()
        optimizer.step()
        skipped.append(optimizer.step_was_skipped)
        optimizer.zero_grad()
    assert skipped == [False, False, True, False, False]
    assert rectified.explain(optimizer.optimizer)[0].t == 4 + 1
