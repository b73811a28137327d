"""The translation tasks on forty sentences: batches, loss, perplexity, BLEU, resuming; the real text where it is."""

import ast
import builtins
import dataclasses
import importlib.util
import json
import math
import os
import random
from itertools import chain
from pathlib import Path

import pytest
import sacrebleu
import torch
from torch.nn import functional as F

import rectified
from killed_runs import Killed
from rectified.study.execution.limits import Limits
from rectified.study.execution.training import Training
from rectified.workloads.data import DataNotFoundError
from rectified.workloads.data.text import pieces
from rectified.workloads.data.text.buckets import LONGEST, batch_of
from rectified.workloads.data.text.pieces import BOS, EOS, PAD
from rectified.workloads.tasks import TASKS, parse_task
from rectified.workloads.tasks.lr_decay import LinearDecay, NoDecay
from rectified.workloads.tasks.translation import TOKENIZERS, Translation, signature
from run_to_end import run_of, run_to_end

SHARED = Path(os.environ.get("RECTIFIED_SHARED_DATA", Path(__file__).parents[3] / "../shared/data"))
SMALL = "layers=1,width=16,heads=2,ffn=32,vocabulary=90,updates=7"
TINY = parse_task(f"translation({SMALL})")
WORDS = {"ein": "a", "Hund": "dog", "und": "and", "Katze": "cat", "sieht": "sees", "schläft": "sleeps", "groß": "big"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Sentences of random words, translated word by word."""
    place, chance = tmp_path_factory.mktemp("pairs"), random.Random(0)
    for part, count in {"train": 40, "valid": 12, "test": 9}.items():
        lines = [chance.choices(list(WORDS), k=chance.randint(1, 9)) for _ in range(count)]
        (place / f"{part}.de").write_text("".join(" ".join(line) + "\n" for line in lines), encoding="utf-8")
        (place / f"{part}.en").write_text("".join(" ".join(WORDS[word] for word in line) + "\n" for line in lines))
    return place


@pytest.fixture(scope="module")
def data(folder: Path):
    return TINY.load(TINY.find(folder, print))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows_of(sides, which=None) -> list[tuple[list[int], list[int]]]:
    """Source and target of each sentence, with BOS and EOS as in a batch."""
    texts = [[side.ids[a:b].tolist() for a, b in side.offsets.unfold(0, 2, 1).tolist()] for side in sides]
    return [([*source, EOS], [BOS, *target, EOS]) for source, target in zip(*texts, strict=True)]


def bare(batch) -> list[tuple[list[int], list[int]]]:
    return [
        tuple([piece for piece in row if piece != PAD] for row in pair)
        for pair in zip(*(b.tolist() for b in batch), strict=True)
    ]


# What it is


def test_the_sizes_of_the_paper() -> None:
    iwslt, wmt = TASKS["translation-iwslt"], TASKS["translation-wmt"]
    assert (iwslt.layers, iwslt.width, iwslt.heads, iwslt.ffn, iwslt.dropout) == (6, 512, 4, 1024, 0.3)
    assert (iwslt.batch_size, iwslt.tokens, iwslt.epochs * iwslt.steps_per_epoch(4000)) == (4000, True, 70_000)
    assert (wmt.heads, wmt.ffn, wmt.dropout, wmt.batch_size) == (8, 2048, 0.1, 8196)
    assert iwslt.schedule == LinearDecay()
    small = TASKS["translation"]
    assert (small.width, small.ffn, small.batch_size, small.lrs, small.schedule) == (256, 1024, 96, (5e-4,), NoDecay())


def test_options() -> None:
    task = parse_task("translation(norm=pre,source=en,target=de,bleu=True,decay=True,averaged=3)")
    assert task.name == "translation(averaged=3,bleu=True,decay=True,norm=pre,source=en,target=de)"
    assert task.schedule == LinearDecay()
    assert parse_task(task.name) == task
    assert parse_task("translation-iwslt(decay=False)").schedule == NoDecay()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("norm=both", "norm is 'both'; it must be one of post, pre, admin"),
        ("target=de", "source and target are both 'de'"),
        ("source='../x'", "source is '../x'; it must be a language suffix"),
        ("width=30", "width is 30; it must be even and a multiple of the heads, 4"),
        ("layers=0", "layers is 0; it must be at least 1"),
        ("updates=0", "updates is 0"),
        ("averaged=0", "averaged is 0"),
        ("vocabulary=4", "vocabulary is 4; it must be at least 5"),
        ("dropout=1", "dropout is 1.0; it must be at least 0 and less than 1"),
        ("bleu=1", "bleu is 1; it must be True or False"),
        ("tokenizer=flores200", "tokenizer is 'flores200'; it must be one of 13a, intl, zh, char, none"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_task(f"translation({options})")


def test_without_the_extra_it_says_so(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sacrebleu" else builtins)
    assert TINY.find(folder, print) == folder
    with pytest.raises(DataNotFoundError, match=r"sacrebleu: pip install 'rectified\[text\]'"):
        dataclasses.replace(TINY, bleu=True).find(folder, print)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataNotFoundError, match="needs sentencepiece"):
        TINY.find(folder, print)


def test_what_cannot_be_fetched_is_to_be_named() -> None:
    with pytest.raises(DataNotFoundError, match="translation-iwslt does not fetch data: name a folder"):
        TASKS["translation-iwslt"].find(None, print)


def test_importing_the_tasks_imports_no_extra() -> None:
    for path in Path(rectified.__file__).parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:  # not inside functions
            names = [node.module] if isinstance(node, ast.ImportFrom) else [a.name for a in getattr(node, "names", [])]
            assert not {"sentencepiece", "sacrebleu"} & {str(name).split(".")[0] for name in names}


# Batches


def test_what_is_loaded_is_the_text(folder: Path, data) -> None:
    model = data.vocabulary.numpy().tobytes()
    for part, sides in (("train", data.train), ("valid", data.valid), ("test", data.test)):
        for side, language in zip(sides, ("de", "en"), strict=True):
            texts = [side.ids[a:b].tolist() for a, b in side.offsets.unfold(0, 2, 1).tolist()]
            assert pieces.decode(model, texts) == (folder / f"{part}.{language}").read_text().splitlines()
    assert data.references == (folder / "test.en").read_text().splitlines()
    assert data.size == pieces.size(model) <= 90
    assert TINY.load(folder).vocabulary.equal(data.vocabulary)


def test_a_pass_of_batches_has_every_sentence_once(data) -> None:
    task = dataclasses.replace(TINY, updates=5)
    batches = list(task.batches(data, 8, generator()))
    assert [len(source) for source, _ in batches] == [8] * 5
    assert sorted(row for batch in batches for row in bare(batch)) == sorted(rows_of(data.train))
    assert all(target.shape[1] == max(len(row) for _, row in bare((source, target))) for source, target in batches)
    other = list(task.batches(data, 8, generator(1)))
    assert any(not torch.equal(a[0], b[0]) for a, b in zip(batches, other, strict=True))


def test_when_all_were_drawn_they_are_drawn_again(data) -> None:
    task = dataclasses.replace(TINY, updates=12)
    batches = [bare(batch) for batch in task.batches(data, 8, generator())]
    assert len(batches) == 12 == task.steps_per_epoch(8)
    whole = sorted(rows_of(data.train))
    assert sorted(chain(*batches[:5])) == sorted(chain(*batches[5:10])) == whole
    assert batches[:5] != batches[5:10]


def test_sentences_of_a_batch_are_of_like_length(data) -> None:
    task = dataclasses.replace(TINY, updates=5)
    padding = [float((batch[1] == PAD).double().mean()) for batch in task.batches(data, 8, generator())]
    order = torch.randperm(40, generator=generator()).split(8)
    mixed = [float((batch_of(data.train, which)[1] == PAD).double().mean()) for which in order]
    assert sum(padding) < sum(mixed) / 3


@pytest.mark.parametrize("size", [16, 30, 4000])
def test_batches_of_pieces_are_as_full_as_may_be(data, size: int) -> None:
    task = dataclasses.replace(TINY, tokens=True, updates=30)
    batches = list(task.batches(data, size, generator()))
    assert len(batches) == 30
    for source, target in batches:
        assert len(source) * max(source.shape[1], target.shape[1] - 1) <= size
    if size == 4000:
        assert len(batches[0][0]) == 40
    else:
        longest = max(source.shape[1] for source, _ in batches)
        full = sum(len(source) * max(source.shape[1], target.shape[1] - 1) for source, target in batches) / 30
        assert full > size - longest
    with pytest.raises(ValueError, match="no pair of sentences has at most 1 pieces"):
        next(task.batches(data, 1, generator()))


def test_long_sentences_are_not_trained_on(data) -> None:
    source = data.train.source
    long = torch.full((LONGEST + 1,), 5, dtype=torch.int32)
    for extra, count in ((LONGEST + 1, 40), (LONGEST, 41)):
        more = pieces.Pieces(
            torch.cat((source.ids, long[:extra])), torch.cat((source.offsets, source.offsets[-1:] + extra))
        )
        target = data.train.target
        target = pieces.Pieces(target.ids, torch.cat((target.offsets, target.offsets[-1:])))
        longer = data._replace(train=type(data.train)(more, target))
        (batch,) = dataclasses.replace(TINY, updates=1).batches(longer, 50, generator())
        assert len(batch[0]) == count


@pytest.mark.parametrize("task", [TINY, dataclasses.replace(TINY, tokens=True)], ids=["sentences", "pieces"])
def test_an_epoch_goes_on_in_its_middle(data, task: Translation) -> None:
    """All that is drawn is drawn before the first batch."""
    whole = list(task.batches(data, 24, one := generator()))
    rest_of = task.batches(data, 24, two := generator(), skip=3)
    first = next(rest_of)
    assert torch.equal(two.get_state(), one.get_state())
    rest = [first, *rest_of]
    assert len(rest) == 4
    for a, b in zip(whole[3:], rest, strict=True):
        assert torch.equal(a[0], b[0])
        assert torch.equal(a[1], b[1])


# Loss and measures


@torch.no_grad()
def torch_loss(model, data, sides, smoothing: float) -> float:
    """Sentence by sentence, by torch's own cross entropy."""
    total = count = 0
    for source, target in rows_of(sides):
        logits = model(torch.tensor([source]), torch.tensor([target[:-1]]))[0]
        total += F.cross_entropy(logits, torch.tensor(target[1:]), reduction="sum", label_smoothing=smoothing)
        count += len(target) - 1
    return float(total) / count


@pytest.mark.parametrize("norm", ["post", "pre", "admin"])
def test_loss_and_perplexity_are_a_mean_over_pieces(data, norm: str) -> None:
    task = parse_task(f"translation({SMALL},norm={norm},dropout=0)")
    torch.manual_seed(0)
    model = task.model(data).eval()
    batch = batch_of(data.train, torch.arange(40))
    assert task.weight(batch) == sum(len(target) - 1 for _, target in rows_of(data.train))
    assert task.loss(model, batch).item() == pytest.approx(torch_loss(model, data, data.train, 0.1), rel=1e-5)
    with torch.inference_mode():
        found = task.evaluate(model, data)
        reference = dataclasses.replace(task, cpu_tuning=False)
        assert reference.loss(model, batch).item() == pytest.approx(task.loss(model, batch).item(), rel=1e-5)
        assert reference.evaluate(model, data) == pytest.approx(found, rel=1e-5)
    wanted = torch_loss(model, data, data.valid, 0.0)
    assert found == {
        "valid_loss": pytest.approx(wanted, rel=1e-5),
        "valid_ppl": pytest.approx(math.exp(wanted), rel=1e-5),
    }


def test_admin_profiles_where_the_others_do_nothing(data) -> None:
    model = parse_task(f"translation({SMALL},norm=admin)").model(data)
    first, second = model.encoder[0].residuals
    assert (first.omega == 1).all()
    assert (second.omega > 1).all()


def test_a_loss_beyond_all_numbers_is_an_infinite_perplexity(data) -> None:
    model = TINY.model(data)
    with torch.no_grad():
        model.embedding.weight *= 1e4
    with torch.inference_mode():
        assert TINY.evaluate(model.eval(), data)["valid_ppl"] == math.inf


def test_bleu_is_sacrebleus_of_the_translations(data) -> None:
    task = dataclasses.replace(TINY, bleu=True)
    torch.manual_seed(0)
    model = task.model(data).eval()
    assert TINY.final(model, data) == {}
    texts = [data.train.target.ids[a:b].tolist() for a, b in data.train.target.offsets.unfold(0, 2, 1).tolist()]
    data = data._replace(test=data.train, references=pieces.decode(data.vocabulary.numpy().tobytes(), texts))
    optimizer = rectified.RAdam(model.parameters(), lr=0.01, betas=(0.9, 0.99))
    for epoch in range(10):
        for batch in task.batches(data, 40, generator(epoch)):
            optimizer.zero_grad()
            task.loss(model, batch).backward()
            optimizer.step()
    with torch.inference_mode():
        texts, found = task.translated(model, data), task.final(model, data)
    assert list(found) == ["bleu"]
    assert found["bleu"] == sacrebleu.corpus_bleu(texts, [data.references]).score > 5
    assert sacrebleu.corpus_bleu(sorted(texts), [data.references]).score < found["bleu"]
    perfect = sacrebleu.metrics.BLEU()
    assert perfect.corpus_score(data.references, [data.references]).score == pytest.approx(100)
    assert signature() == str(perfect.get_signature())


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_bleu_is_by_the_tokenizer_that_is_asked_for(data, tokenizer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    task = parse_task(f"translation({SMALL},bleu=True,tokenizer={tokenizer})")
    assert (f"tokenizer={tokenizer}" in task.name) == (tokenizer != "13a")
    assert parse_task(task.name) == task
    references = ["Well, it's a «dog», isn't it?", "The cat sees 3.5 dogs - and a big one."]
    texts = ["Well , it's a «dog» isn't it?", "The cat sees 3.5 dogs-and a big cat."]
    monkeypatch.setattr(Translation, "translated", lambda *_: texts)
    found = task.final(None, data._replace(references=references))["bleu"]
    assert found == sacrebleu.corpus_bleu(texts, [references], tokenize=tokenizer).score
    others = [sacrebleu.corpus_bleu(texts, [references], tokenize=other).score for other in TOKENIZERS]
    assert len(set(others)) >= 4
    assert f"|tok:{tokenizer}|" in signature(tokenizer)


@pytest.mark.parametrize(
    ("options", "warned"),
    [("bleu=True", "13a"), ("bleu=True,tokenizer=intl", "intl"), ("bleu=True,tokenizer=none", ""), ("bleu=False", "")],
)
def test_of_tokenized_text_it_is_said_what_bleu_is_worth(folder: Path, tmp_path, options: str, warned: str) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    said: list[str] = []
    task = parse_task(f"translation({SMALL},{options})")
    task.find(tmp_path, said.append)
    assert said == []
    (tmp_path / "test.en").write_text("a dog , and a cat .\n" * 9)
    task.find(tmp_path, said.append)
    assert len(said) == bool(warned)
    for line in said:
        assert line.startswith(f"{tmp_path}: the text is already tokenized (as by Moses")
        assert f"its BLEU by {warned}" in line
        assert "tokenizer=none" in line
        assert "\n" not in line


def test_the_languages_that_are_there_are_named(folder: Path) -> None:
    with pytest.raises(DataNotFoundError, match=r"found de, en; write translation-iwslt\(source=de,target=en\)"):
        parse_task("translation-iwslt(source=fr,layers=2)").find(folder, print)


# Training


def train(task: Translation, data, place: Path, monkeypatch, kill_at: int | None = None) -> list[dict]:
    run = run_of(task, "radam", 3e-3, epochs=3, batch_size=8)
    take = Training.take

    def fragile(self, *told):
        if self.step == kill_at:
            raise Killed
        return take(self, *told)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "take", fragile)
        if kill_at is None:
            assert run_to_end(run, data, place, limits=Limits(checkpoint_every=0)) == "done"
        else:
            with pytest.raises(Killed):
                run_to_end(run, data, place, limits=Limits(checkpoint_every=0))
    return [json.loads(line) for line in (place / "rows.jsonl").read_text().splitlines()]


def test_a_run_that_goes_on_is_the_run_that_was_never_interrupted(data, tmp_path, monkeypatch) -> None:
    task = dataclasses.replace(TINY, averaged=2, bleu=True, norm="admin")
    whole = train(task, data, tmp_path / "whole", monkeypatch)
    assert len(whole) == 3
    assert set(whole[-1]) == {"epoch", "step", "train_loss", "valid_ppl", "valid_loss", "bleu"}
    assert whole[-1]["valid_ppl"] < whole[0]["valid_ppl"]
    train(task, data, tmp_path / "cut", monkeypatch, kill_at=10)
    assert train(task, data, tmp_path / "cut", monkeypatch) == whole


@pytest.mark.skipif(not (SHARED / "multi30k").exists(), reason="no ../shared/data/multi30k")
def test_the_real_multi30k_in_pieces() -> None:
    task = TASKS["translation"]
    data = task.load(task.find(SHARED / "multi30k", print))
    assert data.size == 10_000
    assert [len(sides.source.offsets) - 1 for sides in data[:3]] == [29_000, 1_014, 1_000]
    assert 11 < data.train.target.lengths().double().mean() < 16
    model = data.vocabulary.numpy().tobytes()
    assert pieces.decode(model, [data.test.target.ids[: data.test.target.offsets[1]].tolist()]) == data.references[:1]
    padding = [float((side == PAD).double().mean()) for batch in task.batches(data, 96, generator()) for side in batch]
    assert sum(padding) / len(padding) < 0.1
