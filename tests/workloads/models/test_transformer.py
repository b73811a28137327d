"""The Transformer against torch's own layers, its initialization, and Admin's."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rectified.workloads.data.text.pieces import BOS, EOS, PAD
from rectified.workloads.models.layers import DecoderLayer, EncoderLayer
from rectified.workloads.models.transformer import Transformer, admin_init

WIDTH, HEADS, FFN = 24, 3, 40
SOURCE = torch.tensor([[5, 6, 7, 8, EOS], [9, 5, EOS, PAD, PAD], [4, 4, 4, EOS, PAD]])
TARGET = torch.tensor([[BOS, 5, 6, EOS], [BOS, 7, EOS, PAD], [BOS, 8, 9, 10]])


def shaken(module: nn.Module) -> nn.Module:
    """With every parameter random: zeros and ones would hide which is which."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return module


def copied(pairs) -> None:
    with torch.no_grad():
        for theirs, ours in pairs:
            for name, parameter in theirs.named_parameters():
                parameter.copy_(ours.get_parameter(name))


def torch_attention(theirs: nn.MultiheadAttention, weight, bias, output) -> None:
    with torch.no_grad():
        theirs.in_proj_weight.copy_(weight)
        theirs.in_proj_bias.copy_(bias)
    copied([(theirs.out_proj, output)])


def torch_encoder_layer(ours: EncoderLayer, before: bool) -> nn.TransformerEncoderLayer:
    theirs = nn.TransformerEncoderLayer(WIDTH, HEADS, FFN, 0.0, batch_first=True, norm_first=before)
    torch_attention(theirs.self_attn, ours.attention.qkv.weight, ours.attention.qkv.bias, ours.attention.output)
    copied(
        [
            (theirs.linear1, ours.feed_forward.first),
            (theirs.linear2, ours.feed_forward.second),
            (theirs.norm1, ours.attention_residual.norm),
            (theirs.norm2, ours.feed_forward_residual.norm),
        ]
    )
    return theirs


