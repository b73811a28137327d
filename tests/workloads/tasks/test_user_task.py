"""A task of one's own: every form of data gives the batches it should, and what is wrong is refused in one line."""

import copy
import functools
import itertools
import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset, WeightedRandomSampler
from transformers import BatchEncoding

from rectified.workloads.tasks import Task
from rectified.workloads.tasks.lr_decay import LinearDecay

N = 50
INPUTS = torch.arange(2.0 * N).reshape(N, 2)
LABELS = torch.arange(N) % 3
PAIRS = TensorDataset(INPUTS, LABELS)


class Examples(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, number):
        return INPUTS[number], LABELS[number]


class Listed(Examples):
    """Gives several at once, as a Hugging Face data set does."""

    def __getitems__(self, numbers):
        return [(INPUTS[number], LABELS[number]) for number in numbers]

    def __getitem__(self, number):
        raise AssertionError("asked one by one")


class Endless(IterableDataset):
    def __iter__(self):
        while True:
            number = int(torch.randint(N, ()))
            yield INPUTS[number], LABELS[number]


def net():
    return nn.Linear(2, 3)


def a_task(**changes):
    return Task(
        **{
            "name": "mine",
            "model": net,
            "train": (INPUTS, LABELS),
            "valid": (INPUTS, LABELS),
            "batch_size": 8,
            **changes,
        }
    )


def epoch(task, seed=0, skip=0):
    data = task.load(None)
    return list(task.batches(data, task.batch_size, torch.Generator().manual_seed(seed), skip))


def seen(batches):
    """The first column of each batch's inputs, batch by batch."""
    return [
        (batch["x"] if isinstance(batch, dict) else batch if torch.is_tensor(batch) else batch[0])[:, 0].tolist()
        for batch in batches
    ]


def function(batch_size, generator):
    for indices in torch.randperm(N, generator=generator).split(batch_size):
        yield INPUTS[indices] + 0 * torch.rand(1), LABELS[indices]


IN_STUDYS_ORDER = {
    "tensors": (INPUTS, LABELS),
    "a data set of tensors": PAIRS,
    "a map-style data set": Examples(),
    "one with __getitems__": Listed(),
    "a subset": Subset(Examples(), range(N)),
    "a list": [(INPUTS[i], LABELS[i]) for i in range(N)],
    "a loader": DataLoader(Examples(), batch_size=8, shuffle=True),
    "a loader of tensors": DataLoader(PAIRS, batch_size=8),
    "a function": function,
}
OWN_ORDER = {
    "an iterable loader": DataLoader(Endless(), batch_size=8),
    "a list of batches as a function": lambda: DataLoader(Examples(), batch_size=8, shuffle=True),
}


@pytest.mark.parametrize("form", IN_STUDYS_ORDER)
def test_an_epoch_is_a_permutation_that_the_generator_draws(form):
    task = a_task(train=IN_STUDYS_ORDER[form], steps_per_epoch=7 if form == "a function" else None)
    batches = epoch(task)
    expected = INPUTS[torch.randperm(N, generator=torch.Generator().manual_seed(0)), 0].split(8)
    if form == "a function":  # which draws after the study has drawn a seed for what it takes from elsewhere
        assert sorted(itertools.chain(*seen(batches))) == INPUTS[:, 0].tolist()
    else:
        assert seen(batches) == [part.tolist() for part in expected]
    assert task.steps_per_epoch(8) == len(batches) == 7
    assert len(batches[-1][0]) == len(batches[-1][1]) == 2
    assert seen(epoch(task)) == seen(batches) != seen(epoch(task, seed=1))
    assert task.resumable


@pytest.mark.parametrize("form", [*IN_STUDYS_ORDER, *OWN_ORDER])
def test_an_epoch_goes_on_in_its_middle(form):
    train = {**IN_STUDYS_ORDER, **OWN_ORDER}[form]
    task = a_task(train=train, steps_per_epoch=6, batch_size=8)
    whole, generators = epoch(task), [torch.Generator().manual_seed(0) for _ in range(2)]
    assert seen(epoch(task, skip=4)) == seen(whole)[4:]
    for skip, generator in enumerate(generators):
        list(task.batches(task.load(None), 8, generator, skip))
    assert torch.equal(*(generator.get_state() for generator in generators)), "the next epoch begins alike"


