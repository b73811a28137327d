"""Language models: an LSTM on One Billion Word, as the RAdam paper has it; small, and a small GPT, on WikiText-2."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..data.text import one_billion, wikitext
from ..data.text.words import Corpus
from ..models.gpt import GPT, check_gpt
from ..models.lstm import LSTM
from .lr_decay import LinearDecay, Milestones, Schedule
from .task import Say, Task

Batch = tuple[Tensor, Tensor, Tensor]
EVALUATED = 64  # streams at once

RECIPE = Milestones((9,), epochs=14)  # the authors' code: times 0.1 once nine epochs are over
DECAY = LinearDecay()


@dataclass(frozen=True, kw_only=True)
class LanguageModel(Task):
    """What is the next word? The loss is the mean of -log p of it; the perplexity is its exponential, on other text.

    The text is taken as a circle. In each epoch streams, as many as the batch size, begin on it at equal distances, the
    first at a random place, and a batch has the next `sequence` words of each. A whole epoch ends where each stream
    comes to the beginning of the next, or less than `sequence` words before.

    Attributes:
        words: of the text to train on, as published: an epoch's updates are known without it.
        sequence: words of a stream in a batch.
        updates: in an epoch, whether or not they come round; 0 is a whole epoch.
        layers: of the model, and `width` its own.
        dropout: everywhere in it.

    Raises:
        ValueError: one of them is out of its range.
    """

    options: ClassVar[tuple[str, ...]] = ("layers", "loss_scale", "sequence", "updates", "weight_decay", "width")

    words: int
    sequence: int
    layers: int
    width: int
    updates: int = 0
    dropout: float = 0.1
    metric: str = "valid_ppl"
    metric_label: str = "validation perplexity"
    compared: tuple[str, str] | None = ("valid_loss", "validation loss, nats")
    larger_is_better: bool = False
    margin: float = 0.02
    methods: str = "adam,radam"
    lrs: tuple[float, ...] = (0.001,)
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sequence", "layers", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.updates < 0:
            raise ValueError(f"updates is {self.updates}; it must be 1 or more, or 0 for the whole text")

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        return wikitext.find(folder, say, fetch)

    def load(self, folder: Path) -> Corpus:
        return wikitext.load(folder)

    @property
    def _trained(self) -> int:
        return self.words

    def steps_per_epoch(self, batch_size: int) -> int:
        return self.updates or max(1, self._trained // batch_size // self.sequence)

    def batches(self, data: Corpus, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Batch]:
        """Words and the word after each, [batch_size, sequence], and whether streams begin with them, [batch_size]."""
        count = len(data.train)
        starts = torch.randint(count, (1,), generator=generator) + torch.arange(batch_size) * count // batch_size
        span = torch.arange(self.sequence + 1)
        for step in range(skip, self.steps_per_epoch(batch_size)):
            words = data.train[(starts[:, None] + step * self.sequence + span) % count].long()
            yield words[:, :-1], words[:, 1:], torch.full((batch_size,), step == 0)

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """-log p of each word that is to be told, one after the other."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.losses(model, batch).mean()

    def evaluate(self, model: nn.Module, data: Corpus) -> dict[str, float]:
        loss = self._over(model, data.valid)
        return {"valid_ppl": float(loss.exp()), "valid_loss": float(loss)}

    def final(self, model: nn.Module, data: Corpus) -> dict[str, float]:
        return {"test_ppl": float(self._over(model, data.test).exp())}

    def _over(self, model: nn.Module, text: Tensor) -> Tensor:
        """The mean of -log p of every word but the first, in streams that know nothing of one another; float64."""
        device = next(model.parameters()).device
        count = len(text) - 1
        length = -(-count // EVALUATED)
        starts = torch.arange(0, count, length)[:, None]
        total = torch.zeros((), dtype=torch.float64, device=device)
        for begin in range(0, length, self.sequence):
            places = starts + torch.arange(begin, min(begin + self.sequence, length))
            there = (places < count).to(device)
            places = places.clamp(max=count - 1)
            batch = (text[places], text[places + 1], torch.full((len(places),), begin == 0))
            inputs, targets, fresh = (part.to(device) for part in batch)
            losses = self.losses(model, (inputs.long(), targets.long(), fresh))
            total += losses[there.flatten()].sum(dtype=torch.float64)
        return total / count


@dataclass(frozen=True, kw_only=True)
class Recurrent(LanguageModel):
    """LSTMs whose memory goes on from batch to batch within an epoch.

    Of several ranks each has the memory of its own streams, and a checkpoint has the first's alone: where a run goes on
    in the middle of an epoch, the others begin with what the first remembers, or with nothing if their part of a batch
    is of another size. That is soon forgotten, but it is not the uninterrupted run to round-off, as it is elsewhere.

    Attributes:
        embedding: its width.
        cutoffs: the ranks by frequency with which clusters of the adaptive softmax begin.
    """

    epochs: int = 14
    batch_size: int = 128
    clip: float = 5.0
    schedule: Schedule = RECIPE
    sequence: int = 20
    layers: int = 2
    embedding: int
    cutoffs: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < (least := 4 ** len(self.cutoffs)):
            raise ValueError(
                f"width is {self.width}; it must be {least} or more: each cluster has a quarter of the one before"
            )

    def model(self, data: Corpus) -> nn.Module:
        return LSTM(data.vocabulary, self.embedding, self.width, self.layers, self.dropout, self.cutoffs)

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTM)
        inputs, targets, fresh = batch
        return model.losses(model(inputs, fresh).flatten(0, 1), targets.flatten())