def torch_decoder_layer(ours: DecoderLayer, before: bool) -> nn.TransformerDecoderLayer:
    theirs = nn.TransformerDecoderLayer(WIDTH, HEADS, FFN, 0.0, batch_first=True, norm_first=before)
    torch_attention(theirs.self_attn, ours.attention.qkv.weight, ours.attention.qkv.bias, ours.attention.output)
    weights, biases = zip(*((part.weight, part.bias) for part in (ours.cross.q, ours.cross.kv)), strict=True)
    torch_attention(theirs.multihead_attn, torch.cat(weights), torch.cat(biases), ours.cross.output)
    copied(
        [
            (theirs.linear1, ours.feed_forward.first),
            (theirs.linear2, ours.feed_forward.second),
            (theirs.norm1, ours.attention_residual.norm),
            (theirs.norm2, ours.cross_residual.norm),
            (theirs.norm3, ours.feed_forward_residual.norm),
        ]
    )
    return theirs


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("padded", [False, True])
def test_layers_are_torchs(norm: str, padded: bool) -> None:
    torch.manual_seed(1)
    x, memory = torch.randn(3, 5, WIDTH), torch.randn(3, 6, WIDTH)
    there = torch.ones(3, 6, dtype=torch.bool)
    if padded:
        there[1, 4:] = there[2, 2:] = False
    mask = there[:, None, None, :] if padded else None

    encoder = shaken(EncoderLayer(WIDTH, HEADS, FFN, norm))
    wanted = torch_encoder_layer(encoder, norm == "pre")(memory, src_key_padding_mask=~there)
    torch.testing.assert_close(encoder(memory, mask)[there], wanted[there])

    decoder = shaken(DecoderLayer(WIDTH, HEADS, FFN, norm))
    theirs = torch_decoder_layer(decoder, norm == "pre")
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    wanted = theirs(x, memory, tgt_mask=causal, memory_key_padding_mask=~there)
    torch.testing.assert_close(decoder(x, memory, mask), wanted)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_whole_is_torchs_layers_one_after_the_other(norm: str) -> None:
    model = shaken(Transformer(12, 2, WIDTH, HEADS, FFN, norm))
    table = torch.zeros(5, WIDTH)
    for position in range(5):
        for i in range(WIDTH // 2):
            angle = position / 10000 ** (2 * i / WIDTH)
            table[position, 2 * i], table[position, 2 * i + 1] = math.sin(angle), math.cos(angle)
    weight = model.embedding.weight
    memory, x = weight[SOURCE] * WIDTH**0.5 + table, weight[TARGET] * WIDTH**0.5 + table[:4]
    pads = SOURCE == PAD
    for layer in model.encoder:
        memory = torch_encoder_layer(layer, norm == "pre")(memory, src_key_padding_mask=pads)
    if norm == "pre":
        memory = F.layer_norm(memory, (WIDTH,), model.encoder_norm.weight, model.encoder_norm.bias)
    causal = torch.ones(4, 4, dtype=torch.bool).triu(1)
    for layer in model.decoder:
        theirs = torch_decoder_layer(layer, norm == "pre")
        x = theirs(x, memory, tgt_mask=causal, memory_key_padding_mask=pads)
    if norm == "pre":
        x = F.layer_norm(x, (WIDTH,), model.decoder_norm.weight, model.decoder_norm.bias)
    torch.testing.assert_close(model.hidden(SOURCE, TARGET), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model(SOURCE, TARGET), x @ weight.T, rtol=1e-4, atol=1e-5)


def test_positions_go_on_for_as_long_as_a_sentence() -> None:
    model = Transformer(12, 1, WIDTH, HEADS, FFN)
    tokens = torch.full((1, 300), 5)
    long = model.embed(tokens)
    torch.testing.assert_close(model.embed(tokens[:, 1:], begin=1), long[:, 1:])
    torch.testing.assert_close(Transformer.embed(model, tokens[:, :7]), long[:, :7])
    assert not torch.allclose(long[0, 256:], long[0, :44])


def test_dropout_is_of_embeddings_and_branches() -> None:
    model = Transformer(12, 1, WIDTH, HEADS, FFN, dropout=0.5)
    embedded = model.embed(torch.full((40, 41), 5))
    assert (embedded == 0).double().mean() == pytest.approx(0.5, abs=0.02)
    assert (model.embed(torch.full((40, 41), 5)) != embedded).any()
    residual, x = model.encoder[0].attention_residual, torch.zeros(100, WIDTH)
    residual.norm = nn.Identity()
    seen = residual(x, torch.ones_like)
    assert seen.unique().tolist() == [0.0, 2.0]
    assert (model.eval().encoder[0].attention_residual(x, torch.ones_like) == 1).all()


def test_the_initialisation() -> None:
    torch.manual_seed(0)
    model = Transformer(1000, 1, 64, 4, 128)
    assert model.embedding.weight[1:].std().item() == pytest.approx(64**-0.5, rel=0.02)
    assert (model.embedding.weight[PAD] == 0).all()
    layer = model.decoder[0]
    for linear, fan in (
        (layer.feed_forward.first, 192),
        (layer.feed_forward.second, 192),
        (layer.attention.output, 128),
    ):
        assert linear.weight.abs().max().item() == pytest.approx((6 / fan) ** 0.5, rel=0.01)
        assert (linear.bias == 0).all()
    for linear in (layer.attention.qkv, layer.cross.q, layer.cross.kv):
        for matrix in linear.weight.split(64):
            assert matrix.abs().max().item() == pytest.approx((3 / 128) ** 0.5, rel=0.01)


def test_admin_weighs_shortcuts_by_the_variances_before_them() -> None:
    """Against a second walk through the layers, branch by branch."""
    torch.manual_seed(0)
    model = Transformer(12, 3, WIDTH, HEADS, FFN, "admin")
    admin_init(model, SOURCE, TARGET)
    omegas = [
        residual.omega for stack in (model.encoder, model.decoder) for layer in stack for residual in layer.residuals
    ]
    assert len(omegas) == 6 + 9
    found = [omega[0].item() for omega in omegas]
    assert all((omega == omega[0]).all() for omega in omegas)

    @torch.no_grad()
    def walk(x: torch.Tensor, branches) -> list[float]:
        omega, wanted = 1.0, []
        for branch in branches:
            wanted.append(omega)
            y = branch(x)
            grown = ((omega * x).var(correction=0) + y.var(correction=0)).sqrt()
            omega, x = float(grown), F.layer_norm(omega * x + y, (WIDTH,))
        walk.end = x
        return wanted

    pads = (SOURCE != PAD)[:, None, None, :]
    encoder = [f for layer in model.encoder for f in (lambda x, a=layer.attention: a(x, pads), layer.feed_forward)]
    wanted = walk(model.embed(SOURCE), encoder)
    memory, decoder = walk.end, []
    for layer in model.decoder:
        decoder.append(lambda x, a=layer.attention: a(x, causal=True))
        decoder.append(lambda x, a=layer.cross: a(x, memory, pads))
        decoder.append(layer.feed_forward)
    wanted += walk(model.embed(TARGET), decoder)
    assert found == pytest.approx(wanted, rel=1e-4)
    assert found[5] > found[4] > found[3] > 1
    assert found[6] == 1


def test_admin_at_one_is_post() -> None:
    torch.manual_seed(0)
    post = Transformer(12, 2, WIDTH, HEADS, FFN, "post")
    torch.manual_seed(0)
    admin = Transformer(12, 2, WIDTH, HEADS, FFN, "admin")
    assert torch.equal(post(SOURCE, TARGET), admin(SOURCE, TARGET))
    admin_init(admin, SOURCE, TARGET)
    assert not torch.allclose(post(SOURCE, TARGET), admin(SOURCE, TARGET))
    admin(SOURCE, TARGET).sum().backward()
    assert all(residual.omega.grad is not None for layer in admin.encoder for residual in layer.residuals)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((12, 1, 24, 3, 8, "both"), "norm is 'both'; it must be one of post, pre, admin"),
        ((12, 1, 24, 5, 8), "width is 24.*heads, 5"),
    ],
)
def test_what_makes_no_transformer_is_refused(arguments, words) -> None:
    with pytest.raises(ValueError, match=words):
        Transformer(*arguments)
