"""The language models: streams against lists, perplexity against a count by hand, and runs that go on."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from killed_runs import killed_after_every_checkpoint
from rectified.study.config.methods import parse
from rectified.study.config.runs import Run
from rectified.study.execution.limits import Limits
from rectified.study.execution.training import Training
from rectified.workloads.data.text.words import Corpus
from rectified.workloads.tasks import TASKS, parse_task
from rectified.workloads.tasks.language_model import LanguageModel
from rectified.workloads.tasks.lr_decay import NoDecay
from run_to_end import run_of, run_to_end

LSTM = replace(TASKS["language-model"], words=500, width=16, embedding=6, cutoffs=(5, 12), sequence=4)
GPT = replace(TASKS["language-model-gpt"], words=500, width=8, heads=2, layers=2, sequence=4)
SMALL = pytest.mark.parametrize("task", [LSTM, GPT], ids=["lstm", "gpt"])


def corpus(train=500, valid=203, test=77, vocabulary=20):
    draw = torch.Generator().manual_seed(8)
    texts = (torch.randint(vocabulary, (count,), generator=draw, dtype=torch.int32) for count in (train, valid, test))
    return Corpus(*texts, vocabulary=vocabulary)


DATA = corpus()


def epoch(task, batch_size, data=DATA, seed=0, skip=0):
    return list(task.batches(data, batch_size, torch.Generator().manual_seed(seed), skip))


# Streams


@pytest.mark.parametrize(("batch_size", "sequence"), [(5, 4), (1, 500), (7, 3), (3, 50), (500, 1)])
def test_streams_are_the_text_in_a_circle(batch_size, sequence):
    task, text = replace(LSTM, sequence=sequence), DATA.train.tolist() * 3
    batches = epoch(task, batch_size)
    assert len(batches) == task.steps_per_epoch(batch_size) == 500 // batch_size // sequence
    inputs = torch.cat([batch[0] for batch in batches], 1).tolist()
    targets = torch.cat([batch[1] for batch in batches], 1).tolist()
    (start,) = [at for at in range(500) if text[at : at + len(inputs[0]) + 1] == inputs[0] + targets[0][-1:]][:1]
    for stream in range(batch_size):
        begin = start + stream * 500 // batch_size
        assert inputs[stream] == text[begin : begin + len(inputs[stream])]
        assert targets[stream] == text[begin + 1 : begin + 1 + len(inputs[stream])]
    for step, (words, _, fresh) in enumerate(batches):
        assert words.shape == (batch_size, sequence)
        assert words.dtype == torch.int64
        assert fresh.tolist() == [step == 0] * batch_size


def test_an_epoch_has_every_word_once_where_streams_divide_the_text():
    data = DATA._replace(train=torch.arange(500, dtype=torch.int32))
    words = torch.cat([batch[0] for batch in epoch(replace(LSTM, sequence=10), 5, data)], 1)
    assert sorted(words.flatten().tolist()) == list(range(500))


def test_each_epoch_begins_elsewhere():
    generator = torch.Generator().manual_seed(0)
    data = DATA._replace(train=torch.arange(500, dtype=torch.int32))
    firsts = [int(next(iter(LSTM.batches(data, 5, generator)))[0][0, 0]) for _ in range(400)]
    assert len(set(firsts)) > 200
    assert min(firsts) < 25
    assert max(firsts) > 475


@pytest.mark.parametrize("updates", [1, 7, 1000])
def test_an_epoch_can_be_so_many_updates(updates):
    task = replace(LSTM, updates=updates)
    assert task.steps_per_epoch(5) == len(epoch(task, 5)) == updates


@SMALL
def test_an_epoch_can_begin_at_any_of_its_batches(task):
    whole = epoch(task, 8)
    for skip in range(len(whole) + 1):
        rest = epoch(task, 8, skip=skip)
        assert len(rest) == len(whole) - skip
        for found, expected in zip(rest, whole[skip:], strict=True):
            assert all(map(torch.equal, found, expected))


def test_all_is_drawn_before_the_first_batch():
    generator = torch.Generator().manual_seed(2)
    batches = LSTM.batches(DATA, 8, generator, skip=3)
    next(batches)
    drawn = generator.get_state()
    list(batches)
    assert torch.equal(generator.get_state(), drawn)
    list(LSTM.batches(DATA, 8, other := torch.Generator().manual_seed(2)))
    assert torch.equal(other.get_state(), drawn)


# Perplexity


@dataclass(frozen=True, kw_only=True)
class Pairs(LanguageModel):
    """Knows p(word | the word before) from a table, and whether evaluation asks for each once."""

    def model(self, data):
        return nn.Embedding(20, 20)

    def losses(self, model, batch):
        inputs, targets, _ = batch
        return -model.weight.log_softmax(1)[inputs, targets].flatten()


@pytest.mark.parametrize("count", [2, 3, 64, 65, 66, 203, 64 * 12 + 1, 64 * 12 + 2])
def test_perplexity_is_of_every_word_but_the_first(count):
    task = Pairs(name="pairs", title="", words=500, sequence=5, layers=1, width=1, epochs=1, batch_size=8)
    data = corpus(valid=count, test=count + 1)
    torch.manual_seed(1)
    model = task.model(data)
    logs = model.weight.detach().double().log_softmax(1)

    def loss(text):
        return -sum(logs[a, b].item() for a, b in pairwise(text)) / (len(text) - 1)

    with torch.inference_mode():
        found, final = task.evaluate(model, data), task.final(model, data)
    assert found["valid_loss"] == pytest.approx(loss(data.valid.tolist()), rel=1e-6)
    assert found["valid_ppl"] == pytest.approx(math.exp(loss(data.valid.tolist())), rel=1e-5)
    expected = loss(data.test.tolist())
    assert final == {"test_ppl": pytest.approx(math.exp(expected), rel=1e-5), "test_loss": pytest.approx(expected)}


def test_an_lstm_is_evaluated_in_streams_that_remember():
    torch.manual_seed(1)
    model = LSTM.model(DATA)
    list(map(model.forward, DATA.train[:32].view(1, 8, 4), torch.ones(1, 8, dtype=torch.bool)))
    before = model.state_dict()["_extra_state"].clone()
    model.eval()
    length, losses = 4, []  # 202 words to tell, in streams of 4, the last of 2
    for begin in range(0, 202, length):
        stream = DATA.valid[begin : min(begin + length, 202) + 1].long()[None]
        losses.append(model.losses(model(stream[:, :-1], torch.tensor([True]))[0], stream[0, 1:]))
    with torch.inference_mode():
        found = replace(LSTM, sequence=3).evaluate(model, DATA)
    assert found["valid_loss"] == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)
    assert torch.equal(model.state_dict()["_extra_state"], before)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    task = Pairs(name="pairs", title="", words=500, sequence=5, layers=1, width=1, epochs=1, batch_size=8)
    model = task.model(DATA)
    with torch.no_grad():
        model.weight[:, 1:] = -1e4
    with torch.inference_mode():
        assert task.evaluate(model, DATA)["valid_ppl"] == math.inf


@SMALL
def test_the_loss_is_the_mean_of_the_words_losses(task):
    torch.manual_seed(1)
    model = task.model(DATA).eval()
    batch = epoch(task, 8)[0]
    losses = task.losses(model, batch)
    assert losses.shape == (8 * 4,)
    assert task.loss(model, batch).item() == pytest.approx(losses.mean().item())
    assert losses.mean().item() == pytest.approx(math.log(20), abs=1.0)


def test_the_losses_of_the_gpt_are_in_the_order_of_the_targets():
    model = GPT.model(DATA).eval()
    inputs, targets, fresh = epoch(GPT, 3)[0]
    losses = GPT.losses(model, (inputs, targets, fresh)).view(3, 4)
    logs = model(inputs).log_softmax(2)
    for stream in range(3):
        for place in range(4):
            assert losses[stream, place].item() == pytest.approx(-logs[stream, place, targets[stream, place]].item())


# Runs


@SMALL
def test_killed_at_every_step_it_ends_as_if_it_never_was(task, tmp_path, monkeypatch):
    begun, begin = [], Training.begin

    def watched(*args):
        begun.append(begin(*args))
        return begun[-1]

    monkeypatch.setattr(Training, "begin", watched)
    this = run_of(task, "radam", 0.01, epochs=2, batch_size=25)  # five updates an epoch
    run_to_end(this, DATA, tmp_path / "whole", limits=Limits(checkpoint_every=1e9))
    whole = begun[-1].state()

    def run_once():
        run_to_end(this, DATA, tmp_path / "killed", limits=Limits(checkpoint_every=0))

    assert killed_after_every_checkpoint(monkeypatch, run_once) == 2 * 5 + 1
    found = begun[-1].state()
    for name, expected in whole["model"].items():
        assert torch.equal(found["model"][name], expected), name
    for number, state in whole["optimizer"]["state"].items():
        assert all(torch.equal(found["optimizer"]["state"][number][name], state[name]) for name in state)
    rows = [(tmp_path / name / "rows.jsonl").read_bytes() for name in ("whole", "killed")]
    assert rows[0] == rows[1]
    assert b"test_ppl" in rows[0].splitlines()[-1]
    assert b"test_ppl" not in rows[0].splitlines()[0]


@SMALL
def test_it_learns_what_follows_what(task):
    text = torch.arange(6, dtype=torch.int32).repeat(500)[:2995]  # each word is known from the one before
    data, task = (
        Corpus(text, text, text, 6),
        replace(task, words=600, updates=200, width=32, dropout=0.0, schedule=NoDecay()),
    )
    training = Training.begin(run_of(task, "adam", 0.01, batch_size=10), data)
    for batch in task.batches(data, 10, training.generator()):
        training.take(batch)
    training.model.eval()
    with torch.inference_mode():
        assert task.evaluate(training.model, data)["valid_ppl"] < 1.5


# Small vocabularies


@pytest.mark.parametrize("vocabulary", [2, 5, 6, 13, 20])
def test_clusters_fit_a_small_vocabulary(vocabulary):
    """The probabilities of all words sum to 1, whatever the cutoffs (5, 12) leave of them."""
    model = LSTM.model(corpus(vocabulary=vocabulary)).eval()
    losses = model.losses(torch.randn(1, 16).expand(vocabulary, 16), torch.arange(vocabulary))
    assert losses.neg().exp().sum().item() == pytest.approx(1, rel=1e-5)
    assert max(model.softmax.cutoffs) == vocabulary


@SMALL
def test_a_vocabulary_below_every_cutoff_is_learned_from(task):
    text = torch.arange(6, dtype=torch.int32).repeat(100)
    data, task = Corpus(text, text, text, 6), replace(task, words=600, updates=150, width=32, dropout=0.0)
    task = replace(task, cutoffs=(2000, 10_000)) if hasattr(task, "cutoffs") else task
    training = Training.begin(Run(task, parse("adam"), 0.01, 0, epochs=1, batch_size=10), data)
    for batch in task.batches(data, 10, training.generator()):
        training.take(batch)
    training.model.eval()
    with torch.inference_mode():
        assert task.evaluate(training.model, data)["valid_ppl"] < 1.5


# As they are named


def test_steps_are_known_without_the_data():
    assert TASKS["language-model"].steps_per_epoch(128) == 2_088_628 // 128 // 20
    assert TASKS["language-model-gpt"].steps_per_epoch(32) == 2_088_628 // 32 // 64
    assert TASKS["language-model-paper"].steps_per_epoch(128) == 798_949_912 // 128 // 20
    assert parse_task("language-model-paper(shards=33)").steps_per_epoch(128) == 798_949_912 // 3 // 128 // 20
    assert parse_task("language-model(updates=9)").steps_per_epoch(128) == 9
    assert LSTM.steps_per_epoch(1000) == 1


def test_the_papers_recipe():
    task = TASKS["language-model-paper"]
    assert (task.epochs, task.batch_size, task.lrs, task.clip, task.dropout) == (14, 128, (0.001,), 5.0, 0.1)
    assert [round(task.schedule(100 * done, 1400), 6) for done in range(14)] == [1.0] * 9 + [0.1] * 5
    model = replace(task, width=64, embedding=12).model(corpus(vocabulary=50_000))
    assert model.softmax.cutoffs == [4000, 40_000, 50_000]
    assert model.layers.num_layers == 2


@pytest.mark.parametrize("name", ["language-model", "language-model-gpt", "language-model-paper"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("sequence=0", "sequence is 0; it must be 1 or more"),
        ("layers=0", "layers is 0; it must be 1 or more"),
        ("width=-8", "width is -8; it must be 1 or more"),
        ("updates=-1", "updates is -1; it must be 1 or more, or 0"),
        ("heads=2", "no option 'heads'"),
        ("width=2.5", "width is 2.5; it must be a whole number"),
    ],
)
def test_options_out_of_range_are_refused(name, options, words):
    with pytest.raises(ValueError, match=words):
        parse_task(f"{name}({options})")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("language-model(width=15)", "width is 15; it must be at least 16"),
        ("language-model-paper(width=63)", "width is 63; it must be at least 64"),
        ("language-model(norm=pre)", "no option 'norm'"),
        ("language-model(shards=3)", "no option 'shards'"),
        ("language-model-paper(shards=0)", "shards is 0; it must be from 1 to 99"),
        ("language-model-paper(shards=100)", "shards is 100; it must be from 1 to 99"),
        ("language-model-gpt(norm=middle)", "norm is 'middle'; it must be 'pre' or 'post'"),
        ("language-model-gpt(positions=none)", "positions is 'none'"),
        ("language-model-gpt(width=130)", "width is 130.*multiple of the heads, which are 4"),
    ],
)
def test_so_are_those_of_another_model(text, words):
    with pytest.raises(ValueError, match=words):
        parse_task(text)


def test_an_option_is_in_the_name():
    task = parse_task("language-model-gpt(norm=post, updates=100)")
    assert task.name == "language-model-gpt(norm=post,updates=100)"
    assert task.norm == "post"
    assert task.model(DATA).norm.__class__ is nn.Identity
