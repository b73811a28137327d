"""How fast each task trains, against the loop one would write with torch's own modules, as ratios in one run.

    python benchmarks/training_speed.py [TASK ...] [--data TASK=FOLDER ...] [--rounds 7] [--threads 1] [--out FOLDER]

Each task's model, batches and step as a study takes them, in turn with a loop of torch.nn's modules in their default
memory format, a DataLoader, torch.optim.RAdam and the loss's value taken at each step: the same sizes, the same batch
size, both in this process and with as many threads. Compared is the time a picture, a word, a piece of the target.
Evaluation is not in it. ImageNets' steps are taken with 32 pictures, since 256 take minutes here; imagenet's are cut
from Tiny ImageNet's (--data imagenet= with its unpacked folder), whose files decode faster than ImageNet's own. The
plain loop's sentences too are batched by length. Of the tasks that are others at larger sizes nothing is measured:
language-model-paper, translation-iwslt, translation-wmt.
"""

import argparse
import json
import math
import platform
import random
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from study_throughput import fashion_mnist, small_network
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader, Dataset

from rectified.figures.table import markdown
from rectified.files import write
from rectified.study.config.methods import parse
from rectified.study.config.runs import Run
from rectified.study.execution.provenance import versions
from rectified.study.execution.training import Training
from rectified.workloads.data.text.pieces import PAD
from rectified.workloads.models.layers import sinusoids
from rectified.workloads.models.resnet import resnet18, resnet20
from rectified.workloads.tasks import parse_task
from rectified.workloads.tasks.imagenet import random_crop
from rectified.workloads.tasks.task import BaseTask

LR = 1e-3
Steps = Iterator[int]  # each is an update, and tells of how many pictures, words or pieces


def pictures(batch: Any) -> int:
    return len(batch[1])


def words(batch: Any) -> int:
    return int(batch[1].numel())


def pieces(batch: Any) -> int:
    """Of the target, that are to be told."""
    return int((batch[1][:, 1:] != PAD).sum())


def ours(task: BaseTask, data: Any, batch_size: int, size: Callable[[Any], int]) -> Steps:
    """As a study trains it."""
    training = Training.begin(Run(task, parse("radam"), LR, 0, task.epochs, batch_size), data)
    training.model.train()
    for epoch in count():
        for batch in task.batches(data, batch_size, torch.Generator().manual_seed(epoch)):
            training.take(batch)
            yield size(batch)


def loop(
    model: nn.Module,
    loader: Iterable[Any],
    loss: Callable[[Any], Tensor],
    size: Callable[[Any], int],
    clip: float = math.inf,
) -> Steps:
    """As everybody trains."""
    optimizer = torch.optim.RAdam(model.parameters(), lr=LR)
    model.train()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            value = loss(batch)
            value.backward()
            if clip < math.inf:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            value.item()
            yield size(batch)


def classify(model: nn.Module, dataset: Dataset[Any], batch_size: int, workers: int = 0) -> Steps:
    loader = DataLoader(dataset, batch_size, shuffle=True, num_workers=workers)
    return loop(model, loader, lambda batch: F.cross_entropy(model(batch[0]), batch[1]), pictures)


class Augmented(Dataset[tuple[Tensor, int]]):
    """Picture by picture: padded, cropped, flipped, normalized."""

    def __init__(self, images: Tensor, labels: Tensor, padding: int) -> None:
        self.images, self.labels, self.padding = images.unsqueeze(1) if images.dim() == 3 else images, labels, padding

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = F.pad(self.images[i], (self.padding,) * 4)
        top, left, flip = (int(torch.randint(most, ())) for most in (2 * self.padding + 1, 2 * self.padding + 1, 2))
        height, width = self.images.shape[-2:]
        image = image[:, top : top + height, left : left + width]
        image = (image.flip(2) if flip else image).float() / 255
        return (image - 0.5) / 0.25, int(self.labels[i])


class Files(Dataset[tuple[Tensor, int]]):
    """Decoded, cropped, resized and normalized in the loader's processes."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.train.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        image = Image.open(Path(self.data.folder, self.data.train.path(i))).convert("RGB")
        pixels = np.array(random_crop(image, int(torch.randint(2**31, ()))))
        return (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 - 0.45) / 0.25, int(self.data.train.labels[i])


def streams(task: Any, data: Any, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The text cut into as many columns as a batch has rows, and these into sequences."""
    length = len(data.train) // batch_size
    text = data.train[: length * batch_size].long().view(batch_size, length)
    while True:
        for at in range(0, length - task.sequence, task.sequence):
            yield text[:, at : at + task.sequence], text[:, at + 1 : at + task.sequence + 1]


