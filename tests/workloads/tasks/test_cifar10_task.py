"""CIFAR-10's task: augmentation against loops, an epoch's order, the recipe as the optimizer feels it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from picture_files import binary, cifar, put
from rectified.study.execution.training import Training
from rectified.workloads.tasks import parse_task
from rectified.workloads.tasks.cifar10 import augmented
from run_to_end import run_of, run_to_end

TASK, GRAY = parse_task("cifar10"), parse_task("fashion-mnist-resnet20")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def data(tmp_path: Path):
    """Twenty pictures to train on, four to test."""
    return TASK.load(put(tmp_path / "data", {f"{name}.bin": binary(*batch) for name, batch in cifar().items()}))


# Augmentation


def by_hand(image: np.ndarray, move: tuple[int, int], flip: bool, padding: int) -> np.ndarray:
    """One picture, [channels, height, width], pixel by pixel: padded with zeros, cropped, mirrored."""
    channels, height, width = image.shape
    padded = np.zeros((channels, height + 2 * padding, width + 2 * padding), image.dtype)
    for channel in range(channels):
        for row in range(height):
            for column in range(width):
                padded[channel, row + padding, column + padding] = image[channel, row, column]
    crop = padded[:, move[0] : move[0] + height, move[1] : move[1] + width]
    return crop[:, :, ::-1] if flip else crop


@pytest.mark.parametrize(("shape", "padding"), [((3, 8, 6), 4), ((3, 6, 8), 2), ((1, 9, 9), 0)])
def test_augmentation_is_that_of_a_loop(shape: tuple[int, int, int], padding: int) -> None:
    """At every place, mirrored and not."""
    places = [
        (row, column, flip) for row in range(2 * padding + 1) for column in range(2 * padding + 1) for flip in (0, 1)
    ]
    images = torch.randint(256, (len(places), *shape), generator=generator(), dtype=torch.uint8)
    rows, columns, flips = torch.tensor(places).T
    found = augmented(images, torch.stack([rows, columns]), flips.bool(), padding)
    assert found.dtype == torch.uint8
    for image, place, new in zip(images.numpy(), places, found.numpy(), strict=True):
        assert np.array_equal(new, by_hand(image, place[:2], bool(place[2]), padding))


def test_grey_pictures_are_augmented_too() -> None:
    images = torch.randint(256, (4, 7, 7), generator=generator(), dtype=torch.uint8)
    moves, flips = torch.randint(9, (2, 4), generator=generator()), torch.tensor([True, False, True, False])
    colored = augmented(images.unsqueeze(1), moves, flips, 4)
    assert torch.equal(augmented(images, moves, flips, 4), colored.squeeze(1))


def test_every_move_and_both_flips_are_drawn_about_as_often(data) -> None:
    """Of a picture that is 1 in one pixel alone, that pixel tells where it went."""
    point = torch.zeros_like(data.train_images)
    point[:, :, 10, 20] = 255
    found = torch.cat(
        [
            images
            for seed in range(200)
            for images, _ in TASK.batches(data._replace(train_images=point), 20, generator(seed))
        ]
    )
    _, rows, columns = (found[:, 0] > 0).nonzero().T
    assert len(rows) == 4000
    assert set(rows.tolist()) == set(range(6, 15))
    assert set(columns.tolist()) == set(range(16, 25)) | set(range(7, 16))
    assert (torch.bincount(rows)[6:] - 4000 / 9).abs().max() < 5 * (4000 / 9) ** 0.5
    assert abs(int((columns >= 16).sum()) - 2000) < 5 * 1000**0.5


def test_pictures_are_normalised() -> None:
    images = torch.randint(256, (2, 3, 32, 32), generator=generator(), dtype=torch.uint8)
    mean, std = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2023, 0.1994, 0.2010])
    expected = ((images.numpy().transpose(0, 2, 3, 1) / 255 - mean) / std).transpose(0, 3, 1, 2)
    assert np.allclose(TASK.pictures(images).numpy(), expected, atol=1e-6)


# An epoch


def test_an_epoch_has_every_picture_once(data) -> None:
    """Told by its pixels' sum where nothing is cut off, which a border of zeros sees to."""
    framed = data.train_images.clone()
    framed[:, :, :4] = framed[:, :, -4:] = 0
    framed[..., :4] = framed[..., -4:] = 0
    sums = {int(image.long().sum()): int(label) for image, label in zip(framed, data.train_labels, strict=True)}
    assert len(sums) == 20
    std, mean = torch.tensor([0.2023, 0.1994, 0.2010]), torch.tensor([0.4914, 0.4822, 0.4465])
    seen = []
    for images, labels in TASK.batches(data._replace(train_images=framed), 8, generator()):
        pixels = ((images * std.reshape(3, 1, 1) + mean.reshape(3, 1, 1)) * 255).round().long()
        seen += [(int(image.sum()), int(label)) for image, label in zip(pixels, labels, strict=True)]
    assert len(seen) == 20
    assert dict(seen) == sums
    assert [label for _, label in seen] != data.train_labels.tolist()