@dataclass(frozen=True, kw_only=True)
class OneBillionWord(Recurrent):
    """The paper's. Its code goes through one shard after the other with all streams; here each has a part of all text.

    Attributes:
        shards: to train on the first so many.
    """

    options: ClassVar[tuple[str, ...]] = (*LanguageModel.options, "shards")

    shards: int = one_billion.SHARDS

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        return one_billion.find(folder, self.shards, say)

    def load(self, folder: Path) -> Corpus:
        return one_billion.load(folder, self.shards)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.shards <= one_billion.SHARDS:
            raise ValueError(f"shards is {self.shards}; it must be from 1 to {one_billion.SHARDS}")

    @property
    def _trained(self) -> int:
        return self.words * self.shards // one_billion.SHARDS  # about, and the text is a circle


@dataclass(frozen=True, kw_only=True)
class Transformer(LanguageModel):
    """A GPT; what comes before its `sequence` words it does not know, in evaluation either.

    Attributes:
        norm: "pre" or "post".
        positions: "learned" or "sinusoidal".
        heads: of the attention; they share the width.
    """

    options: ClassVar[tuple[str, ...]] = (*LanguageModel.options, "norm", "positions")

    epochs: int = 10
    batch_size: int = 32
    clip: float = 1.0
    schedule: Schedule = DECAY
    sequence: int = 64
    layers: int = 4
    width: int = 128
    heads: int = 4
    norm: str = "pre"
    positions: str = "learned"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_gpt(self.width, self.heads, self.norm, self.positions)

    def model(self, data: Corpus) -> nn.Module:
        return GPT(
            data.vocabulary, self.sequence, self.layers, self.width, self.heads, self.dropout, self.norm, self.positions
        )

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, GPT)
        inputs, targets, _ = batch
        return model.losses(model(inputs).flatten(0, 1), targets.flatten())

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, GPT)
        inputs, targets, _ = batch
        return model.loss(model(inputs).flatten(0, 1), targets.flatten())


LANGUAGE_MODEL = Recurrent(
    name="language-model",
    title="WikiText-2",
    words=wikitext.WORDS,
    embedding=128,
    width=256,
    cutoffs=(2000, 10_000),
)
LANGUAGE_MODEL_GPT = Transformer(name="language-model-gpt", title="WikiText-2 with a GPT", words=wikitext.WORDS)
LANGUAGE_MODEL_PAPER = OneBillionWord(
    name="language-model-paper",
    title="One Billion Word",
    words=one_billion.WORDS,
    embedding=300,
    width=2048,
    cutoffs=(4000, 40_000, 200_000),
)
