"""A task of one's own: every form of data gives the batches it should."""

import copy
import itertools
import math

import pytest
import torch
from own_tasks import INPUTS, LABELS, OWN_ORDER, PAIRS, Examples, Listed, N, a_task, function, net
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Subset
from transformers import BatchEncoding

from rectified.workloads.tasks import Task
from rectified.workloads.tasks.lr_decay import LinearDecay


def epoch(task, seed=0, skip=0):
    data = task.load(None)
    return list(task.batches(data, task.batch_size, torch.Generator().manual_seed(seed), skip))


def seen(batches):
    """The first column of each batch's inputs, batch by batch."""
    return [
        (batch["x"] if isinstance(batch, dict) else batch if torch.is_tensor(batch) else batch[0])[:, 0].tolist()
        for batch in batches
    ]


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
