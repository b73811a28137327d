"""ImageNet's task and Tiny ImageNet's: crops, batches, threads, runs, on a dozen pictures in the official layouts."""

import io
import math
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from picture_files import imagenet, picture, put, tiny_imagenet
from rectified.workloads.tasks import imagenet as module
from rectified.workloads.tasks import parse_task

LARGE, TINY = parse_task("imagenet(images=12)"), parse_task("tiny-imagenet(images=12)")


def png(*color: int, width: int = 80, height: int = 60) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (width, height), color).save(content, "PNG")
    return content.getvalue()


@pytest.fixture
def plain(tmp_path: Path):
    """Twelve training pictures of one color each: red tells the picture, 20 k, and green the class, 100 times it."""
    number = {f"train/n0{label}/{k}.png": png(20 * k, 100 * label, 7) for label in range(3) for k in range(4)}
    files = {
        **number,
        **{f"val/n0{label}/{k}.png": png(20 * k, 100 * label, 7) for label in range(3) for k in range(2)},
    }
    return LARGE.load(LARGE.find(put(tmp_path / "plain", files), print))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


# The batches


def test_an_epoch_has_every_picture_once_with_its_class(plain) -> None:
    batches = list(LARGE.batches(plain, 5, generator()))
    assert [len(labels) for _, labels in batches] == [5, 5, 2]
    seen = []
    for images, labels in batches:
        assert (images.dtype, images.shape[1:], labels.dtype) == (torch.uint8, (3, 224, 224), torch.int64)
        assert images.is_contiguous(memory_format=torch.channels_last)
        for image, label in zip(images, labels.tolist(), strict=True):
            red, green, blue = image.float().mean((1, 2)).tolist()
            assert (green, blue) == (100 * label, 7)
            seen.append((red, label))
    assert sorted(seen) == sorted((20 * k, label) for label in range(3) for k in range(4))
    assert seen != sorted(seen)
    other = [label for _, labels in LARGE.batches(plain, 5, generator(1)) for label in labels.tolist()]
    assert other != [label for _, label in seen]


@pytest.fixture(params=["imagenet", "tiny"])
def case(request: pytest.FixtureRequest, tmp_path: Path):
    """Each of the two tasks, with twelve pictures."""
    task, files = (LARGE, imagenet()) if request.param == "imagenet" else (TINY, tiny_imagenet())
    return task, task.load(task.find(put(tmp_path / "data", files), print))


def test_an_epoch_goes_on_at_any_batch_bit_for_bit(case) -> None:
    task, data = case
    whole, end = generator(), None
    batches = list(task.batches(data, 5, whole))
    assert not torch.equal(batches[0][0], next(iter(task.batches(data, 5, whole)))[0]), "the next epoch is another"
    for skip in range(4):
        own = generator()
        rest = list(task.batches(data, 5, own, skip=skip))
        assert len(rest) == 3 - skip
        for mine, theirs in zip(rest, batches[skip:], strict=True):
            assert torch.equal(mine[0], theirs[0])
            assert torch.equal(mine[1], theirs[1])
        end = own.get_state() if end is None else end
        assert torch.equal(own.get_state(), end)


def test_all_is_drawn_before_the_first_batch(case) -> None:
    task, data = case
    one, all_of_them = generator(), generator()
    next(iter(task.batches(data, 5, one)))
    list(task.batches(data, 5, all_of_them))
    assert torch.equal(one.get_state(), all_of_them.get_state())
    assert not torch.equal(one.get_state(), generator().get_state())


def test_the_number_of_threads_changes_nothing_but_the_time(plain) -> None:
    batches = list(LARGE.batches(plain, 5, generator()))
    for loaders in (1, 7):
        others = parse_task(f"imagenet(images=12,loaders={loaders})").batches(plain, 5, generator())
        for mine, theirs in zip(batches, others, strict=True):
            assert torch.equal(mine[0], theirs[0])


def test_threads_end_with_the_epoch_and_with_who_takes_its_batches(plain) -> None:
    before = threads()
    batches = LARGE.batches(plain, 1, generator())
    next(batches)
    assert len(threads() - before) == LARGE.loaders
    batches.close()
    assert threads() == before
    list(LARGE.batches(plain, 1, generator()))
    assert threads() == before


def test_a_damaged_picture_ends_the_epoch_by_its_name(tmp_path: Path) -> None:
    files = imagenet()
    files["train/n01/train_1_2.JPEG"] = files["train/n01/train_1_2.JPEG"][:-99]
    data, before = LARGE.load(put(tmp_path, files)), threads()
    with pytest.raises(ValueError, match=r"train/n01/train_1_2.JPEG: damaged picture"):
        list(LARGE.batches(data, 5, generator()))
    assert threads() == before
    tiny = tiny_imagenet()
    tiny["val/images/val_4.JPEG"] = tiny["val/images/val_4.JPEG"][:-99]
    with pytest.raises(ValueError, match=r"val/images/val_4.JPEG: damaged picture"):
        TINY.load(put(tmp_path / "tiny", tiny))


