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
from .layers import sinusoids

DEVIATION = 0.02
_AT_ONCE = 128  # words of which logits are held: all of a batch have hundreds of megabytes, and fresh memory is slow


class Block(nn.Module):
    """Attention of each word to itself and those before, then two linear layers with a GELU between.

    pre:  x = x + f(norm(x))
    post: x = norm(x + f(x))
    """

    def __init__(self, width: int, heads: int, dropout: float, pre: bool) -> None:
        super().__init__()
        self.heads, self.pre, self.dropout = heads, pre, nn.Dropout(dropout)
        self.first_norm, self.second_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.widen, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[batch, length, width] to the same."""
        for norm, part in ((self.first_norm, self._attend), (self.second_norm, self._transform)):
            x = x + self.dropout(part(norm(x))) if self.pre else norm(x + self.dropout(part(x)))
        return x

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(
            q, k, v, dropout_p=self.dropout.p if self.training else 0.0, is_causal=True
        )
        return self.merge(mixed.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _transform(self, x: Tensor) -> Tensor:
        return self.narrow(F.gelu(self.widen(x), approximate="tanh"))  # type: ignore[no-any-return]


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
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.Sequential(*(Block(width, heads, dropout, norm == "pre") for _ in range(layers)))
        self.norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self._initialise(layers)

    def _initialise(self, layers: int) -> None:
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_a_sum = name.endswith(("merge.weight", "narrow.weight"))
                nn.init.normal_(parameter, std=DEVIATION / math.sqrt(2 * layers) if into_a_sum else DEVIATION)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, words: Tensor) -> Tensor:
        """[batch, length] to what is known before each next word, [batch, length, width]."""
        x = self.dropout(self.scale * self.words(words) + self.positions[: words.shape[1]])
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
