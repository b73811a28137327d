"""Translation with the original Transformer: at a size for CPUs, and at the RAdam paper's for IWSLT'14 and WMT'16."""

import importlib.util
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.find import DataNotFoundError
from ..data.text import pairs, pieces
from ..data.text.buckets import Batch, Sides, batch_of, by_length, drawn
from ..data.text.pieces import PAD
from ..models import cpu
from ..models.beam import beam_search
from ..models.layers import NORMS
from ..models.transformer import Transformer, admin_init
from .lr_decay import LinearDecay, NoDecay
from .task import BaseTask, Say

SENTENCES = 64  # sentences that Admin profiles, and that are translated at once

# sacrebleu's tokenizers that need no further download; the others are for text that is tokenized otherwise.
TOKENIZERS = ("13a", "intl", "zh", "char", "none")
FOR_RAW_TEXT = ("13a", "intl")
TOKENIZED = (
    "the text is already tokenized (as by Moses: &apos;, @-@, spaces around punctuation), and its BLEU by {} is "
    "comparable to no published number: use raw text, or write tokenizer=none for BLEU over these tokens"
)


class Translations(NamedTuple):
    """Parallel text as subword pieces.

    Attributes:
        references: the translations of the test text, as text.
        vocabulary: the sentencepiece model as bytes; `size` is its number of pieces.
    """

    train: Sides
    valid: Sides
    test: Sides
    references: list[str]
    vocabulary: Tensor
    size: int


