"""The Transformer (Vaswani et al. 2017, arXiv:1706.03762), with one embedding for source, target and output.

Initialization and dropout are fairseq's defaults: dropout of embeddings and of each branch's output, none inside.
"""

import math

import torch
from torch import Tensor, nn

from ..data.text.pieces import PAD
from .layers import NORMS, CrossAttention, DecoderLayer, EncoderLayer, Residual, SelfAttention, sinusoids


class Transformer(nn.Module):
    """An encoder and a decoder of `layers` each.

    Initialization: linear layers Xavier uniform (with gain 1 / sqrt(2) for queries, keys and values), biases 0,
    embeddings normal(0, 1 / width), that of PAD 0.

    Args:
        norm: where the layer norms are, see :mod:`.layers`. With "admin", call :func:`admin_init` before training.

    Raises:
        ValueError: an unknown norm, or a width that is odd or not a multiple of the heads.
    """

    def __init__(
        self, vocabulary: int, layers: int, width: int, heads: int, ffn: int, norm: str = "post", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; it must be one of {', '.join(NORMS)}")
        if width % 2 or width % heads:
            raise ValueError(f"width is {width}; it must be even and a multiple of the heads, {heads}")
        self.dropout = nn.Dropout(dropout)
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, ffn, norm, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, ffn, norm, dropout) for _ in range(layers))
        # In a pre-norm stack nothing else normalizes the last sum.
        self.encoder_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.decoder_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self._initialize()

    def _initialize(self) -> None:
        width = self.embedding.embedding_dim
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            projections: list[nn.Linear] = []
            if isinstance(module, SelfAttention):
                projections = [module.qkv]
            elif isinstance(module, CrossAttention):
                projections = [module.q, module.kv]
            for projection in projections:
                for matrix in torch.split(projection.weight, width):
                    nn.init.xavier_uniform_(matrix, gain=0.5**0.5)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        with torch.no_grad():
            self.embedding.weight[PAD] = 0.0

    def embed(self, tokens: Tensor, begin: int = 0) -> Tensor:
        """Tokens [n, s] at positions `begin`, `begin` + 1, ... to [n, s, width]."""
        width = self.embedding.embedding_dim
        positions = sinusoids(begin + tokens.shape[1], width)[begin:].to(tokens.device)
        return self.dropout(self.embedding(tokens) * math.sqrt(width) + positions)  # type: ignore[no-any-return]

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor | None]:
        """Source [n, s], padded with PAD, to the memory [n, s, width] and its mask.

        The mask, [n, 1, 1, s], is true where the source is not PAD; None if there is no PAD.
        """
        real = source != PAD
        mask = None if bool(real.all()) else real[:, None, None, :]
        x = self.embed(source)
        for layer in self.encoder:
            x = layer(x, mask)
        return self.encoder_norm(x), mask

    def hidden(self, source: Tensor, target: Tensor) -> Tensor:
        """Source [n, s] and target [n, t] to the states [n, t, width] before the output layer.

        A row of `target` may end in PAD: causal attention keeps it from the positions before it.
        """
        memory, mask = self.encode(source)
        x = self.embed(target)
        for layer in self.decoder:
            x = layer(x, memory, mask)
        return self.decoder_norm(x)  # type: ignore[no-any-return]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Source [n, s] and target [n, t] to logits of the piece after each of the target's, [n, t, vocabulary]."""
        return self.hidden(source, target) @ self.embedding.weight.T


class _Variance:
    """The variance of a stack's residual sums as a batch passes: the next omega."""

    def __init__(self) -> None:
        self.omega = 1.0
        self.shortcut = torch.zeros(())

    def set_omega(self, residual: Residual, args: tuple[Tensor, object]) -> None:
        assert residual.omega is not None
        residual.omega.fill_(self.omega)
        self.shortcut = self.omega * args[0]

    def measure(self, norm: nn.Module, args: tuple[Tensor]) -> None:
        branch = args[0] - self.shortcut
        self.omega = math.sqrt(self.shortcut.var(correction=0) + branch.var(correction=0))


@torch.no_grad()
def admin_init(model: Transformer, source: Tensor, target: Tensor) -> None:
    """Admin's initialization (Liu et al. 2020, arXiv:2004.08249): set every omega from one forward pass over a batch.

        omega_1 = 1,  omega_{i+1}^2 = Var[omega_i x_{i-1}] + Var[f_i(x_{i-1})]

    x_{i-1}, the output of a layer norm, has variance 1, so this is the paper's sum of the variances of all branches so
    far, plus 1 for the input, as in the authors' code. Encoder and decoder are counted separately.
    """
    handles = []
    for stack in (model.encoder, model.decoder):
        variance = _Variance()
        for layer in stack:
            for residual in layer.residuals:  # type: ignore[union-attr]
                handles.append(residual.register_forward_pre_hook(variance.set_omega))
                handles.append(residual.norm.register_forward_pre_hook(variance.measure))
    model.hidden(source, target)
    for handle in handles:
        handle.remove()