@pytest.mark.parametrize("form", OWN_ORDER)
def test_a_stream_is_the_generators_and_nobody_elses(form):
    """The same batches for every method and in every rank, however much randomness a model uses meanwhile."""
    task = a_task(train=OWN_ORDER[form], steps_per_epoch=6)
    assert not task.resumable
    first, other = seen(epoch(task)), seen(epoch(task, seed=1))
    assert first != other
    torch.manual_seed(99)
    before = torch.get_rng_state()
    interrupted = []
    for batch in task.batches(task.load(None), 8, torch.Generator().manual_seed(0)):
        interrupted.append(batch)
        torch.rand(3)
    assert seen(interrupted) == first
    torch.set_rng_state(before)
    expected = torch.rand(3)
    torch.set_rng_state(before)
    next(task.batches(task.load(None), 8, torch.Generator().manual_seed(0)))
    assert torch.equal(torch.rand(3), expected), "what the model draws does not depend on the stream"


def test_a_stream_that_ends_begins_again_and_one_that_is_longer_is_cut():
    short = a_task(train=lambda: iter([(INPUTS[:8], LABELS[:8]), (INPUTS[8:16], LABELS[8:16])]), steps_per_epoch=5)
    assert [batch[0] for batch in seen(epoch(short))] == [0, 16, 0, 16, 0]
    loader = DataLoader(list(zip(INPUTS, LABELS, strict=True)), batch_size=8)
    assert len(epoch(a_task(train=lambda: loader, steps_per_epoch=2))) == 2


def test_dicts_of_tensors_give_dicts():
    for columns in ({"x": INPUTS, "y": LABELS}, BatchEncoding({"x": INPUTS, "y": LABELS})):
        task = a_task(train=columns, valid=None, evaluate=lambda model: {"valid_loss": 1.0})
        batch = epoch(task)[0]
        assert set(batch) == {"x", "y"}
        assert len(batch["x"]) == 8


def test_one_tensor_gives_tensors():
    task = a_task(train=INPUTS, loss=lambda model, batch: model(batch).mean(), valid=INPUTS)
    assert task.evaluate(net(), task.load(None)).keys() == {"valid_loss"}
    assert epoch(task)[0].shape == (8, 2)


def test_a_loader_hands_on_what_it_says():
    def collate(examples):
        return torch.stack([inputs for inputs, _ in examples]) + 1000, torch.stack([label for _, label in examples])

    loader = DataLoader(Examples(), batch_size=16, shuffle=True, drop_last=True, collate_fn=collate)
    task = a_task(train=loader, batch_size=None)
    assert (task.batch_size, task.steps_per_epoch(16), task.steps_per_epoch(10)) == (16, 3, 5)
    assert len(epoch(task)) == 3
    assert all(first >= 1000 for batch in seen(epoch(task)) for first in batch)
    assert a_task(train=loader, batch_size=10).batch_size == 10


def test_what_is_ignored_of_a_loader_is_said():
    said = []
    a_task(train=DataLoader(Examples(), batch_size=8, num_workers=2)).find(None, said.append)
    assert len(said) == 2
    assert "num_workers=2 of train is ignored" in said[0]
    assert "although its DataLoader has shuffle=False" in said[1]
    a_task(train=DataLoader(Examples(), batch_size=8, shuffle=True)).find(None, said.append)
    assert len(said) == 2


