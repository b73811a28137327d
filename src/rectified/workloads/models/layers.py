"""The layers of a Transformer (Vaswani et al. 2017, arXiv:1706.03762).

Their layer norms are behind the shortcuts, as there ("post"), or in the branches ("pre"; Xiong et al. 2020,
arXiv:2002.04745), or behind weighted shortcuts ("admin"; Liu et al. 2020, arXiv:2004.08249).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("post", "pre", "admin")

Read = tuple[Tensor, Tensor]  # keys and values


def dropout(x: Tensor, share: float, training: bool) -> Tensor:
    """F.dropout, on the CPU in a third of its time: a 64-bit random number serves four elements.

    There `share` is rounded to a multiple of 1 / 65,536.
    """
    if not training or not share:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, share)
    dropped = round(share * 2**16)
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - 2**15
    return x * torch.where(kept, 2**16 / (2**16 - dropped), 0.0)


class Past:
    """Keys and values of the positions decoded so far: none, then [2, rows, heads, positions, width of a head]."""

    def __init__(self) -> None:
        self.both: Tensor | None = None

    def extended(self, both: Tensor) -> Tensor:
        """With those of one more position, which are kept."""
        self.both = both if self.both is None else torch.cat((self.both, both), 3)
        return self.both

    def keep(self, rows: Tensor) -> None:
        """Those rows in that order, one perhaps several times."""
        if self.both is not None:
            self.both = self.both.index_select(1, rows)


def _in_heads(x: Tensor, heads: int) -> Tensor:
    """[n, s, width] to [n, heads, s, width / heads]."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)  # type: ignore[no-any-return, no-untyped-call]


class SelfAttention(nn.Module):
    """softmax(q k^T / sqrt(d)) v over the sequence itself, in `heads` parts of the width; dropout is of the softmax."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.inputs = nn.Linear(width, 3 * width)  # queries, keys, values: one product instead of three
        self.output = nn.Linear(width, width)

    def projections(self) -> list[Tensor]:
        """Of what comes in: each [some times width, width]."""
        return [self.inputs.weight]

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False, past: Past | None = None) -> Tensor:
        """[n, s, width] to the same.

        Args:
            mask: bool, true where to look, to broadcast to [n, heads, s, s]; None is everywhere.
            causal: look only at positions up to one's own.
            past: what to look at besides; x is then one position.
        """
        q, k, v = (_in_heads(part, self.heads) for part in self.inputs(x).chunk(3, 2))
        if past is not None:
            k, v = past.extended(torch.stack((k, v)))
        y = F.scaled_dot_product_attention(q, k, v, mask, self.dropout if self.training else 0.0, causal)
        return self.output(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """The same over a memory, of which keys and values are made once."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def projections(self) -> list[Tensor]:
        """Of what comes in: each [some times width, width]."""
        return [self.queries.weight, self.keys_values.weight]

    def read(self, memory: Tensor) -> Read:
        """[n, s, width] to keys and values, each [n, heads, s, width / heads]."""
        k, v = (_in_heads(part, self.heads) for part in self.keys_values(memory).chunk(2, 2))
        return k, v

    def forward(self, x: Tensor, read: Read, mask: Tensor | None = None) -> Tensor:
        """[n, t, width] and what was read to [n, t, width]."""
        y = F.scaled_dot_product_attention(_in_heads(self.queries(x), self.heads), *read, mask)
        return self.output(y.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]


class FeedForward(nn.Module):
    """relu(x A + a) B + b, at each position; or another function than relu."""

    def __init__(self, width: int, inner: int, between: Callable[[Tensor], Tensor] = F.relu) -> None:
        super().__init__()
        self.first = nn.Linear(width, inner)
        self.between = between
        self.second = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.between(self.first(x)))  # type: ignore[no-any-return]


class Shortcut(nn.Module):
    """What goes round a branch f, with the layer norm; dropout is of what f adds.

    post:   norm(x + f(x))
    pre:    x + f(norm(x))
    admin:  norm(omega x + f(x))
    """

    def __init__(self, width: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.norm, self.before, self.dropout = nn.LayerNorm(width), norm == "pre", dropout
        self.omega = nn.Parameter(torch.ones(width)) if norm == "admin" else None

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        y = dropout(branch(self.norm(x) if self.before else x), self.dropout, self.training)
        if self.before:
            return x + y
        return self.norm((x if self.omega is None else self.omega * x) + y)  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Attention, then the same network at each position."""

    def __init__(self, width: int, heads: int, ffn: int, norm: str = "post", dropout: float = 0.0) -> None:
        super().__init__()
        self.attention, self.around_attention = SelfAttention(width, heads), Shortcut(width, norm, dropout)
        self.feed_forward, self.around_feed_forward = FeedForward(width, ffn), Shortcut(width, norm, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        x = self.around_attention(x, lambda x: self.attention(x, mask))
        return self.around_feed_forward(x, self.feed_forward)  # type: ignore[no-any-return]

    @property
    def shortcuts(self) -> list[Shortcut]:
        """In the order in which they are passed."""
        return [self.around_attention, self.around_feed_forward]


class DecoderLayer(nn.Module):
    """Attention to the positions up to one's own, to the encoder's output, then the network."""

    def __init__(self, width: int, heads: int, ffn: int, norm: str = "post", dropout: float = 0.0) -> None:
        super().__init__()
        self.attention, self.around_attention = SelfAttention(width, heads), Shortcut(width, norm, dropout)
        self.cross, self.around_cross = CrossAttention(width, heads), Shortcut(width, norm, dropout)
        self.feed_forward, self.around_feed_forward = FeedForward(width, ffn), Shortcut(width, norm, dropout)

    def forward(self, x: Tensor, read: Read, mask: Tensor | None = None, past: Past | None = None) -> Tensor:
        """A whole sequence, or its next position given the past.

        Of sequences of which several, side by side, share a memory, x may be [n * several, 1, width].
        """
        x = self.around_attention(x, lambda x: self.attention(x, causal=past is None, past=past))
        x = self.around_cross(x, lambda x: self.cross(x.view(len(read[0]), -1, x.shape[2]), read, mask).view(x.shape))
        return self.around_feed_forward(x, self.feed_forward)  # type: ignore[no-any-return]

    @property
    def shortcuts(self) -> list[Shortcut]:
        """In the order in which they are passed."""
        return [self.around_attention, self.around_cross, self.around_feed_forward]


def sinusoids(length: int, width: int) -> Tensor:
    """The positions of arXiv:1706.03762, 3.5.

        [p, 2i] = sin(p / 10000^(2i / width)),  [p, 2i + 1] = cos(the same)

    >>> sinusoids(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
