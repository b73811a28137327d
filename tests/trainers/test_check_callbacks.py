"""The check at the start of a training, alike in every trainer, and that it plays what Hugging Face's Trainer does."""

import logging

import pytest
from transformers import TrainerCallback

import rectified
from checked_runs import LONG, SHORT, STEPS, Adam, WithAccelerate, WithHuggingFace, WithLightning, rules
from rectified.trainers import checking, huggingface, lightning
from short_runs import LIGHTNING_WARNS, network, same_bits, weights

pytestmark = pytest.mark.filterwarnings(*LIGHTNING_WARNS)
each_framework = pytest.mark.parametrize("framework", [WithHuggingFace, WithLightning, WithAccelerate])


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


# What is played is what Trainer does.


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