def test_an_epoch_goes_on_at_any_batch_bit_for_bit(data) -> None:
    whole = generator()
    batches = list(TASK.batches(data, 8, whole))
    assert [len(labels) for _, labels in batches] == [8, 8, 4]
    for skip in range(4):
        own = generator()
        rest = list(TASK.batches(data, 8, own, skip=skip))
        assert len(rest) == 3 - skip
        assert torch.equal(own.get_state(), whole.get_state())
        for mine, theirs in zip(rest, batches[skip:], strict=True):
            assert torch.equal(mine[0], theirs[0])
            assert torch.equal(mine[1], theirs[1])
    started = generator()
    next(iter(TASK.batches(data, 8, started)))
    assert torch.equal(started.get_state(), whole.get_state()), "all is drawn before the first batch"
    assert not torch.equal(next(iter(TASK.batches(data, 8, whole)))[0], batches[0][0]), "the next epoch is another"


def test_a_subset_is_of_the_first_pictures(data) -> None:
    task = parse_task("cifar10(subset=5)")
    assert task.steps_per_epoch(2) == 3
    labels = [int(label) for _, batch in task.batches(data, 2, generator()) for label in batch]
    assert sorted(labels) == sorted(data.train_labels[:5].tolist())
    for wrong in (-1, 50_001):
        with pytest.raises(ValueError, match=rf"subset is {wrong}; it must be from 1 to 50000, or 0 for all"):
            parse_task(f"cifar10(subset={wrong})")


# The recipe


def test_the_papers_setting() -> None:
    for task, images in ((TASK, 50_000), (GRAY, 60_000)):
        assert (task.batch_size, task.epochs, task.weight_decay, task.images) == (128, 164, 1e-4, images)
        assert (task.methods, task.lrs) == (("sgd", "adam", "radam"), (0.1, 0.03, 0.01, 0.003))
    assert TASK.steps_per_epoch(128) == 391
    factors = [round(TASK.schedule(391 * epoch, 391 * 164), 10) for epoch in range(164)]
    assert factors == [1.0] * 81 + [0.1] * 41 + [0.01] * 42
    assert TASK.schedule(391 * 81 - 1, 391 * 164) == 1


@pytest.mark.parametrize("method", ["sgd", "adam", "adamw", "radam", "adam+linear-9"])
def test_the_lr_falls_in_every_method_and_the_decay_is_the_tasks(data, method: str) -> None:
    """Eight steps of a run as short, whose milestones are at 81/164 and 122/164 of it: steps 4 and 6, from 0."""
    task = parse_task("cifar10(subset=4,weight_decay=0.003)")
    training = Training.begin(run_of(task, method, 0.01, epochs=8, batch_size=4), data)
    (group,) = training.optimizer.param_groups
    assert group["weight_decay"] == 0.003
    assert method == "sgd" or group["decoupled_weight_decay"]
    lrs = []
    for _ in range(8):
        for batch in task.batches(data, 4, training.generator()):
            assert training.take(batch)
            lrs.append(group["lr"])
    assert lrs == pytest.approx([0.01] * 4 + [0.001] * 2 + [0.0001] * 2)


@pytest.mark.parametrize("method", ["adam", "adamw", "radam", "sgd"])
def test_without_a_gradient_weights_shrink_as_the_decay_says(method: str, data) -> None:
    """Decoupled: by lr * decay a step, whatever the method; of SGD it is in the momentum. Each by hand."""
    task = parse_task("cifar10(weight_decay=0.1)")
    training = Training.begin(run_of(task, method, 0.5, batch_size=4), data)
    weight = next(training.model.parameters())
    start, factor, momentum = weight.detach().clone(), 1.0, 0.0
    for _ in range(12):
        for parameter in training.model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        training.optimizer.step()
        momentum = 0.9 * momentum + 0.1 * factor
        factor -= 0.5 * momentum if method == "sgd" else 0.5 * 0.1 * factor
    assert torch.allclose(weight, start * factor, rtol=1e-5, atol=0)


@pytest.mark.parametrize("task", [TASK, GRAY], ids=lambda task: task.name)
def test_a_run_of_it(data, tmp_path: Path, task) -> None:
    if task is GRAY:
        gray = (
            data.train_images[:, 0, :28, :28],
            data.train_labels,
            data.test_images[:, 0, :28, :28],
            data.test_labels,
        )
        data = type(data)(*gray)
    assert run_to_end(run_of(task, "radam", 0.01, epochs=2, batch_size=8), data, tmp_path / "run") == "done"
    rows = [json.loads(line) for line in (tmp_path / "run/rows.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [3, 6]
    assert all(row["test_accuracy"] in (0, 25, 50, 75, 100) for row in rows)