def test_a_rank_decodes_its_own_part_and_no_more(plain, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, decoded, read = list(LARGE.batches(plain, 5, generator())), [], module.decoded
    monkeypatch.setattr(module, "needed_here", lambda size: slice(size // 2, size))
    monkeypatch.setattr(module, "decoded", lambda path: decoded.append(path) or read(path))
    parts = list(LARGE.batches(plain, 5, generator()))
    assert len(decoded) == len(set(decoded)) == 3 + 3 + 1
    for (images, labels), (part, same_labels) in zip(whole, parts, strict=True):
        half = len(labels) // 2
        assert torch.equal(part[half:], images[half:])
        assert torch.equal(same_labels, labels)


def test_the_data_is_shared_as_tensors(case, tmp_path: Path) -> None:
    """What workers map, and a task makes the same batches of."""
    task, data = case
    torch.save(data, tmp_path / "shared")
    mapped = torch.load(tmp_path / "shared", mmap=True, weights_only=False)
    for mine, theirs in zip(task.batches(data, 5, generator()), task.batches(mapped, 5, generator()), strict=True):
        assert torch.equal(mine[0], theirs[0])


# Numbers for the model


def test_pictures_are_normalised(case) -> None:
    task, _ = case
    images = torch.randint(256, (2, 3, 5, 7), generator=generator(), dtype=torch.uint8)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = ((images.numpy().transpose(0, 2, 3, 1) / 255 - mean) / std).transpose(0, 3, 1, 2)
    found = task.pictures(images)
    assert found.dtype == torch.float32
    assert np.allclose(found.numpy(), expected, atol=1e-6)


class Greenest(nn.Module):
    """Takes a picture's class from its green, as the plain pictures have it, and class 2 for class 0."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        label = ((x[:, 1].mean((1, 2)) * 0.224 + 0.456) * 255 / 100).round().long()
        return self.scale * F.one_hot(torch.where(label == 0, 2, label), 3).float()


def test_top_1_accuracy_and_loss_over_all_test_pictures(plain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three classes right: the loss is a mean of the two kinds' cross entropies, by hand."""
    monkeypatch.setattr(module, "EVALUATED", 4)
    with torch.inference_mode():
        found = LARGE.evaluate(Greenest(), plain)
    right, wrong = math.log(math.exp(3) + 2) - 3, math.log(math.exp(3) + 2)
    assert found == pytest.approx({"test_accuracy": 200 / 3, "test_loss": (2 * right + wrong) / 3}, rel=1e-5)


def test_the_loss_is_that_of_the_normalised_pictures(plain) -> None:
    images, labels = next(iter(LARGE.batches(plain, 12, generator())))
    right, wrong = math.log(math.exp(3) + 2) - 3, math.log(math.exp(3) + 2)
    assert LARGE.loss(Greenest(), (images, labels)).item() == pytest.approx((2 * right + wrong) / 3, rel=1e-5)


def test_the_models_have_as_many_classes_as_the_data(case) -> None:
    task, data = case
    model = task.model(data)
    assert model.head.out_features == 3
    kernel = model.stem[0].kernel_size
    assert kernel == ((7, 7) if task is LARGE else (3, 3))


def test_tiny_pictures_are_decoded_once_and_whole(tmp_path: Path) -> None:
    files = tiny_imagenet()
    data = TINY.load(put(tmp_path, files))
    assert data.train_images.shape == (12, 3, 64, 64)
    assert data.train_labels.tolist() == [0, 1, 2] * 4
    for k in range(4):
        for label in range(3):
            image = np.asarray(Image.open(io.BytesIO(files[f"train/n0{label}/images/n0{label}_{k}.JPEG"])))
            assert np.array_equal(data.train_images[3 * k + label].permute(1, 2, 0).numpy(), image)
    by_class = sorted((number % 3, number) for number in range(6))
    order = [by_class[0], by_class[2], by_class[4], by_class[1], by_class[3], by_class[5]]
    assert data.test_labels.tolist() == [label for label, _ in order]
    for found, (_, number) in zip(data.test_images, order, strict=True):
        image = np.asarray(Image.open(io.BytesIO(files[f"val/images/val_{number}.JPEG"])))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), image)


def test_a_picture_of_another_size_is_no_tiny_one(tmp_path: Path) -> None:
    files = {**tiny_imagenet(), "train/n01/images/n01_2.JPEG": picture(0, 64, 48)}
    with pytest.raises(ValueError, match=r"n01_2.JPEG: 64 x 48 pixels, not 64 x 64; the task imagenet takes any size"):
        TINY.load(put(tmp_path, files))


def test_tiny_pictures_move_by_up_to_eight_pixels(tmp_path: Path) -> None:
    data = TINY.load(put(tmp_path, tiny_imagenet()))
    bright = data._replace(train_images=torch.full_like(data.train_images, 255))
    black = (0 - 0.485) / 0.229
    borders = []
    for seed in range(20):
        for images, _ in TINY.batches(bright, 12, generator(seed)):
            assert images.shape == (12, 3, 64, 64)
            zeros = (images[:, 0] - black).abs() < 1e-5
            borders += zeros.all(2).sum(1).tolist()  # rows that are padding
    assert set(borders) == set(range(9))
