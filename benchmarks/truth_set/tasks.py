"""The tasks of the truth set: twelve pairs of data and architecture of different character, seconds a run on one core.

Each is a Task, so `rectified probe benchmarks/truth_set/tasks.py:cnn` and `rectified study ...` run it too. They need
Fashion-MNIST (found or fetched as by a study), and Tiny Shakespeare and Multi30k in the folder RECTIFIED_SHARED_DATA.

HELD_OUT was chosen before the first run. No rule and no threshold of a verdict was made on these tasks.
"""

import gzip
import math
import os
from collections import Counter
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rectified.study import Task
from rectified.workloads.data.images import fashion_mnist_files
from rectified.workloads.models.gpt import GPT
from rectified.workloads.models.resnet import ResNet
from rectified.workloads.models.small_cnn import SmallCNN
from rectified.workloads.models.transformer import Transformer
from rectified.workloads.tasks.lr_decay import LinearDecay

STEPS = 640
HELD_OUT = ("autoencoder", "finetune", "lstm", "policy", "translator")

SHARED = Path(os.environ.get("RECTIFIED_SHARED_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
TRAIN, VALID = 24_000, 2_000


# Pictures.


@cache
def pictures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and validation pictures [n, 1, 28, 28] and labels, in this order: train, labels, valid, labels."""
    parts = fashion_mnist_files.load(fashion_mnist_files.find())
    train = (parts.train_images[: TRAIN + VALID, None].float() / 255 - 0.286) / 0.353
    labels = parts.train_labels[: TRAIN + VALID].long()
    return train[:TRAIN], labels[:TRAIN], train[TRAIN:], labels[TRAIN:]


@cache
def small_pictures() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same, 14 x 14."""
    train, labels, valid, valid_labels = pictures()
    return F.avg_pool2d(train, 2), labels, F.avg_pool2d(valid, 2), valid_labels


def classified(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def _of_pictures(name: str, model, data=pictures, batch_size: int = 32) -> Task:
    train, labels, valid, valid_labels = data()
    return Task(
        name,
        model=model,
        train=(train, labels),
        valid=(valid, valid_labels),
        loss=classified,
        metric="valid_loss",
        chance=math.log(10),
        batch_size=batch_size,
        epochs=1,
        steps_per_epoch=STEPS,
        schedule=LinearDecay(),
        margin=0.02,
    )


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )


def deep_mlp(layers: int = 16, width: int = 32) -> nn.Module:
    """A deep and narrow net with He's initialization, without any normalization."""
    parts: list[nn.Module] = [nn.Flatten()]
    for fan_in in [784, *[width] * (layers - 1)]:
        parts += [nn.Linear(fan_in, width), nn.ReLU()]
        nn.init.kaiming_normal_(parts[-2].weight)
        nn.init.zeros_(parts[-2].bias)
    return nn.Sequential(*parts, nn.Linear(width, 10))


def narrow_resnet20() -> nn.Module:
    """ResNet-20 with half its channels."""
    stem = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(inplace=True))
    return ResNet(stem, 8, (3, 3, 3), 10, projection=False)


class ViT(nn.Module):
    """A pre-norm vision transformer on 16 patches."""

    def __init__(self, width: int = 48, layers: int = 2) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, stride=7)
        self.positions = nn.Parameter(0.02 * torch.randn(16, width))
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(block, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2) + self.positions
        return self.head(self.blocks(tokens).mean(1))


