"""Beam search with a Transformer: many sentences at once, keys and values kept."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..data.text.pieces import BOS, EOS, PAD
from .layers import Past
from .transformer import Transformer


class _Decoding:
    """Where the decoder stands: `width` rows for each sentence, which share what is read of its source."""

    def __init__(self, model: Transformer, source: Tensor, width: int) -> None:
        self.model, self.width = model, width
        self.reads, self.mask = model.encode(source)
        self.pasts = [Past() for _ in model.decoder]

    def step(self, tokens: Tensor, position: int) -> Tensor:
        """The last piece of each row, [sentences, width], to log p of the next, [sentences, width, pieces]."""
        x = self.model.embed(tokens.reshape(-1, 1), position)
        for layer, read, past in zip(self.model.decoder, self.reads, self.pasts, strict=True):
            x = layer(x, read, self.mask, past)
        logits = self.model.decoder_norm(x)[:, 0] @ self.model.embedding.weight.T
        return torch.log_softmax(logits, 1).view(-1, self.width, logits.shape[1])

    def keep(self, sentences: Tensor, rows: Tensor) -> None:
        """Those sentences, and of all rows, as they were counted before, those: [sentences kept, width]."""
        for past in self.pasts:
            past.keep(rows.flatten())
        if len(sentences) < len(self.reads[0][0]):
            self.reads = [(k[sentences], v[sentences]) for k, v in self.reads]
            self.mask = None if self.mask is None else self.mask[sentences]


@torch.no_grad()
def beam_search(
    model: Transformer, source: Tensor, longest: Sequence[int], width: int = 5, alpha: float = 1.0
) -> list[list[int]]:
    """The best translation found of each sentence, without EOS: by log p(y | x) / |y|^alpha, EOS counted in |y|.

    As fairseq's: of the 2 `width` likeliest ways to go on, those among the first `width` that end are finished, and the
    first `width` that do not end go on, until as many are finished. With width 1 that is greedy.

    Args:
        model: in evaluation mode.
        source: [n, s], EOS behind each sentence, then PAD.
        longest: how many pieces a translation may have, EOS not counted; for each sentence.
        alpha: more makes longer ones.

    Raises:
        ValueError: width is less than 1.
    """
    if width < 1:
        raise ValueError(f"width is {width}; it must be at least 1")
    decoding, device = _Decoding(model, source, width), source.device
    limits = torch.tensor(longest, device=device)
    which = list(range(len(source)))  # the sentence of each row of tensors: those that are over are dropped
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in which]
    scores = torch.full((len(source), width), -math.inf, device=device)
    scores[:, 0] = 0.0  # the rows of a sentence are all the same at first
    written = torch.full((len(source), width, 1), BOS, device=device)
    for length in range(max(longest, default=-1) + 1):
        logs = decoding.step(written[:, :, -1], length)
        logs[:, :, [PAD, BOS]] = -math.inf
        over = limits == length
        logs[over, :, :EOS] = -math.inf
        logs[over, :, EOS + 1 :] = -math.inf
        pieces = logs.shape[2]
        best, index = (scores[:, :, None] + logs).flatten(1).topk(min(2 * width, width * pieces), 1)
        rows, tokens = index // pieces, index % pieces
        ends = tokens == EOS
        for i, rank in (ends & best.isfinite())[:, :width].nonzero().tolist():
            if len(finished[which[i]]) < width:
                text = written[i, rows[i, rank], 1:].tolist()
                finished[which[i]].append((best[i, rank].item() / (length + 1) ** alpha, text))
        order = ends.long().argsort(dim=1, stable=True)[:, :width]  # a row ends in one way: at least `width` do not end
        scores = best.gather(1, order)
        rows, tokens = rows.gather(1, order), tokens.gather(1, order)
        going = [len(finished[which[i]]) < width for i in range(len(which))]
        left = (torch.tensor(going, device=device) & scores[:, 0].isfinite()).nonzero()[:, 0]
        if not len(left):
            break
        decoding.keep(left, (rows + width * torch.arange(len(rows), device=device)[:, None])[left])
        written = written.gather(1, rows[:, :, None].expand(-1, -1, length + 1))
        written = torch.cat((written, tokens[:, :, None]), 2)[left]
        scores, limits, which = scores[left], limits[left], [which[i] for i in left.tolist()]
    return [max(found, key=lambda one: one[0])[1] if found else [] for found in finished]
