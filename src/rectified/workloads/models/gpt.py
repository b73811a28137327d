"""GPT-2, a Transformer that is only a decoder (Radford, Wu, Child, Luan, Amodei, Sutskever 2019, "Language models are
unsupervised multitask learners"), and older choices (Vaswani et al. 2017, arXiv:1706.03762): norms behind the
sums, sines for positions.

Initialised as GPT-2: weights normal with deviation 0.02, where they lead into a sum divided by the square root of the
number of these sums; biases 0, norms 1 and 0.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cross_entropy import cross_entropy
from .layers import FeedForward, SelfAttention, Shortcut, dropout, sinusoids

DEVIATION = 0.02
_AT_ONCE = 128  # words of which logits are held: all of a batch have hundreds of megabytes, and fresh memory is slow


class Block(nn.Module):
    """Attention of each word to itself and those before, then two linear layers with a GELU between."""

    def __init__(self, width: int, heads: int, dropout: float, norm: str) -> None:
        super().__init__()
        self.attention, self.around_attention = SelfAttention(width, heads, dropout), Shortcut(width, norm, dropout)
        self.feed_forward = FeedForward(width, 4 * width, _gelu)
        self.around_feed_forward = Shortcut(width, norm, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, width] to the same."""
        x = self.around_attention(x, lambda x: self.attention(x, causal=True))
        return self.around_feed_forward(x, self.feed_forward)  # type: ignore[no-any-return]


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


class GPT(nn.Module):
    """Embeddings of words and positions, blocks, and the words' embeddings again as the output's weights.

    Args:
        vocabulary: how many words.
        length: of the longest text.
        norm: "pre", with one more norm behind the last block, or "post".
        positions: "learned", or "sinusoidal": sines, and embeddings times sqrt(width) (arXiv:1706.03762, 3.4 and 3.5).

    Raises:
        ValueError: a width that the heads cannot share, or another norm or positions than these.
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
        self.dropout = dropout
        self.blocks = nn.Sequential(*(Block(width, heads, dropout, norm) for _ in range(layers)))
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_a_sum = name.endswith(("output.weight", "second.weight"))
                nn.init.normal_(parameter, std=DEVIATION / math.sqrt(2 * layers) if into_a_sum else DEVIATION)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, words: Tensor) -> Tensor:
        """[batch, length] to what is known before each next word, [batch, length, width]."""
        x = self.scale * self.words(words) + self.positions[: words.shape[1]]
        x = dropout(x, self.dropout, self.training)
        return self.norm(self.blocks(x))  # type: ignore[no-any-return]

    def losses(self, known: Tensor, words: Tensor) -> Tensor:
        """-log p of each word [n] after what is known [n, width]."""
        parts = zip(torch.split(known, _AT_ONCE), torch.split(words, _AT_ONCE), strict=True)
        return torch.cat([F.cross_entropy(part @ self.words.weight.T, word, reduction="none") for part, word in parts])

    def loss(self, known: Tensor, words: Tensor) -> Tensor:
        """Their mean, as training takes it: see :func:`.cross_entropy.cross_entropy`."""
        return cross_entropy(known, self.words.weight, words) / len(words)


def check_gpt(width: int, heads: int, norm: str, positions: str) -> None:
    """Refuse, with a ValueError, what :class:`GPT` cannot be made of."""
    if width % heads or width % 2:
        raise ValueError(f"width is {width}; it must be even, and a multiple of the heads, which are {heads}")
    if norm not in ("pre", "post"):
        raise ValueError(f"norm is {norm!r}; it must be 'pre' or 'post'")
    if positions not in ("learned", "sinusoidal"):
        raise ValueError(f"positions is {positions!r}; it must be 'learned' or 'sinusoidal'")
