"""GPT-2, a decoder-only Transformer (Radford, Wu, Child, Luan, Amodei, Sutskever 2019, "Language Models are
Unsupervised Multitask Learners"), with the original Transformer's choices as options (Vaswani et al. 2017,
arXiv:1706.03762): post-norm, sinusoidal positions.

Initialization as GPT-2: weights normal with standard deviation 0.02, divided by sqrt(number of residual sums) where
they lead into one; biases 0; layer norms with weight 1 and bias 0.
"""

import math

import torch
from torch import Tensor, nn

from .layers import FeedForward, Residual, SelfAttention, sinusoids

STD = 0.02


class Block(nn.Module):
    """Causal self-attention and a feed-forward network with GELU, each inside a residual sum."""

    def __init__(self, width: int, heads: int, dropout: float, norm: str) -> None:
        super().__init__()
        self.attention, self.attention_residual = SelfAttention(width, heads, dropout), Residual(width, norm, dropout)
        self.feed_forward = FeedForward(width, 4 * width, nn.GELU("tanh"))
        self.feed_forward_residual = Residual(width, norm, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[n, s, width] to the same shape."""
        x = self.attention_residual(x, lambda x: self.attention(x, causal=True))
        return self.feed_forward_residual(x, self.feed_forward)  # type: ignore[no-any-return]


class GPT(nn.Module):
    """Word and position embeddings, blocks, and logits from the word embeddings again (tied weights).

    Args:
        vocabulary: the number of words.
        length: the longest sequence.
        norm: "pre", with a final layer norm after the last block, or "post".
        positions: "learned", or "sinusoidal", with word embeddings scaled by sqrt(width) (arXiv:1706.03762, 3.4, 3.5).

    Raises:
        ValueError: the width is not an even multiple of the heads, or an unknown norm or positions.
    """

    def __init__(
        self,
        vocabulary: int,
        length: int,
        layers: int,
        width: int,
        heads: int,
        dropout: float,
        norm: str = "pre",
        positions: str = "learned",
    ) -> None:
        super().__init__()
        check_gpt(width, heads, norm, positions)
        self.words = nn.Embedding(vocabulary, width)
        self.scale = 1.0 if positions == "learned" else math.sqrt(width)
        self.positions: Tensor
        if positions == "learned":
            self.positions = nn.Parameter(torch.empty(length, width))
        else:
            self.register_buffer("positions", sinusoids(length, width), persistent=False)
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout, norm) for _ in range(layers)))
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self._initialize(layers)

    def _initialize(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("attention.output.weight", "feed_forward.second.weight"))
                nn.init.normal_(parameter, std=STD / math.sqrt(2 * layers) if into_residual else STD)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def hidden(self, words: Tensor) -> Tensor:
        """Words [n, s] to the states [n, s, width] before the output layer."""
        x = self.scale * self.words(words) + self.positions[: words.shape[1]]
        return self.norm(self.blocks(self.dropout(x)))  # type: ignore[no-any-return]

    def forward(self, words: Tensor) -> Tensor:
        """Words [n, s] to logits of the next words, [n, s, vocabulary]."""
        return self.hidden(words) @ self.words.weight.T


def check_gpt(width: int, heads: int, norm: str, positions: str) -> None:
    """Raise a ValueError for arguments that :class:`GPT` does not take."""
    if width % heads or width % 2:
        raise ValueError(f"width is {width}; it must be even, and a multiple of the heads, which are {heads}")
    if norm not in ("pre", "post"):
        raise ValueError(f"norm is {norm!r}; it must be 'pre' or 'post'")
    if positions not in ("learned", "sinusoidal"):
        raise ValueError(f"positions is {positions!r}; it must be 'learned' or 'sinusoidal'")
