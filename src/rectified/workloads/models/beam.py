"""Beam search with a Transformer: many sentences at once, with cached keys and values."""

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from ..data.text.pieces import BOS, EOS, PAD
from .layers import CrossAttention, DecoderLayer, SelfAttention, merge_heads, split_heads
from .transformer import Transformer


class _Decoder:
    """A Transformer's decoder, one position at a time, for `width` beams per sentence.

    Keys and values are kept: those of the memory, which the beams of a sentence share, and those of the positions
    decoded so far, [rows, heads, positions, width of a head]. A step then costs one position, not the whole prefix.
    """

    def __init__(self, model: Transformer, source: Tensor, width: int) -> None:
        self.model, self.width = model, width
        memory, self.mask = model.encode(source)
        self.memories = [layer.cross.keys_values(memory) for layer in model.decoder]  # type: ignore[operator, union-attr]
        self.pasts: list[tuple[Tensor, Tensor] | None] = [None] * len(model.decoder)

    def step(self, tokens: Tensor, position: int) -> Tensor:
        """The last piece of each beam, [sentences, width], to log p of the next, [sentences, width, pieces]."""
        x = self.model.embed(tokens.reshape(-1, 1), position)
        for i, layer in enumerate(self.model.decoder):
            assert isinstance(layer, DecoderLayer)
            x = layer.attention_residual(x, partial(self._attend_to_past, i, layer.attention))
            x = layer.cross_residual(x, partial(self._attend_to_memory, i, layer.cross))
            x = layer.feed_forward_residual(x, layer.feed_forward)
        logits = self.model.decoder_norm(x)[:, 0] @ self.model.embedding.weight.T
        return torch.log_softmax(logits, 1).view(-1, self.width, logits.shape[1])

    def _attend_to_past(self, i: int, attention: SelfAttention, x: Tensor) -> Tensor:
        q, k, v = (split_heads(part, attention.heads) for part in attention.qkv(x).chunk(3, dim=2))
        if (past := self.pasts[i]) is not None:
            k, v = torch.cat((past[0], k), 2), torch.cat((past[1], v), 2)
        self.pasts[i] = k, v
        return attention.output(merge_heads(F.scaled_dot_product_attention(q, k, v)))  # type: ignore[no-any-return]

    def _attend_to_memory(self, i: int, cross: CrossAttention, x: Tensor) -> Tensor:
        # The beams of a sentence attend to one memory, so they stand where the positions of a target would.
        q = split_heads(cross.q(x.view(-1, self.width, x.shape[2])), cross.heads)
        k, v = self.memories[i]
        y = merge_heads(F.scaled_dot_product_attention(q, k, v, self.mask))
        return cross.output(y).view(x.shape)  # type: ignore[no-any-return]

    def keep(self, sentences: Tensor, rows: Tensor) -> None:
        """Keep these sentences, and these rows of all previous beams, [sentences, width], possibly repeated."""
        self.pasts = [past and (past[0][rows.flatten()], past[1][rows.flatten()]) for past in self.pasts]
        if len(sentences) < len(self.memories[0][0]):
            self.memories = [(k[sentences], v[sentences]) for k, v in self.memories]
            self.mask = None if self.mask is None else self.mask[sentences]


@torch.no_grad()
def beam_search(
    model: Transformer, source: Tensor, longest: Sequence[int], width: int = 5, alpha: float = 1.0
) -> list[list[int]]:
    """The best translation found of each sentence, as piece ids without EOS.

    Translations are ranked by log p(y | x) / |y|^alpha, where |y| counts EOS. The search is fairseq's: in each step, of
    the 2 `width` likeliest continuations, those that end are finished if they are among the first `width`, and the
    first `width` that do not end are extended, until `width` are finished. Width 1 is greedy decoding.

    Args:
        model: in evaluation mode.
        source: [n, s], each row a sentence, EOS, then PAD.
        longest: the most pieces of each sentence's translation, without EOS.
        alpha: the length penalty; larger values favor longer translations.

    Raises:
        ValueError: width is less than 1.
    """
    if width < 1:
        raise ValueError(f"width is {width}; it must be at least 1")
    decoder, device = _Decoder(model, source, width), source.device
    limits = torch.tensor(longest, device=device)
    which = list(range(len(source)))  # the sentence of each row: finished ones are dropped
    finished: list[list[tuple[float, list[int]]]] = [[] for _ in which]
    scores = torch.full((len(source), width), -math.inf, device=device)
    scores[:, 0] = 0.0  # a sentence's beams are all the same at first
    written = torch.full((len(source), width, 1), BOS, device=device)
    for length in range(max(longest, default=-1) + 1):
        logs = decoder.step(written[:, :, -1], length)
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
        order = ends.long().argsort(dim=1, stable=True)[:, :width]  # a beam ends in one way, so `width` or more go on
        scores = best.gather(1, order)
        rows, tokens = rows.gather(1, order), tokens.gather(1, order)
        going = [len(finished[which[i]]) < width for i in range(len(which))]
        left = (torch.tensor(going, device=device) & scores[:, 0].isfinite()).nonzero()[:, 0]
        if not len(left):
            break
        decoder.keep(left, (rows + width * torch.arange(len(rows), device=device)[:, None])[left])
        written = written.gather(1, rows[:, :, None].expand(-1, -1, length + 1))
        written = torch.cat((written, tokens[:, :, None]), 2)[left]
        scores, limits, which = scores[left], limits[left], [which[i] for i in left.tolist()]
    return [max(found, key=lambda one: one[0])[1] if found else [] for found in finished]