def autoencoder() -> nn.Module:
    sizes = [784, 128, 32, 8, 32, 128, 784]
    layers = [nn.Flatten()]
    for a, b in pairwise(sizes):
        layers += [nn.Linear(a, b), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


def reconstructed(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.mse_loss(model(batch[0]), batch[0].flatten(1))


# Text.


@cache
def shakespeare() -> tuple[Tensor, Tensor, int]:
    return _characters((SHARED / "tinyshakespeare" / "input.txt").read_text())


def _characters(text: str) -> tuple[Tensor, Tensor, int]:
    """Training and validation text as characters, and how many there are."""
    letters = sorted(set(text))
    numbers = {letter: i for i, letter in enumerate(letters)}
    whole = torch.tensor([numbers[letter] for letter in text])
    return whole[:-100_000], whole[-100_000:], len(letters)


LENGTH = 32


def windows(text: Tensor):
    def batches(batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(STEPS):
            starts = torch.randint(len(text) - LENGTH - 1, (batch_size, 1), generator=generator)
            window = text[starts + torch.arange(LENGTH + 1)]
            yield window[:, :-1], window[:, 1:]

    return batches


def next_characters(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch[0]).flatten(0, 1), batch[1].flatten())


def _of_characters(name: str, model) -> Task:
    train, valid, count = shakespeare()
    starts = torch.arange(0, 400 * LENGTH, LENGTH)[:, None] + torch.arange(LENGTH + 1)
    return Task(
        name,
        model=lambda: model(count),
        train=windows(train),
        valid=(valid[starts[:, :-1]], valid[starts[:, 1:]]),
        loss=next_characters,
        metric="valid_loss",
        chance=math.log(count),
        batch_size=16,
        epochs=1,
        steps_per_epoch=STEPS,
        schedule=LinearDecay(),
        margin=0.02,
    )


class CharLSTM(nn.Module):
    def __init__(self, count: int, width: int = 96) -> None:
        super().__init__()
        self.embedding = nn.Embedding(count, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, count)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(x))[0])


def gpt(norm: str):
    return lambda count: GPT(count, LENGTH, 2, 48, 4, 0.0, norm, "sinusoidal" if norm == "post" else "learned")


@cache
def captions() -> tuple[list[str], list[str]]:
    folder = SHARED / "multi30k" / "data" / "task1" / "raw"
    sides = (gzip.decompress((folder / f"train.{language}.gz").read_bytes()).decode() for language in ("de", "en"))
    german, english = ([line.lower().split() for line in side.splitlines()] for side in sides)
    return german, english


def as_numbers(lines: list[list[str]], count: int, length: int) -> Tensor:
    """Words as numbers: 0 is padding, 1 unknown, 2 the beginning, 3 the end."""
    common = [word for word, _ in Counter(word for line in lines for word in line).most_common(count - 4)]
    numbers = {word: i + 4 for i, word in enumerate(common)}
    rows = torch.zeros(len(lines), length, dtype=torch.long)
    for row, line in zip(rows, lines, strict=True):
        words = [2, *[numbers.get(word, 1) for word in line][: length - 2], 3]
        row[: len(words)] = torch.tensor(words)
    return rows