def recurrent(task: Any, data: Any, batch_size: int) -> Steps:
    embedding = nn.Embedding(data.vocabulary, task.embedding)
    layers = nn.LSTM(task.embedding, task.width, task.layers, batch_first=True, dropout=task.dropout)
    softmax = nn.AdaptiveLogSoftmaxWithLoss(task.width, data.vocabulary, list(task.cutoffs), head_bias=True)
    dropout, memory = nn.Dropout(task.dropout), [None]

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        x, state = layers(dropout(embedding(batch[0])), memory[0])
        memory[0] = tuple(part.detach() for part in state)
        told: Tensor = softmax(dropout(x).flatten(0, 1), batch[1].flatten()).loss
        return told

    model = nn.ModuleList([embedding, layers, softmax, dropout])
    return loop(model, streams(task, data, batch_size), loss, words, task.clip)


def gpt(task: Any, data: Any, batch_size: int) -> Steps:
    embedding, positions = nn.Embedding(data.vocabulary, task.width), nn.Embedding(task.sequence, task.width)
    layer = nn.TransformerEncoderLayer(
        task.width, task.heads, 4 * task.width, task.dropout, "gelu", batch_first=True, norm_first=True
    )
    blocks = nn.TransformerEncoder(layer, task.layers, nn.LayerNorm(task.width), enable_nested_tensor=False)
    mask = nn.Transformer.generate_square_subsequent_mask(task.sequence)

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        x = blocks(embedding(batch[0]) + positions.weight, mask=mask, is_causal=True)
        return F.cross_entropy((x @ embedding.weight.T).flatten(0, 1), batch[1].flatten())

    model = nn.ModuleList([embedding, positions, blocks])
    return loop(model, streams(task, data, batch_size), loss, words, task.clip)


def translate(task: Any, data: Any, batch_size: int) -> Steps:
    embedding = nn.Embedding(data.size, task.width, padding_idx=PAD)
    nn.init.normal_(embedding.weight, std=task.width**-0.5)
    transformer = nn.Transformer(
        task.width, task.heads, task.layers, task.layers, task.ffn, task.dropout, batch_first=True
    )
    dropout, positions = nn.Dropout(task.dropout), sinusoids(256, task.width)
    source, target = data.train

    class Sentences(Dataset[tuple[Tensor, Tensor]]):
        def __len__(self) -> int:
            return len(source.lengths())

        def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
            which = torch.tensor([i])
            return source.padded(which)[0], target.padded(which, begin=True)[0]

    def embedded(side: Tensor) -> Tensor:
        x: Tensor = dropout(embedding(side) * math.sqrt(task.width) + positions[: side.shape[1]])
        return x

    def loss(batch: tuple[Tensor, Tensor]) -> Tensor:
        given, wanted = batch[1][:, :-1], batch[1][:, 1:]
        empty = batch[0] == PAD
        mask = nn.Transformer.generate_square_subsequent_mask(given.shape[1], dtype=torch.bool)
        x = transformer(
            *(embedded(batch[0]), embedded(given)),
            tgt_mask=mask,
            src_key_padding_mask=empty,
            memory_key_padding_mask=empty,
            tgt_is_causal=True,
        )
        logits = x @ embedding.weight.T
        return F.cross_entropy(logits.flatten(0, 1), wanted.flatten(), ignore_index=PAD, label_smoothing=task.smoothing)

    def collate(pairs: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, ...]:
        return tuple(pad_sequence(side, batch_first=True, padding_value=PAD) for side in zip(*pairs, strict=True))

    alike = [which.tolist() for which in target.lengths().argsort().split(batch_size)]
    random.Random(0).shuffle(alike)
    loader = DataLoader(Sentences(), batch_sampler=alike, collate_fn=collate)
    model = nn.ModuleList([embedding, transformer])
    return loop(model, loader, loss, pieces, task.clip)


