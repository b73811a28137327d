"""The LSTM against its equations written out, its softmax against torch's, and what it remembers."""

import pytest
import torch

from rectified.workloads.models.lstm import LSTM
from saves import through_a_file

VOCABULARY, EMBEDDING, WIDTH = 30, 5, 16


@pytest.fixture
def model():
    torch.manual_seed(3)
    return LSTM(VOCABULARY, EMBEDDING, WIDTH, layers=2, dropout=0.0, cutoffs=(6, 12)).double()


@pytest.fixture
def words():
    return torch.randint(VOCABULARY, (4, 9), generator=torch.Generator().manual_seed(1))


FRESH, OLD = torch.ones(4, dtype=torch.bool), torch.zeros(4, dtype=torch.bool)


def by_hand(model, words):
    """Streams from their beginning, one word and one layer after the other."""
    weights = dict(model.layers.named_parameters())
    outputs = []
    h, c = torch.zeros(2, 2, len(words), WIDTH, dtype=torch.float64)
    for column in words.T:
        x = model.embedding.weight[column]
        for layer in range(2):
            gates = x @ weights[f"weight_ih_l{layer}"].T + weights[f"bias_ih_l{layer}"]
            gates = gates + h[layer] @ weights[f"weight_hh_l{layer}"].T + weights[f"bias_hh_l{layer}"]
            i, f, g, o = gates.split(WIDTH, dim=1)
            new_c = f.sigmoid() * c[layer] + i.sigmoid() * g.tanh()
            new_h = o.sigmoid() * new_c.tanh()
            h, c = ([new if n == layer else old[n] for n in range(2)] for new, old in ((new_h, h), (new_c, c)))
            x = new_h
        outputs.append(x)
    return torch.stack(outputs, 1)


def test_the_memory_goes_on_from_batch_to_batch(model, words):
    whole = by_hand(model, words)
    parts = [model(words[:, :4], FRESH), model(words[:, 4:5], OLD), model(words[:, 5:], OLD)]
    torch.testing.assert_close(torch.cat(parts, 1), whole)


def test_fresh_streams_begin_without_one(model, words):
    model(words[:, :4], FRESH)
    fresh = torch.tensor([True, False, False, True])
    found = model(words[:, 4:], fresh)
    torch.testing.assert_close(found[fresh], by_hand(model, words[:, 4:])[fresh])
    torch.testing.assert_close(found[~fresh], by_hand(model, words)[:, 4:][~fresh])


def test_what_was_infinite_is_forgotten_too(model, words):
    model(words, FRESH)
    model.memories[True].fill_(torch.nan)
    assert model(words, FRESH).isfinite().all()


def test_no_gradient_goes_back_into_the_batch_before(model, words):
    model(words[:, :4], FRESH).sum().backward()
    model.zero_grad()
    model(words[:, 4:], OLD).sum().backward()
    seen = model.embedding.weight.grad.abs().sum(1) > 0
    assert set(seen.nonzero().flatten().tolist()) == set(words[:, 4:].flatten().tolist())


def test_a_part_of_the_streams_remembers_its_own(model, words):
    """As ranks have it."""
    whole = by_hand(model, words)
    model(words[:2, :4], FRESH[:2])
    torch.testing.assert_close(model(words[:2, 4:], OLD[:2]), whole[:2, 4:])


def test_evaluation_leaves_the_memory_of_training(model, words):
    whole = by_hand(model, words)
    model(words[:, :4], FRESH)
    model.eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(words[:2, 3:7], FRESH[:2]), by_hand(model, words[:2, 3:7]))
        torch.testing.assert_close(model(words[:2, 7:], OLD[:2]), by_hand(model, words[:2, 3:])[:, 4:])
    model.train()
    torch.testing.assert_close(model(words[:, 4:], OLD), whole[:, 4:])


def test_the_memory_is_in_the_state_dict(model, words):
    whole = by_hand(model, words)
    assert model.state_dict()["_extra_state"].shape == (2, 2, 0, WIDTH)
    model(words[:, :4], FRESH)
    other = LSTM(VOCABULARY, EMBEDDING, WIDTH, layers=2, dropout=0.0, cutoffs=(6, 12)).double()
    other.load_state_dict(through_a_file(model.state_dict()))
    torch.testing.assert_close(other(words[:, 4:], OLD), whole[:, 4:])


