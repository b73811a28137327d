"""Sentences as pieces of words: one vocabulary for both languages, made from their training text by byte pair encoding.

Sennrich, Haddow, Birch 2016 (arXiv:1508.07909), as implemented by sentencepiece (Kudo, Richardson 2018,
arXiv:1808.06226): spaces are part of the pieces, so that joining the pieces restores the text. Needs the extra `text`.
"""

import io
from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

PAD, BOS, EOS, UNK = range(4)  # never in a text: padding, begin and end of a sentence, unknown character
READ = 2_000_000  # lines to make a vocabulary from; sentencepiece has them all in memory
AT_ONCE = 100_000  # lines to encode in one call


class Pieces(NamedTuple):
    """Concatenated sentences in pieces: the i-th is ``ids[offsets[i] : offsets[i + 1]]``, without BOS and EOS.

    Attributes:
        ids: int32 [all pieces].
        offsets: int64 [sentences + 1].
    """

    ids: Tensor
    offsets: Tensor

    def lengths(self) -> Tensor:
        """The number of pieces of each sentence, int64 [sentences].

        >>> Pieces(torch.tensor([7, 8, 9], dtype=torch.int32), torch.tensor([0, 1, 3])).lengths()
        tensor([1, 2])
        """
        return self.offsets.diff()

    def padded(self, which: Tensor, begin: bool = False) -> Tensor:
        """The sentences numbered `which` as rows, int64 [n, longest + 1]: each ends in EOS, then PAD.

        Args:
            begin: put BOS in front, which makes rows longer by one.

        >>> Pieces(torch.tensor([7, 8, 9], dtype=torch.int32), torch.tensor([0, 1, 3])).padded(torch.tensor([1, 0]))
        tensor([[8, 9, 2],
                [7, 2, 0]])
        """
        starts = self.offsets[which]
        lengths = self.offsets[which + 1] - starts
        columns = torch.arange(int(lengths.max()) + 1)
        rows = torch.full((len(which), len(columns) + begin), BOS)
        text = rows[:, int(begin) :]
        text.fill_(PAD)
        inside = columns < lengths[:, None]
        text[inside] = self.ids[(starts[:, None] + columns)[inside]].long()
        text[torch.arange(len(which)), lengths] = EOS
        return rows


def train(lines: Sequence[str], vocabulary: int) -> bytes:
    """Make a vocabulary of at most `vocabulary` pieces; the same lines give the same bytes.

    There is a piece for every character but the rarest (one in 10,000 of the text); then the two pieces that are next
    to each other most often become another one, until there are enough. If there are more than READ lines, only every
    second, third, ... is used.

    Returns:
        sentencepiece's model.

    Raises:
        ValueError: there are more characters than pieces.
    """
    from sentencepiece import SentencePieceTrainer

    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(lines[:: -(-len(lines) // READ) or 1]),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary,
            hard_vocab_limit=False,
            character_coverage=0.9999,
            pad_id=PAD,
            bos_id=BOS,
            eos_id=EOS,
            unk_id=UNK,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise ValueError(f"no vocabulary of {vocabulary} pieces from {len(lines)} lines: {error}") from None
    return model.getvalue()


def size(model: bytes) -> int:
    """The number of pieces in a vocabulary that :func:`train` made, including PAD, BOS, EOS and UNK."""
    from sentencepiece import SentencePieceProcessor

    return SentencePieceProcessor(model_proto=model).vocab_size()


def encode(model: bytes, lines: Sequence[str]) -> Pieces:
    """Encode lines with a vocabulary that :func:`train` made."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=model)
    ids, lengths = [torch.empty(0, dtype=torch.int32)], [torch.zeros(1, dtype=torch.int64)]
    for begin in range(0, len(lines), AT_ONCE):
        sentences = processor.encode(list(lines[begin : begin + AT_ONCE]), out_type=int)
        ids.append(torch.tensor(list(chain.from_iterable(sentences)), dtype=torch.int32))
        lengths.append(torch.tensor([len(sentence) for sentence in sentences]))
    return Pieces(torch.cat(ids), torch.cat(lengths).cumsum(0))


def decode(model: bytes, sentences: Sequence[Sequence[int]]) -> list[str]:
    """Decode sentences of pieces to text."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor(model_proto=model)
    return [processor.decode(list(sentence)) for sentence in sentences]
