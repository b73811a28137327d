"""The Transformer (Vaswani et al. 2017, arXiv:1706.03762): encoder, decoder, one table of embeddings for all.

Initialised and dropped out as fairseq does it by default: dropout of embeddings and of what each branch adds, none
inside.
"""

import math

import torch
from torch import Tensor, nn

from ..data.text.pieces import PAD
from .layers import NORMS, CrossAttention, DecoderLayer, EncoderLayer, Read, SelfAttention, Shortcut, dropout, sinusoids


class Transformer(nn.Module):
    """Encoder and decoder of `layers` each; linear layers uniform by Xavier's law, embeddings normal(0, 1 / width).

    Args:
        norm: where the layer norms are, see :mod:`.layers`. With "admin", :func:`profile` is to set the omegas.

    Raises:
        ValueError: there is no such norm, or the width is no multiple of two and of the heads.
    """

    def __init__(
        self, vocabulary: int, layers: int, width: int, heads: int, ffn: int, norm: str = "post", dropout: float = 0.0
    ) -> None:
        super().__init__()
        if norm not in NORMS:
            raise ValueError(f"norm is {norm!r}; there are {', '.join(NORMS)}")
        if width % 2 or width % heads:
            raise ValueError(f"width is {width}; it must be even and a multiple of the heads, {heads}")
        self.dropout = dropout
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.encoder = nn.ModuleList(EncoderLayer(width, heads, ffn, norm, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(DecoderLayer(width, heads, ffn, norm, dropout) for _ in range(layers))
        # Where branches begin with a norm, nothing else normalises their sum.
        self.encoder_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.decoder_norm = nn.LayerNorm(width) if norm == "pre" else nn.Identity()
        self.positions = sinusoids(
            256, width
        )  # no buffer: it grows, and several ranks would have it at several lengths
        self._initialise()

    def _initialise(self) -> None:
        width = self.embedding.embedding_dim
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, SelfAttention | CrossAttention):
                for weight in module.projections():
                    for matrix in torch.split(weight, width):
                        nn.init.xavier_uniform_(matrix, gain=0.5**0.5)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        with torch.no_grad():
            self.embedding.weight[PAD] = 0.0

    def embed(self, tokens: Tensor, begin: int = 0) -> Tensor:
        """[n, s] at positions `begin`, `begin` + 1, ... to [n, s, width]."""
        width, end = self.embedding.embedding_dim, begin + tokens.shape[1]
        if end > len(self.positions) or self.positions.device != tokens.device:
            self.positions = sinusoids(max(2 * end, len(self.positions)), width).to(tokens.device)
        x = self.embedding(tokens) * math.sqrt(width) + self.positions[begin:end]
        return dropout(x, self.dropout, self.training)

    def encode(self, source: Tensor) -> tuple[list[Read], Tensor | None]:
        """What each decoder layer reads of the source, [n, s]; where that is text, [n, 1, 1, s], None: everywhere."""
        real = source != PAD
        mask = None if bool(real.all()) else real[:, None, None, :]
        x = self.embed(source)
        for layer in self.encoder:
            x = layer(x, mask)
        memory = self.encoder_norm(x)
        return [layer.cross.read(memory) for layer in self.decoder], mask  # type: ignore[union-attr, operator]

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """[n, s] and [n, t] to [n, t, width]; times the embeddings, that is the logits of what comes after each piece.

        PAD is at the end of a row of `target`, and what stands there is nowhere looked at.
        """
        reads, mask = self.encode(source)
        x = self.embed(target)
        for layer, read in zip(self.decoder, reads, strict=True):
            x = layer(x, read, mask)
        return self.decoder_norm(x)  # type: ignore[no-any-return]


class _Meter:
    """Of a stack, as a batch goes through it: the weight of the next shortcut."""

    def __init__(self) -> None:
        self.omega = 1.0
        self.shortcut = torch.zeros(())

    def weigh(self, around: Shortcut, args: tuple[Tensor, object]) -> None:
        assert around.omega is not None
        around.omega.fill_(self.omega)
        self.shortcut = self.omega * args[0]

    def measure(self, norm: nn.Module, args: tuple[Tensor]) -> None:
        branch = args[0] - self.shortcut
        self.omega = math.sqrt(self.shortcut.var(correction=0) + branch.var(correction=0))


@torch.no_grad()
def profile(model: Transformer, source: Tensor, target: Tensor) -> None:
    """Admin's initialisation (arXiv:2004.08249): every omega from the variances in one pass over a batch.

        omega_1 = 1,  omega_{i+1}^2 = Var[omega_i x_{i-1}] + Var[f_i(x_{i-1})]

    The x come from layer norms and have variance 1. So that is the paper's sum of the variances of the branches before,
    plus 1 for what comes in: as the authors' code has it. Encoder and decoder count each for itself.
    """
    handles = []
    for stack in (model.encoder, model.decoder):
        meter = _Meter()
        for layer in stack:
            for around in layer.shortcuts:  # type: ignore[union-attr]
                handles.append(around.register_forward_pre_hook(meter.weigh))
                handles.append(around.norm.register_forward_pre_hook(meter.measure))
    model(source, target)
    for handle in handles:
        handle.remove()