def test_ddp_would_not_overwrite_the_memory(model):
    assert dict(model.named_buffers()) == {}


@pytest.mark.parametrize("cutoffs", [(6,), (6, 12), (2, 3, 29)])
def test_losses_and_gradients_are_those_of_torchs_adaptive_softmax(cutoffs):
    model = LSTM(VOCABULARY, EMBEDDING, 64, layers=1, dropout=0.0, cutoffs=cutoffs).double()
    hidden = torch.randn(200, 64, dtype=torch.float64, requires_grad=True)
    words = torch.arange(200) % VOCABULARY
    losses = model.losses(hidden, words)
    torch.testing.assert_close(losses, -model.softmax(hidden, words).output)
    every = model.softmax.log_prob(hidden)
    torch.testing.assert_close(losses, -every[torch.arange(200), words])
    asked = [hidden, *model.softmax.parameters()]
    ours = torch.autograd.grad(losses.mean(), asked)
    torchs = torch.autograd.grad(model.softmax(hidden, words).loss, asked)
    torch.testing.assert_close(ours, torchs)


def test_a_cluster_without_words_has_a_gradient_of_zero(model):
    hidden = torch.randn(7, WIDTH, dtype=torch.float64)
    words = torch.tensor([0, 1, 2, 3, 4, 5, 7])  # of the first and the second cluster
    model.losses(hidden, words).mean().backward()
    first, second = (list(tail.parameters()) for tail in model.softmax.tail)
    assert all(parameter.grad.abs().sum() > 0 for parameter in first)
    assert all(torch.equal(parameter.grad, torch.zeros_like(parameter)) for parameter in second)


def test_cutoffs_that_the_vocabulary_does_not_reach_are_left_out():
    model = LSTM(VOCABULARY, EMBEDDING, WIDTH, layers=1, dropout=0.0, cutoffs=(10, 30, 200))
    assert model.softmax.cutoffs == [10, 30]


def test_dropout_is_before_between_and_behind_the_layers():
    model = LSTM(VOCABULARY, 64, 64, layers=2, dropout=0.5, cutoffs=(6,))
    words, fresh = torch.zeros(3, 5, dtype=torch.long), torch.ones(3, dtype=torch.bool)
    seen = {}
    model.layers.register_forward_pre_hook(lambda _, given: seen.update(given=given[0]))
    out = model(words, fresh)
    for tensor in (seen["given"], out):
        assert 0.3 < (tensor == 0).float().mean() < 0.7
    assert model.layers.dropout == 0.5
    model.eval()
    assert torch.equal(model(words, fresh), model(words, fresh))


def test_it_begins_as_the_authors_code_does():
    torch.manual_seed(0)
    model = LSTM(2000, 48, 96, layers=2, dropout=0.1, cutoffs=(100, 500))

    def uniform(weights, bound):
        weights = weights.detach()
        assert weights.abs().max() <= bound
        assert weights.std() == pytest.approx(bound / 3**0.5, rel=0.05)

    uniform(model.embedding.weight, (3 / 48) ** 0.5)
    for layer, fan_in in ((0, 48), (1, 96)):
        for kind, given in (("ih", fan_in), ("hh", 96)):
            uniform(getattr(model.layers, f"weight_{kind}_l{layer}"), (6 / (96 + given)) ** 0.5)
            bias = getattr(model.layers, f"bias_{kind}_l{layer}")
            assert bias.tolist() == [0.0] * 96 + [1.0] * 96 + [0.0] * 192
    head = model.softmax.requires_grad_(False).head
    assert head.weight.shape == (102, 96)
    assert head.weight.std() == pytest.approx((2 / (102 + 96)) ** 0.5, rel=0.05)
    assert head.bias.abs().max() == 0
    assert [tail[0].weight.shape for tail in model.softmax.tail] == [(24, 96), (6, 96)]
    assert model.softmax.tail[1][1].weight.std() == pytest.approx((2 / (1500 + 6)) ** 0.5, rel=0.05)
