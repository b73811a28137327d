"""Image data on a device: batches are made where the pictures are, from the same draws, and are those of a loop."""

import pytest
import torch

from rectified.workloads.data.images.pictures import Pictures
from rectified.workloads.tasks import TASKS, parse_task
from rectified.workloads.tasks.classification import Classification

IN_MEMORY = {
    name: task for name, task in TASKS.items() if isinstance(task, Classification) and not name.startswith("imagenet")
}
CUDA = torch.device("cuda")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pictures(name, count=20):
    shape = {"cifar10": (3, 32, 32), "tiny-imagenet": (3, 64, 64)}.get(name, (28, 28))
    images = torch.randint(256, (count, *shape), dtype=torch.uint8, generator=generator())
    labels = torch.randint(10, (count,), dtype=torch.uint8, generator=generator())
    return Pictures(images, labels, images[:4], labels[:4])


@pytest.mark.parametrize("name", IN_MEMORY)
def test_a_batch_is_made_where_the_pictures_are(name):
    """Torch's meta device has shapes and no numbers, and indexes made on the CPU do not fit there, as on a GPU."""
    task, data = TASKS[name], pictures(name)
    moved = Pictures(*(part.to("meta") for part in data))
    for skip in (0, 2):
        here, there = (list(task.batches(each, 8, generator(), skip)) for each in (data, moved))
        assert [len(labels) for _, labels in there] == [8, 8, 4][skip:]
        for ours, theirs in zip(here, there, strict=True):
            for mine, other in zip(ours, theirs, strict=True):
                assert other.device.type == "meta"
                assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
    held_out = parse_task(f"{name}(validation=6)") if "validation" in task.options else task
    for batch in (*held_out.held_out(moved), *held_out.evaluation(moved)):
        assert {part.device.type for part in batch} == {"meta"}


@pytest.mark.parametrize("name", IN_MEMORY)
def test_an_epoch_is_that_of_a_loop_over_the_same_draws(name):
    """Bit for bit, so that a study's numbers stay what they were: order, then moves, then flips, from one generator."""
    task, data, draw = TASKS[name], pictures(name), generator(3)
    order = torch.randperm(20, generator=draw)
    expected = data.train_images[order]
    if padding := getattr(task, "padding", 0):
        moves, flips = torch.randint(2 * padding + 1, (2, 20), generator=draw), torch.randint(2, (20,), generator=draw)
        padded = torch.nn.functional.pad(expected, (padding,) * 4)
        height, width = expected.shape[-2:]
        crops = [
            image[..., row : row + height, column : column + width]
            for image, row, column in zip(padded, *moves.tolist(), strict=True)
        ]
        expected = torch.stack([crop.flip(-1) if flip else crop for crop, flip in zip(crops, flips, strict=True)])
    own = generator(3)
    found = list(task.batches(data, 8, own))
    assert torch.equal(own.get_state(), draw.get_state())
    assert torch.equal(torch.cat([images for images, _ in found]), task.pictures(expected))
    assert torch.equal(torch.cat([labels for _, labels in found]), data.train_labels[order].long())


class Part:
    """A tensor of which only the device matters."""

    def __init__(self, device="cpu"):
        self.device = torch.device(device)

    def to(self, device):
        return Part(device)


@pytest.mark.parametrize("name", IN_MEMORY)
def test_pictures_move_to_a_gpu_and_stay_on_a_cpu(name):
    data = pictures(name)
    assert TASKS[name].on_device(data, torch.device("cpu")) is data
    moved = TASKS[name].on_device(Pictures(*(Part() for _ in range(4))), torch.device("cuda", 1))
    assert isinstance(moved, Pictures)
    assert {part.device for part in moved} == {torch.device("cuda", 1)}


@pytest.mark.parametrize("name", [name for name in TASKS if name not in IN_MEMORY])
def test_what_is_read_on_demand_or_small_stays_where_it_is(name):
    data = object()
    assert TASKS[name].on_device(data, CUDA) is data


def test_normalizing_after_an_evaluation_can_be_trained_through():
    """The means are kept, and the first to ask for them may be in inference mode."""
    task = parse_task("cifar10(subset=16)")
    data = pictures("cifar10")._replace(test_images=torch.zeros(4, 3, 32, 32, dtype=torch.uint8))
    torch.manual_seed(0)
    model = task.model(data)
    with torch.inference_mode():
        task.evaluate(model.eval(), data)
    loss = task.loss(model.train(), next(task.batches(data, 8, generator())))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())
