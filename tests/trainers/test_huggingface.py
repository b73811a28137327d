"""Hugging Face Trainer: a tiny Llama, made from its config, learns the characters of this project's license."""

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import Trainer, TrainerCallback, TrainingArguments, get_linear_schedule_with_warmup

import rectified
from rectified.trainers.huggingface import WarmupCallback, log_warmup
from rectified.warmup import Linear
from short_runs import OPTIMIZERS, halving, plain_loop, same_bits, weights
from tiny_llama import Windows, llama

STEPS, BATCH = 24, 4

every_optimizer = pytest.mark.parametrize("build", OPTIMIZERS.values(), ids=OPTIMIZERS)


def trainer_of(model, folder, optimizers=(None, None), optimizer_cls_and_kwargs=None, callbacks=None, **options):
    options = {"max_steps": STEPS, "logging_steps": 4, "save_strategy": "no", "report_to": "none"} | options
    arguments = TrainingArguments(
        str(folder), per_device_train_batch_size=BATCH, use_cpu=True, disable_tqdm=True, **options
    )
    return Trainer(
        model=model,
        args=arguments,
        train_dataset=Windows(),
        eval_dataset=Windows(8),
        optimizers=optimizers,
        optimizer_cls_and_kwargs=optimizer_cls_and_kwargs,
        callbacks=callbacks,
    )


def repeat(trainer, build, schedule, accumulate=1, clip=1.0):
    """The weights after the same batches in a plain loop."""
    data = Windows()
    order = trainer.train_dataset.asked[: STEPS * accumulate * BATCH]
    batches = [torch.stack([data[i]["input_ids"] for i in order[k : k + BATCH]]) for k in range(0, len(order), BATCH)]
    model = llama()
    optimizer = build(model)
    plain_loop(
        model,
        optimizer,
        batches,
        loss=lambda model, batch: model(input_ids=batch, labels=batch).loss,
        accumulate=accumulate,
        clip=clip,
        scheduler=schedule(optimizer),
    )
    return weights(model)


def to_zero(optimizer):
    """Trainer's default schedule, without its warmup: linear from lr to 0."""
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)


def assert_close(ours, theirs):
    """Equal to round-off: the two loops scale and sum the losses in another order."""
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@every_optimizer
def test_an_optimizer_given_ready_made_trains_as_in_a_plain_loop(build, tmp_path):
    model = llama()
    trainer = trainer_of(model, tmp_path, optimizers=(build(model.parameters()), None), gradient_accumulation_steps=2)
    trainer.train()
    assert_close(weights(model), repeat(trainer, lambda model: build(model.parameters()), to_zero, accumulate=2))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]


def test_with_a_schedule_of_ones_own(tmp_path):
    build = OPTIMIZERS["adamw-linear"]
    model = llama()
    optimizer = build(model.parameters())
    trainer = trainer_of(model, tmp_path, optimizers=(optimizer, halving(optimizer)), max_grad_norm=0.1)
    trainer.train()
    assert_close(weights(model), repeat(trainer, lambda model: build(model.parameters()), halving, clip=0.1))


@pytest.mark.parametrize(
    ("cls", "options"),
    [(rectified.RAdam, {"lr": 0.05}), (rectified.AdamW, {"lr": 0.005, "warmup": Linear(30)})],
    ids=["radam", "adamw-linear"],
)
def test_a_class_and_its_options_train_as_in_a_plain_loop(cls, options, tmp_path):
    model = llama()
    trainer = trainer_of(model, tmp_path, optimizer_cls_and_kwargs=(cls, options), weight_decay=0.1)
    trainer.train()

    def groups_as_trainer_makes_them(model):
        plain = [p for name, p in model.named_parameters() if "norm" in name]
        decayed = [p for name, p in model.named_parameters() if "norm" not in name]
        groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
        return cls(groups, **options)

    assert_close(weights(model), repeat(trainer, groups_as_trainer_makes_them, to_zero))


def test_the_lr_of_a_class_is_its_options_and_its_weight_decay_is_trainers(tmp_path):
    trainer = trainer_of(llama(), tmp_path, optimizer_cls_and_kwargs=(rectified.AdamW, {"lr": 0.005}))
    optimizer = trainer.create_optimizer()
    assert [group["lr"] for group in optimizer.param_groups] == [0.005, 0.005]
    assert trainer.args.learning_rate == 5e-5
    assert optimizer.defaults["weight_decay"] == 0.01
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.0]


