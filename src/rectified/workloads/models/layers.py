"""Layers of a Transformer (Vaswani et al. 2017, arXiv:1706.03762).

Layer norms come after the residual sums, as in that paper ("post"), inside the branches ("pre"; Xiong et al. 2020,
arXiv:2002.04745), or after sums with a weighted shortcut ("admin"; Liu et al. 2020, arXiv:2004.08249).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NORMS = ("post", "pre", "admin")


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[n, s, width] to [n, heads, s, width / heads]."""
    return x.unflatten(2, (heads, -1)).transpose(1, 2)  # type: ignore[no-any-return, no-untyped-call]


def merge_heads(x: Tensor) -> Tensor:
    """[n, heads, s, width / heads] to [n, s, width]."""
    return x.transpose(1, 2).flatten(2)


class SelfAttention(nn.Module):
    """Multi-head attention of a sequence to itself: softmax(q k^T / sqrt(d)) v, with dropout of the softmax."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.qkv = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, mask: Tensor | None = None, causal: bool = False) -> Tensor:
        """[n, s, width] to the same shape.

        Args:
            mask: bool, true where to attend, broadcast to [n, heads, s, s]; None attends everywhere.
            causal: whether each position attends only to itself and earlier ones.
        """
        q, k, v = (split_heads(part, self.heads) for part in self.qkv(x).chunk(3, dim=2))
        dropout = self.dropout if self.training else 0.0
        return self.output(merge_heads(F.scaled_dot_product_attention(q, k, v, mask, dropout, causal)))  # type: ignore[no-any-return]


class CrossAttention(nn.Module):
    """Multi-head attention of the decoder to the encoder's output."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [n, t, width] and memory [n, s, width] to [n, t, width]; mask as in :class:`SelfAttention`, over s."""
        q, (k, v) = split_heads(self.q(x), self.heads), self.keys_values(memory)
        return self.output(merge_heads(F.scaled_dot_product_attention(q, k, v, mask)))  # type: ignore[no-any-return]

    def keys_values(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """[n, s, width] to keys and values, each [n, heads, s, width / heads]."""
        k, v = (split_heads(part, self.heads) for part in self.kv(memory).chunk(2, dim=2))
        return k, v


class FeedForward(nn.Module):
    """Two linear layers with an activation between them, at each position: [..., width] to [..., width]."""

    def __init__(self, width: int, inner: int, activation: nn.Module | None = None) -> None:
        super().__init__()
        self.first = nn.Linear(width, inner)
        self.activation = activation or nn.ReLU()
        self.second = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.activation(self.first(x)))  # type: ignore[no-any-return]


class Residual(nn.Module):
    """The residual sum around a branch f, with its layer norm, and dropout of f's output.

    post:   norm(x + f(x))
    pre:    x + f(norm(x))
    admin:  norm(omega x + f(x))
    """

    def __init__(self, width: int, norm: str, dropout: float) -> None:
        super().__init__()
        self.norm, self.pre, self.dropout = nn.LayerNorm(width), norm == "pre", nn.Dropout(dropout)
        self.omega = nn.Parameter(torch.ones(width)) if norm == "admin" else None

    def forward(self, x: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        if self.pre:
            return x + self.dropout(branch(self.norm(x)))  # type: ignore[no-any-return]
        shortcut = x if self.omega is None else self.omega * x
        return self.norm(shortcut + self.dropout(branch(x)))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """Self-attention and a feed-forward network, each inside a residual sum."""

    def __init__(self, width: int, heads: int, ffn: int, norm: str = "post", dropout: float = 0.0) -> None:
        super().__init__()
        self.attention, self.attention_residual = SelfAttention(width, heads), Residual(width, norm, dropout)
        self.feed_forward, self.feed_forward_residual = FeedForward(width, ffn), Residual(width, norm, dropout)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """[n, s, width] to the same shape; mask as in :class:`SelfAttention`."""
        x = self.attention_residual(x, lambda x: self.attention(x, mask))
        return self.feed_forward_residual(x, self.feed_forward)  # type: ignore[no-any-return]

    @property
    def residuals(self) -> list[Residual]:
        """The residual sums in the order of the forward pass."""
        return [self.attention_residual, self.feed_forward_residual]


class DecoderLayer(nn.Module):
    """Causal self-attention, attention to the encoder's output, a feed-forward network, each in a residual sum."""

    def __init__(self, width: int, heads: int, ffn: int, norm: str = "post", dropout: float = 0.0) -> None:
        super().__init__()
        self.attention, self.attention_residual = SelfAttention(width, heads), Residual(width, norm, dropout)
        self.cross, self.cross_residual = CrossAttention(width, heads), Residual(width, norm, dropout)
        self.feed_forward, self.feed_forward_residual = FeedForward(width, ffn), Residual(width, norm, dropout)

    def forward(self, x: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
        """x [n, t, width] and memory [n, s, width] to [n, t, width]; the mask is of the memory."""
        x = self.attention_residual(x, lambda x: self.attention(x, causal=True))
        x = self.cross_residual(x, lambda x: self.cross(x, memory, mask))
        return self.feed_forward_residual(x, self.feed_forward)  # type: ignore[no-any-return]

    @property
    def residuals(self) -> list[Residual]:
        """The residual sums in the order of the forward pass."""
        return [self.attention_residual, self.cross_residual, self.feed_forward_residual]


def sinusoids(length: int, width: int) -> Tensor:
    """Sinusoidal position encodings, [length, width] (arXiv:1706.03762, 3.5).

        [p, 2i] = sin(p / 10000^(2i / width)),  [p, 2i + 1] = cos(p / 10000^(2i / width))

    >>> sinusoids(2, 4)
    tensor([[0.0000, 1.0000, 0.0000, 1.0000],
            [0.8415, 0.5403, 0.0100, 0.9999]])
    """
    angles = torch.arange(length)[:, None] / 10_000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angles.sin(), angles.cos()), 2).flatten(1)