def translated(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    source, target = batch
    logits = model(source, target[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=0)


def _translator() -> Task:
    german, english = captions()
    count, length = 600, 12
    source, target = as_numbers(german, count, length), as_numbers(english, count, length)
    return Task(
        "translator",
        model=lambda: Transformer(count, 2, 48, 4, 96, "post", 0.0),
        train=(source[:TRAIN], target[:TRAIN]),
        valid=(source[TRAIN : TRAIN + VALID], target[TRAIN : TRAIN + VALID]),
        loss=translated,
        metric="valid_loss",
        chance=math.log(count),
        batch_size=16,
        epochs=1,
        steps_per_epoch=STEPS,
        schedule=LinearDecay(),
        margin=0.02,
    )


@cache
def pretrained() -> dict[str, Tensor]:
    """A GPT trained on English captions, with Tiny Shakespeare's letters, to be fine-tuned on Tiny Shakespeare."""
    _, _, count = shakespeare()
    letters = sorted(set((SHARED / "tinyshakespeare" / "input.txt").read_text()))
    text = "\n".join(" ".join(line) for line in captions()[1])
    numbers = {letter: i for i, letter in enumerate(letters)}
    train = torch.tensor([numbers[letter] for letter in text if letter in numbers])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = gpt("pre")(count)
        optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
        for step, batch in enumerate(windows(train)(16, torch.Generator().manual_seed(0))):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * min(1, (step + 1) / 50) * (1 - step / STEPS)
            optimizer.zero_grad()
            next_characters(model, batch).backward()
            optimizer.step()
    return model.state_dict()


def _finetuned(count: int) -> nn.Module:
    model = gpt("pre")(count)
    model.load_state_dict(pretrained())
    return model


# A policy gradient.


class Policy(nn.Module):
    """A Gaussian policy for a cart on a line: position and velocity to the mean of a force."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
        self.log_std = nn.Parameter(torch.tensor(-0.5))


def episodes(model: Policy, starts: Tensor, noise: Tensor | None) -> tuple[Tensor, Tensor]:
    """Costs [horizon, n], and log-probabilities of the forces [horizon, n]."""
    x, costs, logs = starts, [], []
    for time in range(20):
        mean = model.mean(x)[:, 0]
        force = mean.detach() if noise is None else mean.detach() + model.log_std.exp().detach() * noise[time]
        score = (force - mean) / model.log_std.exp()
        logs.append(-score.square() / 2 - model.log_std)
        velocity = x[:, 1] + 0.3 * force - 0.1 * x[:, 0]
        x = torch.stack([x[:, 0] + 0.3 * velocity, velocity], 1).clamp(-10, 10)
        costs.append(x[:, 0].square() + 0.1 * velocity.square() + 0.01 * force.square().clamp(max=100))
    return torch.stack(costs), torch.stack(logs)


def starts_and_noise(batch_size: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
    for _ in range(STEPS):
        yield torch.randn(batch_size, 2, generator=generator), torch.randn(batch_size, 20, generator=generator)


def reinforced(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    """REINFORCE with costs to go and the batch's mean as a baseline."""
    costs, logs = episodes(model, batch[0], batch[1].T)
    to_go = costs.flip(0).cumsum(0).flip(0)
    advantage = (to_go - to_go.mean(1, keepdim=True)) / (to_go.std() + 1e-6)
    return (advantage * logs).mean()


def cost(model: nn.Module) -> dict[str, float]:
    starts = torch.randn(500, 2, generator=torch.Generator().manual_seed(1))
    return {"cost": episodes(model, starts, None)[0].mean().item()}


def _policy() -> Task:
    return Task(
        "policy",
        model=Policy,
        train=starts_and_noise,
        loss=reinforced,
        evaluate=cost,
        larger_is_better=False,
        batch_size=32,
        epochs=1,
        steps_per_epoch=STEPS,
        schedule=LinearDecay(),
        margin=0.02,
    )


MAKE = {
    "mlp": lambda: _of_pictures("mlp", mlp),
    "deep-mlp": lambda: _of_pictures("deep-mlp", deep_mlp),
    "cnn": lambda: _of_pictures("cnn", SmallCNN),
    "resnet20": lambda: _of_pictures("resnet20", narrow_resnet20, small_pictures, batch_size=8),
    "vit": lambda: _of_pictures("vit", ViT, batch_size=16),
    "gpt-post": lambda: _of_characters("gpt-post", gpt("post")),
    "gpt-pre": lambda: _of_characters("gpt-pre", gpt("pre")),
    "autoencoder": lambda: _autoencoder(),
    "finetune": lambda: _of_characters("finetune", _finetuned),
    "lstm": lambda: _of_characters("lstm", CharLSTM),
    "policy": _policy,
    "translator": _translator,
}


def _autoencoder() -> Task:
    train, labels, valid, valid_labels = pictures()
    return Task(
        "autoencoder",
        model=autoencoder,
        train=(train, labels),
        valid=(valid, valid_labels),
        loss=reconstructed,
        metric="valid_loss",
        batch_size=32,
        epochs=1,
        steps_per_epoch=STEPS,
        schedule=LinearDecay(),
        margin=0.01,
    )


def __getattr__(name: str) -> Task:
    """Tasks by name, made when they are asked for, since each loads its own data."""
    made = MAKE.get(name.replace("_", "-"))
    if made is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return made()