@dataclass(frozen=True, kw_only=True)
class Translation(BaseTask):
    """Translation with label-smoothed cross entropy per piece, measured by validation perplexity and test BLEU.

    Methods are compared by the validation loss, which also chooses an lr. The test text is used only for BLEU, with
    averaged weights if the task asks for them.

    An epoch is a block of `updates` updates, whose batches are drawn from the entire training text.

    Attributes:
        source, target: the languages, as in the files' names.
        norm: "post", "pre" or "admin", see :mod:`..models.layers`.
        layers: the number of layers in the encoder, and in the decoder.
        width, heads, ffn: the size of each layer.
        dropout: the dropout probability on embeddings and branches.
        smoothing: the label smoothing.
        vocabulary: the largest number of pieces for both languages together.
        updates: the number of updates per epoch.
        tokens: whether a batch size counts pieces of the longer side, with PAD, as in fairseq; otherwise sentences.
        decay: whether the lr decays linearly to 0.
        bleu: whether to translate the test text after the last epoch, by beam search of width 5.
        tokenizer: the sacrebleu tokenizer for BLEU, one of TOKENIZERS.
        fetched: whether to fetch Multi30k if no folder is named.
        cpu_tuning: whether to avoid holding the logits of a full batch, see :mod:`..models.cpu`: faster.

    Raises:
        ValueError: an attribute is out of range.
    """

    options: ClassVar[tuple[str, ...]] = (
        "averaged", "bleu", "cpu_tuning", "decay", "dropout", "ffn", "heads", "layers", "loss_scale", "norm", "source",
        "target", "tokenizer", "updates", "vocabulary", "weight_decay", "width",
    )  # fmt: skip

    metric: str = "valid_ppl"
    metric_label: str = "validation perplexity"
    compared: tuple[str, str] | None = ("valid_loss", "validation loss, nats")
    larger_is_better: bool = False
    margin: float = 0.02
    methods: tuple[str, ...] = ("adam", "radam", "adam+linear-500", "adam+untuned-linear")
    seeds: tuple[int, ...] = (0,)
    source: str = "de"
    target: str = "en"
    norm: str = "post"
    layers: int = 6
    width: int = 512
    heads: int = 4
    ffn: int = 1024
    dropout: float = 0.1
    smoothing: float = 0.1
    vocabulary: int = 10_000
    updates: int = 1000
    tokens: bool = True
    decay: bool = True
    bleu: bool = True
    tokenizer: str = "13a"
    fetched: bool = False
    cpu_tuning: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in {
            "averaged": 1,
            "ffn": 1,
            "heads": 1,
            "layers": 1,
            "updates": 1,
            "vocabulary": 5,
            "width": 2,
        }.items():
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be at least {least}")
        if self.width % 2 or self.width % self.heads:
            raise ValueError(f"width is {self.width}; it must be even and a multiple of the heads, {self.heads}")
        if self.norm not in NORMS:
            raise ValueError(f"norm is {self.norm!r}; it must be one of {', '.join(NORMS)}")
        if self.tokenizer not in TOKENIZERS:
            raise ValueError(f"tokenizer is {self.tokenizer!r}; it must be one of {', '.join(TOKENIZERS)}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}; it must be at least 0 and less than 1")
        for name in ("source", "target"):
            if not (getattr(self, name).isascii() and getattr(self, name).isalpha()):
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be a language suffix, such as de")
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source!r}; they must be two languages")
        object.__setattr__(self, "schedule", LinearDecay() if self.decay else NoDecay())

    @property
    def chance(self) -> float | None:
        """The loss in nats if all pieces are equally likely: ln of the largest possible number of pieces."""
        return math.log(self.vocabulary)

    def find(self, folder: Path | None, say: Say, fetch: bool = True) -> Path:
        for package in ("sentencepiece", "sacrebleu") if self.bleu else ("sentencepiece",):
            if importlib.util.find_spec(package) is None:
                raise DataNotFoundError(f"{self.name} needs {package}: pip install 'rectified[text]'")
        if folder is None and not self.fetched:
            raise DataNotFoundError(
                f"{self.name} does not fetch data: name a folder with its data, or with any other parallel text, with "
                "--data FOLDER; rectified/workloads/data/text/pairs.py lists the formats"
            )
        return pairs.find(
            folder,
            self.source,
            self.target,
            say,
            fetch,
            task=self.name.partition("(")[0],
            if_tokenized=TOKENIZED.format(self.tokenizer) if self.bleu and self.tokenizer in FOR_RAW_TEXT else "",
        )

    def load(self, folder: Path) -> Translations:
        """Load the text as pieces, with a vocabulary made from the training text."""
        corpus = pairs.load(folder, self.source, self.target)
        model = pieces.train([*corpus.train.source, *corpus.train.target], self.vocabulary)
        train, valid, test = (Sides(*(pieces.encode(model, side) for side in part)) for part in corpus)
        stored = torch.frombuffer(bytearray(model), dtype=torch.uint8)
        return Translations(train, valid, test, corpus.test.target, stored, pieces.size(model))

    def steps_per_epoch(self, batch_size: int) -> int:
        return self.updates

    def model(self, data: Translations) -> nn.Module:
        """The Transformer: 13.6 million parameters for the task `translation`, with 10,000 pieces."""
        model = Transformer(data.size, self.layers, self.width, self.heads, self.ffn, self.norm, self.dropout)
        if self.norm == "admin":
            # Of medium length, so that there is little PAD.
            order = data.train.target.lengths().argsort(stable=True)
            middle = order[max(0, len(order) - SENTENCES) // 2 :][:SENTENCES]
            source, target = batch_of(data.train, middle)
            admin_init(model, source, target[:, :-1])
        return model

    def batches(
        self, data: Translations, batch_size: int, generator: torch.Generator, skip: int = 0
    ) -> Iterator[Batch]:
        for which in drawn(data.train, self.updates, batch_size, self.tokens, generator)[skip:]:
            yield batch_of(data.train, which)

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        return self._nll(model, batch, self.smoothing) / self.weight(batch)

    def weight(self, batch: Batch) -> int:
        """The number of pieces in the target, including EOS."""
        return int((batch[1][:, 1:] != PAD).sum())

    def _nll(self, model: nn.Module, batch: Batch, smoothing: float) -> Tensor:
        assert isinstance(model, Transformer)
        source, given, wanted = batch[0], batch[1][:, :-1], batch[1][:, 1:]
        if self.cpu_tuning:
            hidden, real = model.hidden(source, given), wanted != PAD
            return cpu.linear_cross_entropy(hidden[real], model.embedding.weight, wanted[real], smoothing)
        logits = model(source, given).flatten(0, 1)
        return F.cross_entropy(logits, wanted.flatten(), ignore_index=PAD, label_smoothing=smoothing, reduction="sum")

    def evaluate(self, model: nn.Module, data: Translations) -> dict[str, float]:
        device = next(model.parameters()).device
        total, count = 0.0, 0
        for which in by_length(data.valid.target):
            source, target = (side.to(device) for side in batch_of(data.valid, which))
            total += self._nll(model, (source, target), 0.0).item()
            count += self.weight((source, target))
        loss = total / count
        return {"valid_ppl": math.exp(loss) if loss < 700 else math.inf, "valid_loss": loss}

    @property
    def final_metrics(self) -> tuple[tuple[str, str], ...]:
        return (("bleu", "BLEU"),) if self.bleu else ()

    def final(self, model: nn.Module, data: Translations) -> dict[str, float]:
        """Measure BLEU on the test text, from 0 to 100, with sacrebleu: see :func:`signature`."""
        if not self.bleu:
            return {}
        from sacrebleu.metrics.bleu import BLEU

        bleu = BLEU(tokenize=self.tokenizer)
        return {"bleu": bleu.corpus_score(self.translated(model, data), [data.references]).score}

    def translated(self, model: nn.Module, data: Translations) -> list[str]:
        """Translate the test text, each sentence into at most 1.2 times as many pieces as it has, plus 10."""
        assert isinstance(model, Transformer)
        device = next(model.parameters()).device
        found: list[list[int]] = [[] for _ in data.references]
        for which in torch.split(data.test.source.lengths().argsort(stable=True), SENTENCES):
            source = data.test.source.padded(which).to(device)
            longest = [int(1.2 * length + 10) for length in data.test.source.lengths()[which].tolist()]
            for i, sentence in zip(which.tolist(), beam_search(model, source, longest), strict=True):
                found[i] = sentence
        return pieces.decode(data.vocabulary.numpy().tobytes(), found)


def signature(tokenizer: str = "13a") -> str:
    """sacrebleu's signature for a task's `bleu`, to be reported with the number.

    >>> signature()  # doctest: +ELLIPSIS
    'nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:...'
    """
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize=tokenizer)
    metric.corpus_score(["a"], [["a"]])  # after that it knows the number of references
    return str(metric.get_signature())


TRANSLATION = Translation(
    name="translation",
    title="Translation",
    lrs=(5e-4,),
    epochs=8,
    batch_size=96,
    width=256,
    updates=50,
    tokens=False,
    decay=False,
    bleu=False,
    fetched=True,
)
TRANSLATION_IWSLT = Translation(
    name="translation-iwslt",
    title="Translation at IWSLT'14's size",
    methods=("adam+linear-4000", "radam", "radam(beta2=0.9995)"),
    lrs=(3e-4,),
    epochs=70,
    batch_size=4000,
    dropout=0.3,
    weight_decay=1e-4,
    clip=25.0,
    averaged=10,
)
TRANSLATION_WMT = Translation(
    name="translation-wmt",
    title="Translation at WMT'16's size",
    methods=("adam+linear-4000", "radam"),
    lrs=(3e-4,),
    epochs=100,
    batch_size=8196,
    source="en",
    target="de",
    heads=8,
    ffn=2048,
    averaged=10,
)
