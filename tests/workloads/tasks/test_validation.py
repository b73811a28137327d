"""On what an lr is chosen: pictures that are held out of training, the validation text, or what a user names."""

import json
import math

import pytest
import torch

from rectified.workloads.data.images.pictures import Pictures
from rectified.workloads.data.text.words import Corpus
from rectified.workloads.tasks import TASKS, Task, TaskInfo, parse_task

HELD_OUT = ["fashion-mnist", "fashion-mnist-mini", "fashion-mnist-resnet20", "cifar10"]


def pictures(name, count=20):
    """Every picture is its own number, everywhere."""
    shape = (3, 32, 32) if name == "cifar10" else (28, 28)
    numbers = torch.arange(count, dtype=torch.uint8)
    images = numbers.reshape(-1, *[1] * len(shape)).expand(count, *shape).contiguous()
    return Pictures(images, numbers, images[:4] + 100, numbers[:4])


def seen(task, data, seed=0):
    """The numbers of the pictures in an epoch, by their labels; an image with another label fails."""
    batches = list(task.batches(data, 3, torch.Generator().manual_seed(seed)))
    for images, labels in batches:
        assert torch.equal(images.flatten(1).amax(1), task.pictures(data.train_images[labels]).flatten(1).amax(1))
    return torch.cat([labels for _, labels in batches]).tolist()


@pytest.mark.parametrize("name", HELD_OUT)
def test_what_is_held_out_is_never_trained_on_and_the_rest_is_once_an_epoch(name):
    task, data = parse_task(f"{name}(validation=6)"), pictures(name)
    out = torch.cat([labels for _, labels in task.held_out(data)]).tolist()
    assert out == [0, 3, 6, 10, 13, 16]
    for seed in range(5):
        assert sorted(seen(task, data, seed)) == [number for number in range(20) if number not in out]
    assert sorted(seen(parse_task(name), data)) == list(range(20))


@pytest.mark.parametrize("validation", [1, 7, 19])
def test_as_many_are_held_out_as_are_asked_for(validation):
    task, data = parse_task(f"cifar10(validation={validation})"), pictures("cifar10")
    trained, out = task.split(20)
    assert (len(trained), len(out)) == (20 - validation, validation)
    assert sorted([*trained.tolist(), *out.tolist()]) == list(range(20))
    assert len(seen(task, data)) == 20 - validation


def test_a_subset_is_of_what_is_not_held_out():
    task = parse_task("cifar10(subset=4,validation=6)")
    assert sorted(seen(task, pictures("cifar10"))) == [1, 2, 4, 5]
    assert task.largest_batch == 4
    assert parse_task("cifar10(subset=45000,validation=5000)").largest_batch == 45_000
    with pytest.raises(ValueError, match="subset is 45001; it must be from 1 to 45000"):
        parse_task("cifar10(subset=45001,validation=5000)")


@pytest.mark.parametrize(("name", "images"), [("fashion-mnist-mini", 6000), ("cifar10", 50_000)])
def test_an_epoch_is_as_much_shorter(name, images):
    task = parse_task(f"{name}(validation=1000)")
    assert task.largest_batch == images - 1000
    assert task.steps_per_epoch(100) == images // 100 - 10


def test_both_splits_are_measured_and_each_by_itself():
    """A model that says 7 whatever it sees: 100 times how often that is right."""
    task = parse_task("fashion-mnist-mini(validation=500)")
    data = task.load(task.find(None, print))
    model = task.model(data)
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        [*_, last] = model.parameters()
        last[7] = 5.0
        found = task.evaluate(model.eval(), data)
        assert parse_task("fashion-mnist-mini").evaluate(model, data).keys() == {"test_accuracy", "test_loss"}
    held = data.train_labels[torch.arange(500) * 6000 // 500]
    assert found["valid_accuracy"] == 100 * float((held == 7).double().mean()) != 10.0
    assert found["test_accuracy"] == 10.0
    share = float((held == 7).double().mean())
    expected = math.log(math.exp(5) + 9) - 5 * share
    assert found["valid_loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", HELD_OUT)
def test_an_lr_is_then_chosen_on_them_and_methods_are_compared_on_the_test(name):
    info = TaskInfo.of(parse_task(f"{name}(validation=6)"), ())
    assert info.chosen_by == ("valid_accuracy", "validation accuracy, %")
    assert info.comparison == ("test_accuracy", "test accuracy, %")
    assert TASKS[name].chosen_by is None
    assert TaskInfo.from_dict(json.loads(json.dumps(info.as_dict()))) == info


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "fashion-mnist-mini(validation=-1)",
            "validation is -1; it must be from 1 to 5999, so that training pictures",
        ),
        ("fashion-mnist-mini(validation=6000)", "validation is 6000; it must be from 1 to 5999"),
        ("cifar10(validation=0.1)", "validation is 0.1; it must be a whole number"),
        ("imagenet(validation=10)", "has no option 'validation'"),
        ("tiny-imagenet(validation=10)", "has no option 'validation'"),
    ],
)
def test_what_cannot_be_held_out_is_refused(text, words):
    with pytest.raises(ValueError, match=words):
        parse_task(text)