def test_defaults():
    task = Task(model=net, train=(INPUTS[:20], LABELS[:20]), valid=(INPUTS, LABELS))
    assert (task.name, task.title) == ("test_user_task", "test_user_task"), "the file's"
    assert (task.metric, task.metric_label, task.larger_is_better, task.margin) == (
        "valid_loss", "valid loss, nats", False, 0.02,
    )  # fmt: skip
    assert task.batch_size == 20, "all there are"
    assert task.methods == ("adam", "radam", "adam+untuned-linear")
    assert len(task.lrs) == 4
    assert (task.clip, task.weight_decay, task.version) == (math.inf, 0.0, "")
    accuracy = a_task(metric="valid_accuracy")
    assert (accuracy.larger_is_better, accuracy.margin, accuracy.metric_label) == (True, 1.0, "valid accuracy, %")


def test_the_default_measures_are_those_of_all_examples():
    torch.manual_seed(0)
    model, task = net(), a_task()
    measured = task.evaluate(model, task.load(None))
    assert measured["valid_loss"] == pytest.approx(F.cross_entropy(model(INPUTS), LABELS).item(), rel=1e-5)
    assert measured["valid_accuracy"] == pytest.approx(100 * float((model(INPUTS).argmax(1) == LABELS).float().mean()))
    for valid in (DataLoader(Examples(), batch_size=7), Examples()):
        other = a_task(valid=valid)
        assert other.evaluate(model, other.load(None)) == pytest.approx(measured, rel=1e-5)


def test_a_mean_over_tokens_is_weighted_by_tokens():
    def loss(model, batch):
        return (model(batch[0]).sum(1) * batch[1]).sum() / batch[1].sum()

    task = a_task(loss=loss, weight=lambda batch: int(batch[1].sum()), margin=1)
    model = net()
    expected = loss(model, (INPUTS, LABELS)).item()
    assert task.evaluate(model, task.load(None))["valid_loss"] == pytest.approx(expected, rel=1e-4)
    assert task.weight((INPUTS, LABELS)) == int(LABELS.sum())
    assert a_task().weight((INPUTS, LABELS)) == N


def test_the_metric_is_the_first_that_evaluate_returns_and_costs_no_randomness():
    calls = []

    def evaluate(model):
        calls.append(model.training or torch.is_grad_enabled())
        return {"top1": torch.tensor(0.5), "valid_loss": torch.rand(()).item()}

    torch.manual_seed(0)
    task = a_task(valid=None, evaluate=evaluate, margin=0.01)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(0)))
    assert (task.metric, task.larger_is_better, calls) == ("top1", True, [False])
    a_task(valid=None, evaluate=evaluate, metric="valid_loss")
    assert len(calls) == 1, "one that is named is not looked for"
    assert task.evaluate(net(), None).keys() == {"top1", "valid_loss"}
    assert a_task(valid=None, evaluate=lambda model: 3, metric="valid_loss").evaluate(net(), None) == {
        "valid_loss": 3.0
    }


def test_a_mapping_has_its_models_loss():
    class Model(nn.Linear):
        def forward(self, x, y):
            return {"loss": F.cross_entropy(super().forward(x), y)}

    columns = {"x": INPUTS, "y": LABELS}
    task = a_task(model=lambda: Model(2, 3), train=columns, valid=columns)
    assert task.loss(task.model(None), epoch(task)[0]).requires_grad
    assert task.evaluate(task.model(None), task.load(None)).keys() == {"valid_loss"}


def test_settings_are_taken_as_one_writes_them():
    task = a_task(methods="adam(beta2=0.9,eps=1e-6), sgd", lrs=[1, 0.1], seeds=range(2), schedule=LinearDecay(), clip=2)
    assert task.methods == ("adam(beta2=0.9,eps=1e-6)", "sgd")
    assert (task.lrs, task.seeds, task.schedule(1, 4), task.clip) == ((1.0, 0.1), (0, 1), 0.75, 2)
    assert a_task(lrs=0.1, seeds=3, methods=["adam"]).lrs == (0.1,)


def test_a_task_is_a_value():
    task = a_task()
    assert task == a_task() != a_task(epochs=2)
    assert hash(task) == hash(a_task())
    assert copy.deepcopy(task).load(None)[0][0] is INPUTS, "a copy has its tensors"