@every_optimizer
def test_resumed_in_the_middle_of_the_warmup_it_ends_with_the_same_bits(build, tmp_path):
    def train(resume=None):
        model = llama()
        trainer = trainer_of(
            model,
            tmp_path,
            optimizers=(build(model.parameters()), None),
            save_strategy="steps",
            save_steps=10,
            logging_steps=1,
        )
        log_warmup(trainer)
        trainer.train(resume_from_checkpoint=resume)
        return weights(model), [entry for entry in trainer.state.log_history if "loss" in entry]

    whole, logs = train()
    resumed, again = train(str(tmp_path / "checkpoint-10"))
    assert same_bits(whole, resumed)
    assert 0 < logs[9]["omega"] < logs[10]["omega"] < 1, "the warmup was not over"
    assert [entry["omega"] for entry in again] == [entry["omega"] for entry in logs], "it went on where it was"


class Explained(TrainerCallback):
    """Keeps explain() from before every step."""

    def __init__(self):
        self.steps = {}

    def on_pre_optimizer_step(self, args, state, control, optimizer=None, **kwargs):
        self.steps[state.global_step + 1] = rectified.explain(optimizer.optimizer)


@pytest.mark.parametrize(
    ("name", "options", "logged"),
    [
        ("radam", {"logging_steps": 5}, [5, 10, 15, 20]),
        ("adamw-own-warmup", {"logging_steps": 20, "logging_first_step": True}, [1, 20]),
        ("adamw-linear", {"logging_strategy": "epoch"}, [16, 24]),
        (
            "radam",
            {"logging_steps": 10, "gradient_accumulation_steps": 2, "eval_strategy": "steps", "eval_steps": 7},
            [10, 20],
        ),
    ],
    ids=["steps", "first", "epoch", "accumulated-and-evaluated"],
)
def test_every_log_of_the_loss_has_what_explain_said_of_its_step(name, options, logged, tmp_path):
    model = llama()
    optimizer, explained = OPTIMIZERS[name](model.parameters()), Explained()
    trainer = trainer_of(model, tmp_path, optimizers=(optimizer, None), callbacks=[explained], **options)
    log_warmup(trainer)
    trainer.train()
    with_omega = {entry["step"]: entry for entry in trainer.state.log_history if "omega" in entry}
    assert list(with_omega) == logged
    assert all("loss" in entry for entry in with_omega.values())
    for step, entry in with_omega.items():
        (said,) = explained.steps[step]
        assert (entry["omega"], entry["effective_lr"]) == (said.omega, said.effective_lr)
        assert (said.t, said.lr) == (step, entry["learning_rate"])


def test_tensorboard_gets_the_numbers_too_for_each_group(tmp_path, monkeypatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = trainer_of(
        llama(),
        tmp_path,
        optimizer_cls_and_kwargs=(rectified.AdamW, {"lr": 0.01, "warmup": Linear(30)}),
        report_to="tensorboard",
        max_steps=8,
        lr_scheduler_type="constant",
    )
    log_warmup(trainer)
    trainer.train()
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    for group in (0, 1):
        shown = {event.step: event.value for event in board.Scalars(f"train/omega/group{group}")}
        assert shown == pytest.approx({4: 4 / 30, 8: 8 / 30})
        shown = {event.step: event.value for event in board.Scalars(f"train/effective_lr/group{group}")}
        assert shown == pytest.approx({4: 0.01 * 4 / 30, 8: 0.01 * 8 / 30})


def test_among_trainers_own_callbacks_it_reaches_the_history(tmp_path):
    model = llama()
    optimizer = OPTIMIZERS["adamw-linear"](model.parameters())
    trainer = trainer_of(model, tmp_path, optimizers=(optimizer, None), callbacks=[WarmupCallback()], max_steps=8)
    trainer.train()
    assert [entry["omega"] for entry in trainer.state.log_history if "loss" in entry] == [4 / 30, 8 / 30]


def test_another_optimizer_is_refused_at_the_first_logged_step(tmp_path):
    trainer = trainer_of(llama(), tmp_path, max_steps=4)
    log_warmup(trainer)
    with pytest.raises(TypeError, match="one of rectified's optimizers"):
        trainer.train()


def test_their_warmup_wastes_its_first_step_and_ours_does_not(tmp_path):
    """What docs/huggingface.md says about get_linear_schedule_with_warmup."""

    def first_step(optimizer_of, schedule_of):
        model = llama()
        before = weights(model)
        optimizer = optimizer_of(model.parameters())
        trainer = trainer_of(model, tmp_path, optimizers=(optimizer, schedule_of(optimizer)), max_steps=1)
        trainer.train()
        return same_bits(before, weights(model))

    def adamw(params):
        return torch.optim.AdamW(params, lr=0.005)

    assert first_step(adamw, lambda optimizer: get_linear_schedule_with_warmup(optimizer, 10, STEPS))
    assert not first_step(OPTIMIZERS["adamw-linear"], lambda optimizer: None)
