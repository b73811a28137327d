"""Language models: the RAdam paper's LSTM on One Billion Word; a small LSTM and GPT on WikiText-2 or a user's text."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.find import DataNotFoundError
from ..data.text import one_billion, own_text, wikitext
from ..data.text.own_text import Identity
from ..data.text.words import Corpus
from ..models import cpu
from ..models.gpt import GPT, check_gpt
from ..models.lstm import LSTM
from .lr_decay import LinearDecay, LrSchedule, Milestones
from .task import BaseTask, Say

Batch = tuple[Tensor, Tensor, Tensor]
EVALUATED = 64  # streams at once
OWN_TEXT = ("corpus", "min_count")  # the options of tasks that take a user's own text

RECIPE = Milestones((9,), epochs=14)  # the authors' code: times 0.1 once nine epochs are over
DECAY = LinearDecay()


@dataclass(frozen=True, kw_only=True)
class LanguageModel(BaseTask):
    """Word-level language modeling. The loss is the mean of -log p; the perplexity is its exponential.

    An lr is chosen by the loss on the validation text; methods are compared by the test loss, measured once at the end.

    The training text is circular. In each epoch, as many streams as the batch size start at equal distances, the first
    at a random position, and a batch holds the next `sequence` words of each stream. A complete epoch ends where each
    stream reaches the start of the next one, or up to `sequence` words earlier.

    Attributes:
        words: the number of words in the published training text, so that steps per epoch are known without the data.
        published: the number of distinct words in the published training text.
        corpus: the identity of a user's own text, see :class:`..data.text.own_text.Identity`; "" for the published one.
        min_count: words of a user's own text that are seen less often in training become <unk>; 0 for 3, or 1 if the
            text already contains <unk>.
        sequence: the number of words of a stream in a batch.
        updates: the updates per epoch; streams then run past their ends or stop early. 0 for a complete epoch.
        layers: the number of layers.
        width: the width of each layer.
        dropout: the dropout probability everywhere in the model.

    Raises:
        ValueError: an attribute is out of range.
    """

    options: ClassVar[tuple[str, ...]] = ("layers", "loss_scale", "sequence", "updates", "weight_decay", "width")

    words: int
    published: int = wikitext.VOCABULARY
    corpus: str = ""
    min_count: int = 0
    sequence: int
    layers: int
    width: int
    updates: int = 0
    dropout: float = 0.1
    metric: str = "valid_ppl"
    metric_label: str = "validation perplexity"
    compared: tuple[str, str] | None = ("test_loss", "test loss, nats")
    larger_is_better: bool = False
    margin: float = 0.02
    methods: tuple[str, ...] = ("adam", "radam")
    lrs: tuple[float, ...] = (0.001,)
    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("sequence", "layers", "width"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be 1 or more")
        if self.corpus:
            Identity.parse(self.corpus)
        if self.min_count < 0:
            raise ValueError(f"min_count is {self.min_count}; it must be 1 or more, or 0 to choose automatically")
        if self.min_count and not self.corpus:
            raise ValueError(
                f"min_count is {self.min_count}; it is only for your own text: name its folder with --data FOLDER"
            )
        if self.updates < 0:
            raise ValueError(f"updates is {self.updates}; it must be 1 or more, or 0 for the whole text")

    def titled(self, options: Mapping[str, Any]) -> str:
        if not (corpus := options.get("corpus")):
            return super().titled(options)
        own = self.title.replace(wikitext.TITLE, Identity.parse(corpus).title)
        return replace(self, title=own).titled({name: value for name, value in options.items() if name != "corpus"})

    def options_of(self, folder: Path) -> dict[str, Any]:
        if "corpus" not in self.options or not own_text.is_in(folder):
            return {}
        return {"corpus": str(own_text.identify(folder))}

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        if self.corpus:
            return own_text.find(folder, Identity.parse(self.corpus))
        if folder is not None and (found := self.options_of(folder)):
            raise DataNotFoundError(
                f"{folder} holds your own text, but {self.name} is for {wikitext.TITLE}: "
                f"give the task the option corpus={found['corpus']}"
            )
        return wikitext.find(folder, say, fetch)

    def load(self, folder: Path) -> Corpus:
        return own_text.load(folder, self.min_count) if self.corpus else wikitext.load(folder)

    @property
    def chance(self) -> float | None:
        """The loss in nats if all words are equally likely, ln V; None for a user's own text.

        A user's vocabulary is counted only when the text is loaded in the workers; the text's identity lacks it.
        """
        return None if self.corpus else math.log(self.published)

    @property
    def _trained(self) -> int:
        return Identity.parse(self.corpus).words if self.corpus else self.words

    @property
    def chosen_by(self) -> tuple[str, str] | None:
        return "valid_loss", "validation loss, nats"

    @property
    def largest_batch(self) -> int:
        """The number of streams that have `sequence` words of their own."""
        return max(1, self._trained // self.sequence)

    def steps_per_epoch(self, batch_size: int) -> int:
        return self.updates or max(1, self._trained // batch_size // self.sequence)

    def batches(self, data: Corpus, batch_size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Batch]:
        """Batches: words and next words, int64 [batch_size, sequence], and whether streams start, bool [batch_size]."""
        count = len(data.train)
        starts = torch.randint(count, (1,), generator=generator) + torch.arange(batch_size) * count // batch_size
        span = torch.arange(self.sequence + 1)
        for step in range(skip, self.steps_per_epoch(batch_size)):
            words = data.train[(starts[:, None] + step * self.sequence + span) % count].long()
            yield words[:, :-1], words[:, 1:], torch.full((batch_size,), step == 0)

    @abstractmethod
    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        """The loss -log p of each target, [batch_size * sequence]."""

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self.losses(model, batch).mean()

    def evaluate(self, model: nn.Module, data: Corpus) -> dict[str, float]:
        loss = self._over(model, data.valid)
        return {"valid_ppl": float(loss.exp()), "valid_loss": float(loss)}

    @property
    def final_metrics(self) -> tuple[tuple[str, str], ...]:
        return (("test_ppl", "test perplexity"),)

    def final(self, model: nn.Module, data: Corpus) -> dict[str, float]:
        loss = self._over(model, data.test)
        return {"test_ppl": float(loss.exp()), "test_loss": float(loss)}

    def _over(self, model: nn.Module, text: Tensor) -> Tensor:
        """The mean of -log p over all words but the first, float64, with the text split into EVALUATED streams."""
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
class LSTMLanguageModel(LanguageModel):
    """An LSTM language model whose state is carried from batch to batch within an epoch.

    With several ranks, each has the state of its own streams, but a checkpoint holds only the first rank's. A run that
    resumes in the middle of an epoch gives that state to the other ranks too, or none if their part of a batch has
    another size. The effect fades soon, but unlike other tasks, such a run does not match an uninterrupted one.

    Attributes:
        embedding: the width of the word embeddings.
        cutoffs: the frequency ranks at which the clusters of the adaptive softmax begin; those beyond the vocabulary
            are left out.
    """

    options: ClassVar[tuple[str, ...]] = (*LanguageModel.options, *OWN_TEXT)

    epochs: int = 14
    batch_size: int = 128
    clip: float = 5.0
    schedule: LrSchedule = RECIPE
    sequence: int = 20
    layers: int = 2
    embedding: int
    cutoffs: tuple[int, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width < (least := 4 ** len(self.cutoffs)):
            raise ValueError(
                f"width is {self.width}; it must be at least {least}: each cluster has a quarter of the previous width"
            )

    def model(self, data: Corpus) -> nn.Module:
        # An adaptive softmax needs at least two clusters. If the text has too few words for the first cutoff, the
        # second cluster has one word, the rarest, which makes this a plain softmax.
        cutoffs = [cutoff for cutoff in self.cutoffs if cutoff < data.vocabulary] or [data.vocabulary - 1]
        return LSTM(data.vocabulary, self.embedding, self.width, self.layers, self.dropout, cutoffs)

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(model, LSTM)
        inputs, targets, fresh = batch
        return model.losses(model(inputs, fresh).flatten(0, 1), targets.flatten())


@dataclass(frozen=True, kw_only=True)
class OneBillionWord(LSTMLanguageModel):
    """The RAdam paper's language model on One Billion Word.

    The authors' code reads one shard after another with all streams; here each stream has its own part of the text.

    Attributes:
        shards: the number of training shards to use, from the first.
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
    def chance(self) -> float | None:
        """The loss in nats if all words are equally likely, ln V; None for a subset of shards, with fewer words."""
        return super().chance if self.shards == one_billion.SHARDS else None

    @property
    def _trained(self) -> int:
        return self.words * self.shards // one_billion.SHARDS  # approximate, which is fine since the text is circular


