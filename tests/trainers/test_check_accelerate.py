"""The check of what Accelerate has prepared, in several processes, whose number is set by hand."""

import math
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils.deepspeed import DeepSpeedOptimizerWrapper
from torch.nn import functional as F
from torch.optim.lr_scheduler import LinearLR, OneCycleLR, StepLR

from checked_runs import BATCHES, LONG, SHORT, STEPS, Adam, data, halving, rules
from rectified.trainers import checking
from rectified.trainers.accelerate import check_prepared
from short_runs import LIGHTNING_WARNS, network

pytestmark = pytest.mark.filterwarnings(*LIGHTNING_WARNS)


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