def test_a_study_trains_it():
    torch.manual_seed(0)
    task = a_task(lrs=(0.01,), model=lambda: nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 3)))
    model, data = task.model(task.load(None)), task.load(None)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    losses = []
    for batch in task.batches(data, 8, torch.Generator().manual_seed(0)):
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


NET = net()
NO_LOSS = {"valid": None, "evaluate": lambda model: {"valid_loss": 1.0}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": NET}, "model is an existing Linear, but every run needs .* model=lambda: Linear"),
        ({"model": None}, "model is None; it must be a function"),
        ({"loss": 3}, "loss is 3; it must be a function"),
        ({"name": "a,b"}, "name is 'a,b'; it must be one or more words without commas"),
        ({"name": ""}, "name is ''"),
        ({"batch_size": 51}, "batch_size is 51, but train has only 50 examples; use at most that many"),
        ({"batch_size": 0}, "batch_size is 0; it must be a whole number, 1 or more"),
        ({"epochs": 1.5}, "epochs is 1.5; it must be a whole number"),
        ({"steps_per_epoch": 8}, "steps_per_epoch is 8, and 50 examples in batches of 8 make 7"),
        ({"valid": None}, "evaluate is missing; pass evaluate=.* or valid="),
        ({"evaluate": len}, "evaluate and valid are both given"),
        ({"train": 3}, "train is an int; it must be a Dataset, a tensor, a tuple or dict of tensors, a DataLoader"),
        ({"train": "data"}, "train is a str; it must be a Dataset"),
        ({"train": Examples}, r"train is the class Examples; pass an instance: train=Examples\(...\)"),
        ({"train": iter([1])}, "train is a list_iterator, which is exhausted after one epoch; pass"),
        ({"train": []}, "train has no examples"),
        ({"train": (INPUTS, LABELS[:9])}, "train has tensors of 50 and 9 examples; their first"),
        ({"train": torch.tensor(1.0)}, "train has no examples"),
        ({"train": lambda a: a}, r"train is a function of \(a\); it must take \(batch_size, generator\), or"),
        ({"train": function}, "train has an unknown number of batches; set the number per epoch"),
        ({"train": OWN_ORDER["an iterable loader"]}, "train has an unknown number of batches"),
        ({"train": {INPUTS[:8]}, "batch_size": None}, "train is a set, whose batch size is unknown.* batch_size=32"),
        (
            {"train": DataLoader(Endless(), batch_size=8), "batch_size": 9},
            "batch_size is 9, but the batches of train have 8 examples; leave it out",
        ),
        (
            {"train": DataLoader(Examples(), sampler=WeightedRandomSampler([1.0] * N, N))},
            "train is a DataLoader with a WeightedRandomSampler, but a study draws the order itself; pass its",
        ),
        ({"train": DataLoader(Examples(), batch_size=None)}, "train is a DataLoader with batch_size=None"),
        ({"collate": list}, "collate is given, but train consists of tensors"),
        ({"metric": "valid_f1"}, "metric is 'valid_f1', but valid measures valid_loss, valid_accuracy"),
        ({"metric": "train_loss", **NO_LOSS}, "metric is 'train_loss', which a study records itself"),
        ({"metric": "a b", **NO_LOSS}, "metric is 'a b'; it must be a name of letters"),
        ({"metric": "fun", **NO_LOSS}, "larger_is_better is missing, and cannot be inferred from 'fun'"),
        ({"metric": "accuracy", **NO_LOSS}, "margin is missing: the difference in accuracy that does not matter"),
        ({"margin": -1}, "margin is -1; it must be a positive number"),
        ({"valid": None, "evaluate": lambda model: 3.0}, "evaluate returned one number, and metric is missing"),
        ({"valid": None, "evaluate": lambda model: None}, "evaluate returned None; it must return a float"),
        ({"valid": None, "evaluate": lambda model: {}}, "evaluate returned an empty dict"),
        ({"valid": None, "evaluate": lambda model: {"loss": "low"}}, "evaluate returned 'loss': 'low'; it must"),
        ({"valid": None, "evaluate": lambda model: {"loss": INPUTS}}, r"returned 'loss': a tensor of shape \(50, 2\)"),
        ({"valid": None, "evaluate": lambda model: {"loss": math.nan}}, "loss=nan for an untrained model; it must"),
        (
            {"schedule": torch.optim.lr_scheduler.ConstantLR(torch.optim.SGD(NET.parameters()))},
            "schedule is a ConstantLR, which belongs to one optimizer; pass a function of",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_in_one_line(changes, says):
    with pytest.raises(ValueError, match=says) as caught:
        a_task(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": lambda: 3}, "model returned an int; it must return a torch.nn.Module"),
        ({"model": nn.ReLU}, "model returned a ReLU without parameters to train"),
        ({"model": functools.partial(nn.Linear, 5, 3)}, "RuntimeError: mat1 and mat2 shapes"),
        ({"loss": lambda model, batch: 3.0}, "loss returned a float; it must return a tensor with one number"),
        ({"loss": lambda model, batch: model(batch[0])}, r"loss returned a tensor of shape \(8, 3\); .* its .mean\(\)"),
        ({"loss": lambda model, batch: {"loss": 1}}, "loss returned a dict; .* such as its .loss"),
        ({"loss": lambda model, batch: model(batch[0]).mean().detach()}, "without a gradient"),
        ({"loss": lambda model, batch: 1 / 0}, r"test_user_task.py, line \d+: ZeroDivisionError: div"),
        ({"train": (INPUTS, INPUTS)}, "targets are torch.float32, not class numbers; set loss=lambda"),
        ({"train": (INPUTS, LABELS.reshape(25, 2).repeat(2, 1))}, r"targets of shape \(8, 2\) the model returned"),
        ({"train": (INPUTS, LABELS, LABELS)}, "loss is missing, and batches are a tuple, not pairs"),
        ({"train": lambda: Examples(), "steps_per_epoch": 2}, "train returned an Examples, which holds examples"),
        ({"train": lambda: 3, "steps_per_epoch": 2}, "train returned an int; a function must return or yield batches"),
        ({"train": lambda: [], "steps_per_epoch": 2}, "train yielded no batches"),
    ],
)  # fmt: skip
def test_what_does_not_run_is_said_before_anything_does(changes, says):
    task = a_task(**changes)
    with pytest.raises(ValueError, match="task mine does not run: .*" + says) as caught:
        task.find(None, print)
    assert "\n" not in str(caught.value)


def test_a_model_that_is_handed_out_twice_is_refused():
    task = a_task(model=lambda: NET)
    task.find(None, print)
    with pytest.raises(ValueError, match="model returned the same Linear twice; it must make a new one"):
        task.model(None)


def test_a_batch_size_that_a_stream_does_not_have_is_refused():
    task = a_task(train=DataLoader(Endless(), batch_size=8), steps_per_epoch=2)
    with pytest.raises(
        ValueError, match=r"batch_size is 16, but the batches of train have 8 examples; to vary it, let"
    ):
        task.steps_per_epoch(16)


def test_a_metric_that_evaluate_leaves_out_is_said():
    task = a_task(valid=None, evaluate=lambda model: {"loss": 1.0}, metric="valid_loss")
    with pytest.raises(ValueError, match="evaluate returned loss; the metric, valid_loss, must be among them"):
        task.evaluate(net(), None)


def test_a_run_that_diverged_is_no_error_of_evaluate():
    task = a_task(valid=None, evaluate=lambda model: {"valid_loss": math.nan}, metric="valid_loss")
    assert math.isnan(task.evaluate(net(), None)["valid_loss"])


def test_a_folder_of_data_is_refused(tmp_path):
    with pytest.raises(ValueError, match="task mine has its own data; --data is for built-in tasks"):
        a_task().find(tmp_path, print)