@dataclass(frozen=True, kw_only=True)
class GPTLanguageModel(LanguageModel):
    """A GPT language model, which sees only the words of its `sequence`, in evaluation too.

    Attributes:
        norm: "pre" or "post".
        positions: "learned" or "sinusoidal".
        heads: the number of attention heads, which split the width.
        cpu_tuning: whether to avoid holding the logits of a full batch, see :mod:`..models.cpu`: faster, and a gigabyte
            less at the default size.
    """

    options: ClassVar[tuple[str, ...]] = ("cpu_tuning", *LanguageModel.options, *OWN_TEXT, "norm", "positions")

    epochs: int = 10
    batch_size: int = 32
    clip: float = 1.0
    schedule: LrSchedule = DECAY
    sequence: int = 64
    layers: int = 4
    width: int = 128
    heads: int = 4
    norm: str = "pre"
    positions: str = "learned"
    cpu_tuning: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_gpt(self.width, self.heads, self.norm, self.positions)

    def model(self, data: Corpus) -> nn.Module:
        return GPT(
            data.vocabulary, self.sequence, self.layers, self.width, self.heads, self.dropout, self.norm, self.positions
        )

    def losses(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._cross_entropy(model, batch, "none")

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._cross_entropy(model, batch, "sum") / batch[1].numel()

    def _cross_entropy(self, model: nn.Module, batch: Batch, reduction: str) -> Tensor:
        assert isinstance(model, GPT)
        inputs, targets = batch[0], batch[1].flatten()
        if self.cpu_tuning:
            hidden = model.hidden(inputs).flatten(0, 1)
            return cpu.linear_cross_entropy(hidden, model.words.weight, targets, reduction=reduction)
        return F.cross_entropy(model(inputs).flatten(0, 1), targets, reduction=reduction)


LANGUAGE_MODEL = LSTMLanguageModel(
    name="language-model",
    title=wikitext.TITLE,
    words=wikitext.WORDS,
    embedding=128,
    width=256,
    cutoffs=(2000, 10_000),
)
LANGUAGE_MODEL_GPT = GPTLanguageModel(
    name="language-model-gpt", title=f"{wikitext.TITLE} with a GPT", words=wikitext.WORDS
)
LANGUAGE_MODEL_PAPER = OneBillionWord(
    name="language-model-paper",
    title="One Billion Word",
    words=one_billion.WORDS,
    published=one_billion.VOCABULARY,
    embedding=300,
    width=2048,
    cutoffs=(4000, 40_000, 200_000),
)