@pytest.mark.parametrize("name", ["language-model", "language-model-gpt", "language-model-paper"])
def test_a_language_models_lr_is_chosen_on_the_validation_text_and_told_on_the_test_text(name):
    info = TaskInfo.of(TASKS[name], ())
    assert (info.metric, info.chosen_by) == ("valid_ppl", ("valid_loss", "validation loss, nats"))
    assert info.comparison == ("test_loss", "test loss, nats")


def test_its_test_loss_is_that_of_the_test_text():
    task = parse_task("language-model-gpt(layers=1,width=8)")
    text = torch.arange(150, dtype=torch.int32) % 20
    data = Corpus(text, text, text.flip(0), vocabulary=20)
    torch.manual_seed(0)
    model = task.model(data).eval()
    with torch.inference_mode():
        final = task.final(model, data)
        assert final["test_loss"] == task.evaluate(model, data._replace(valid=data.test))["valid_loss"]
        assert final["test_loss"] != task.evaluate(model, data)["valid_loss"]
    assert final["test_ppl"] == pytest.approx(math.exp(final["test_loss"]))


def test_a_translations_lr_is_chosen_on_what_methods_are_compared_by():
    for name in ("translation", "translation-iwslt", "translation-wmt"):
        info = TaskInfo.of(TASKS[name], ())
        assert (info.comparison[0], info.chosen_by) == ("valid_loss", None)


# A user's task


def both(model):
    return {"test_accuracy": 1.0, "valid_accuracy": 2.0}


def a_task(**changes):
    return Task(**{
        "name": "mine", "model": lambda: torch.nn.Linear(2, 3), "train": (torch.zeros(9, 2), torch.arange(9) % 3),
        "evaluate": both, "metric": "test_accuracy", "margin": 1.0, **changes,
    })  # fmt: skip


def test_a_user_names_the_other_split():
    assert a_task().chosen_by is None
    assert a_task(choose_by="test_accuracy").chosen_by is None, "no other split"
    task = a_task(choose_by="valid_accuracy", metric_label="test accuracy, %")
    assert TaskInfo.of(task, ()).chosen_by == ("valid_accuracy", "valid accuracy, %")
    assert a_task(choose_by="valid_accuracy").chosen_by == ("valid_accuracy", "valid accuracy")
    assert task.evaluate(torch.nn.Linear(2, 3), None) == both(None)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"choose_by": "a b"}, "^choose_by is 'a b'; it must be a name of letters"),
        ({"choose_by": 3}, "^choose_by is 3; it must be a name of letters"),
        ({"choose_by": "train_loss"}, "^choose_by is 'train_loss', which a study records itself"),
        ({"choose_by": "valid_loss"}, "^choose_by is 'valid_loss' and metric is 'test_accuracy': the larger test_acc"),
        ({"choose_by": "valid_acc", "metric": "test_loss"}, "the larger valid_acc and the smaller test_loss"),
        (
            {"choose_by": "test_loss", "metric": None, "evaluate": None, "valid": (torch.zeros(3, 2), torch.arange(3))},
            "^choose_by is 'test_loss', but valid is a single split",
        ),
        ({"choose_by": "dev_accuracy", "metric": None}, "^choose_by is 'dev_accuracy', but evaluate returned test_acc"),
    ],
)
def test_what_cannot_choose_is_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        a_task(**changes)


def test_an_evaluate_without_it_is_refused_by_name():
    task = a_task(choose_by="dev_accuracy")
    with pytest.raises(ValueError, match=r"evaluate returned .*; choose_by, dev_accuracy, must be among them"):
        task.evaluate(torch.nn.Linear(2, 3), None)
