"""Beam search against all sentences there are, against greedy decoding, and against itself alone."""

import itertools
from copy import deepcopy
from functools import cache

import pytest
import torch
from torch.nn import functional as F

from rectified.workloads.data.text.pieces import BOS, EOS, PAD
from rectified.workloads.models.beam import beam_search
from rectified.workloads.models.transformer import Transformer

SOURCE = torch.tensor([[4, 5, 6, 5, EOS], [6, 5, EOS, PAD, PAD], [6, 6, 4, EOS, PAD], [5, EOS, PAD, PAD, PAD]])


@cache
def tiny(seed: int, norm: str = "post") -> Transformer:
    """Of seven pieces, five of which may be written; half trained on random translations: it is in two minds."""
    torch.manual_seed(seed)
    model = Transformer(7, 2, 16, 2, 32, norm)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    target = torch.randint(3, 7, (4, 7))
    target[:, 0] = BOS
    for row, length in zip(target, (3, 1, 4, 5), strict=True):
        row[length + 1] = EOS
        row[length + 2 :] = PAD
    for _ in range(20):
        optimizer.zero_grad()
        logits = model(SOURCE, target[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), target[:, 1:].flatten(), ignore_index=PAD).backward()
        optimizer.step()
    return model.eval()


@torch.no_grad()
def scored(model: Transformer, source: torch.Tensor, longest: int) -> dict[tuple[int, ...], float]:
    """log p of every sentence there is, with EOS behind it; those of a length by one pass of the whole."""
    found = {}
    for length in range(longest + 1):
        texts = list(itertools.product((3, 4, 5, 6), repeat=length))
        whole = torch.tensor([[BOS, *text, EOS] for text in texts])
        alone = source[source != PAD].expand(len(texts), -1)
        logs = torch.log_softmax(model(alone, whole[:, :-1]), 2)
        found |= dict(zip(texts, logs.gather(2, whole[:, 1:, None]).sum((1, 2)).tolist(), strict=True))
    return found


@pytest.mark.parametrize("alpha", [0.0, 1.0, 2.0])
def test_a_wide_beam_finds_the_best_of_all_sentences(alpha: float) -> None:
    found = beam_search(tiny(0), SOURCE, [3, 3, 2, 3], width=4**3 + 4**2 + 4 + 1, alpha=alpha)
    for source, longest, text in zip(SOURCE, (3, 3, 2, 3), found, strict=True):
        scores = {one: p / (len(one) + 1) ** alpha for one, p in scored(tiny(0), source, longest).items()}
        assert scores[tuple(text)] == pytest.approx(max(scores.values()), abs=1e-5)
    assert len({len(text) for text in found}) > 1


@pytest.mark.parametrize("norm", ["post", "pre", "admin"])
def test_width_1_is_greedy(norm: str) -> None:
    lengths = set()
    for seed in range(2):
        model = tiny(seed, norm)
        found = beam_search(model, SOURCE, [8] * 4, width=1)
        for source, text in zip(SOURCE, found, strict=True):
            wanted: list[int] = []
            while len(wanted) < 8:
                with torch.no_grad():
                    logits = model(source[source != PAD][None], torch.tensor([[BOS, *wanted]]))[0, -1]
                logits[[PAD, BOS]] = -torch.inf
                if (piece := int(logits.argmax())) == EOS:
                    break
                wanted.append(piece)
            assert text == wanted
            lengths.add(len(text))
    assert lengths - {0, 8}


def test_pad_and_bos_are_never_written_however_likely() -> None:
    model = deepcopy(tiny(0))
    with torch.no_grad():
        model.decoder[-1].feed_forward_residual.norm.bias.copy_(10 * model.embedding.weight[BOS])
        model.embedding.weight[PAD] = 2 * model.embedding.weight[BOS]
    logits = model(SOURCE, torch.full((4, 1), BOS))
    assert (logits.argmax(2) <= BOS).all()
    found = beam_search(model, SOURCE, [6] * 4)
    assert not {PAD, BOS, EOS} & set(itertools.chain(*found))


@pytest.mark.parametrize("width", [2, 5])
def test_a_sentence_among_others_is_translated_as_alone(width: int) -> None:
    longest = [9, 4, 0, 7]
    for seed in range(2):
        model = tiny(seed)
        found = beam_search(model, SOURCE, longest, width)
        assert [len(text) <= most for text, most in zip(found, longest, strict=True)] == [True] * 4
        for source, most, text in zip(SOURCE, longest, found, strict=True):
            assert beam_search(model, source[source != PAD][None], [most], width) == [text]


@pytest.mark.parametrize("width", [2, 3, 5])
def test_the_search_is_the_one_that_is_described(width: int) -> None:
    """By lists, every prefix scored by a pass of its own."""
    for seed in range(2):
        model = tiny(seed)
        for source in SOURCE[:2]:
            alone, most = source[source != PAD][None], 6
            going, ended = [(0.0, [])], []
            for length in range(most + 1):
                ways = []
                for total, text in going:
                    with torch.no_grad():
                        logits = model(alone, torch.tensor([[BOS, *text]]))[0, -1]
                    logs = torch.log_softmax(logits, 0).tolist()
                    pieces = range(2, 7) if length < most else [EOS]
                    ways += [(total + logs[piece], [*text, piece]) for piece in pieces]
                ways = sorted(ways, reverse=True)[: 2 * width]
                ended += [(total / (length + 1), text[:-1]) for total, text in ways[:width] if text[-1] == EOS]
                going = [way for way in ways if way[1][-1] != EOS][:width]
                if len(ended) >= width:
                    break
            assert beam_search(model, alone, [most], width) == [max(ended[:width])[1]]


def test_a_model_of_nans_translates_to_nothing() -> None:
    model = deepcopy(tiny(0))
    with torch.no_grad():
        model.embedding.weight.fill_(torch.nan)
    assert beam_search(model, SOURCE, [3] * 4) == [[], [], [], []]


def test_a_width_below_1_is_refused() -> None:
    with pytest.raises(ValueError, match="width is 0; it must be at least 1"):
        beam_search(tiny(0), SOURCE, [3] * 4, width=0)