def small_pictures(model: Callable[[], nn.Module]) -> Callable[[Any, Any, int], Steps]:
    return lambda task, data, batch_size: classify(
        model(), Augmented(data.train_images, data.train_labels, task.padding), batch_size
    )


# By task: the plain loop, what its speed is counted in, updates in a round, and the batch size where not the task's.
MEASURED: dict[str, tuple[Callable[[Any, Any, int], Steps], Callable[[Any], int], int, int]] = {
    "fashion-mnist": (
        lambda task, data, size: classify(small_network(), fashion_mnist(data.train_images, data.train_labels), size),
        *(pictures, 20, 0),
    ),
    "fashion-mnist-resnet20": (small_pictures(lambda: resnet20(channels=1)), pictures, 8, 0),
    "cifar10": (small_pictures(resnet20), pictures, 8, 0),
    "tiny-imagenet(images=25000)": (small_pictures(lambda: resnet18(50, small=True)), pictures, 2, 32),
    "imagenet(images=25000)": (
        lambda task, data, size: classify(resnet18(len(data.classes)), Files(data), size, workers=1),
        *(pictures, 2, 32),
    ),
    "language-model": (recurrent, words, 5, 0),
    "language-model-gpt": (gpt, words, 3, 0),
    "translation": (translate, pieces, 4, 0),
}


def measure(name: str, folder: Path | None, rounds: int) -> list[tuple[float, float]]:
    """Seconds a picture, word or piece, the plain loop's and ours, a pair a round."""
    plain, size, steps, batch_size = MEASURED[name]
    task = parse_task(name)
    data = task.load(task.find(folder, print))
    torch.manual_seed(0)
    batch_size = batch_size or task.batch_size
    arms = [plain(task, data, batch_size), ours(task, data, batch_size, size)]

    def seconds(arm: Steps) -> float:
        began = time.perf_counter()
        learned = sum(next(arm) for _ in range(steps))
        return (time.perf_counter() - began) / learned

    for arm in arms:
        seconds(arm)
    found = []
    for i in range(rounds):
        pair = {which: seconds(arms[which]) for which in ((0, 1) if i % 2 else (1, 0))}
        found.append((pair[0], pair[1]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"default: all of {', '.join(MEASURED)}")
    parser.add_argument("--data", action="append", default=[], metavar="TASK=FOLDER", help="beginning of a task's name")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=1, help="1 is what a study's workers have")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    if unknown := set(asked.tasks) - set(MEASURED):
        parser.error(f"no such task: {', '.join(sorted(unknown))}; there are {', '.join(MEASURED)}")
    torch.set_num_threads(asked.threads)
    folders = dict(pair.split("=", 1) for pair in asked.data)
    rounds: dict[str, list[tuple[float, float]]] = {}
    lines = []
    for name in asked.tasks or MEASURED:
        folder = next((Path(folders[beginning]) for beginning in folders if name.startswith(beginning)), None)
        rounds[name] = measure(name, folder, asked.rounds)
        low, ratio, high = statistics.quantiles([plain / our for plain, our in rounds[name]], n=4)
        plain, our = (1e6 * statistics.median(arm) for arm in zip(*rounds[name], strict=True))
        lines.append([f"`{name}`", f"**{ratio:.2f}** ({low:.2f} to {high:.2f})", f"{plain:,.0f}", f"{our:,.0f}"])
        print(*lines[-1], flush=True)
    page = "\n".join(
        [
            "# How fast does each task train, compared with a plain loop?",
            "",
            "The plain loop has torch's own modules, a DataLoader and torch.optim.RAdam.",
            f"Medians of {asked.rounds} paired rounds (quartiles), {asked.threads} thread{'s' * (asked.threads > 1)} "
            f"each ({platform.machine()}, torch {torch.__version__}).",
            "A unit is an image, a word, or a piece of the target.",
            "",
            markdown(["task", "times as fast", "µs per unit, plain", "µs per unit, ours"], lines),
            f"Made by `{' '.join(['python benchmarks/training_speed.py', *sys.argv[1:]])}`.",
        ]
    )
    print(f"\n{page}")
    if asked.out is not None:
        asked.out.mkdir(parents=True, exist_ok=True)
        write(
            asked.out / "training_speed.json", json.dumps({"rounds": rounds, "versions": versions()}, indent=1) + "\n"
        )
        write(asked.out / "training_speed.md", page + "\n")


if __name__ == "__main__":
    main()
