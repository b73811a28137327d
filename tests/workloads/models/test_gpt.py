"""The GPT against torch's own Transformer layers with the same weights, and how it begins."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rectified.workloads.models.gpt import GPT
from rectified.workloads.models.layers import sinusoids

VOCABULARY, LENGTH, WIDTH, HEADS = 50, 12, 16, 4


def gpt(layers=2, dropout=0.0, **options):
    torch.manual_seed(5)
    return GPT(VOCABULARY, LENGTH, layers, WIDTH, HEADS, dropout, **options)


def shaken(model):
    """Away from its beginning, at which biases are 0 and norms 1."""
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.5)
    return model.double().eval()


def torchs(block, pre):
    layer = nn.TransformerEncoderLayer(
        WIDTH,
        HEADS,
        4 * WIDTH,
        dropout=0.0,
        activation=lambda x: F.gelu(x, approximate="tanh"),
        batch_first=True,
        norm_first=pre,
        dtype=torch.float64,
    )
    with torch.no_grad():
        for ours, theirs in (
            (block.attention.qkv.weight, layer.self_attn.in_proj_weight),
            (block.attention.qkv.bias, layer.self_attn.in_proj_bias),
            (block.attention.output.weight, layer.self_attn.out_proj.weight),
            (block.attention.output.bias, layer.self_attn.out_proj.bias),
            (block.feed_forward.first.weight, layer.linear1.weight),
            (block.feed_forward.first.bias, layer.linear1.bias),
            (block.feed_forward.second.weight, layer.linear2.weight),
            (block.feed_forward.second.bias, layer.linear2.bias),
            (block.attention_residual.norm.weight, layer.norm1.weight),
            (block.attention_residual.norm.bias, layer.norm1.bias),
            (block.feed_forward_residual.norm.weight, layer.norm2.weight),
            (block.feed_forward_residual.norm.bias, layer.norm2.bias),
        ):
            theirs.copy_(ours)
    return layer


@pytest.mark.parametrize("norm", ["pre", "post"])
@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
@pytest.mark.parametrize("length", [LENGTH, 5])
def test_it_is_torchs_layers_under_a_causal_mask(norm, positions, length):
    model = shaken(gpt(norm=norm, positions=positions))
    words = torch.randint(VOCABULARY, (3, length), generator=torch.Generator().manual_seed(1))
    weight = model.words.weight
    x = weight[words] if positions == "learned" else WIDTH**0.5 * weight[words]
    x = x + model.positions[:length]
    mask = nn.Transformer.generate_square_subsequent_mask(length, dtype=torch.float64)
    for block in model.blocks:
        x = torchs(block, norm == "pre")(x, src_mask=mask)
    if norm == "pre":
        x = F.layer_norm(x, (WIDTH,), model.norm.weight, model.norm.bias)
    torch.testing.assert_close(model.hidden(words), x)
    torch.testing.assert_close(model(words), x @ weight.T)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_no_word_is_known_before_its_place(norm):
    model = shaken(gpt(norm=norm))
    words = torch.randint(VOCABULARY, (1, LENGTH), generator=torch.Generator().manual_seed(2))
    before = model(words)
    words[0, 7] = (words[0, 7] + 1) % VOCABULARY
    after = model(words)
    assert torch.equal(before[0, :7], after[0, :7])
    assert (before[0, 7:] != after[0, 7:]).all()


def test_sinusoids_are_the_papers():
    table = sinusoids(20, 8)
    for place in range(20):
        for i in range(4):
            angle = torch.tensor(place / 10_000 ** (2 * i / 8), dtype=torch.float64)
            assert table[place, 2 * i] == pytest.approx(angle.sin().item(), abs=1e-5)
            assert table[place, 2 * i + 1] == pytest.approx(angle.cos().item(), abs=1e-5)


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_the_embedding_is_the_output_and_sines_are_no_parameters(positions):
    model = gpt(positions=positions)
    block = 12 * WIDTH**2 + 13 * WIDTH
    learned = LENGTH * WIDTH if positions == "learned" else 0
    count = VOCABULARY * WIDTH + learned + 2 * block + 2 * WIDTH
    assert sum(parameter.numel() for parameter in model.parameters()) == count
    assert ("positions" in model.state_dict()) == (positions == "learned")


def test_it_begins_as_gpt_2():
    torch.manual_seed(0)
    model = GPT(3000, 200, layers=8, width=64, heads=4, dropout=0.1).requires_grad_(False)
    weights = {name: parameter for name, parameter in model.named_parameters() if parameter.dim() == 2}
    for name, weight in weights.items():
        into_a_sum = ".output." in name or ".second." in name
        assert weight.std() == pytest.approx(0.02 / 4 if into_a_sum else 0.02, rel=0.05), name
        assert abs(weight.mean()) < 0.001
    assert len(weights) == 2 + 8 * 4
    for name, parameter in model.named_parameters():
        if name not in weights:
            expected = 1.0 if "norm" in name and name.endswith("weight") else 0.0
            assert torch.equal(parameter, torch.full_like(parameter, expected)), name


def test_dropout_only_in_training():
    model = gpt(dropout=0.5)
    words = torch.zeros(2, LENGTH, dtype=torch.long)
    assert not torch.equal(model(words), model(words))
    model.eval()
    assert torch.equal(model(words), model(words))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 18}, "width is 18.*multiple of the heads, which are 4"),
        ({"width": 15, "heads": 5}, "width is 15; it must be even"),
        ({"norm": "none"}, "norm is 'none'; it must be 'pre' or 'post'"),
        ({"positions": "rotary"}, "positions is 'rotary'; it must be 'learned' or 'sinusoidal'"),
    ],
)
def test_what_it_cannot_be_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        GPT(**{"vocabulary": 9, "length": 4, "layers": 1, "width": 16, "heads": 4, "dropout": 0.0, **options})
