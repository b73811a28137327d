"""Language models of a user's own text: tasks that are named by the text, and take no other for it."""

from pathlib import Path

import pytest
import torch

from rectified.study.config.study import Study
from rectified.workloads.data import DataNotFoundError
from rectified.workloads.tasks import TASKS, parse_task

OWN = {
    "train.txt": "the sea is the sea\na lion is a lion\n" * 30,
    "valid.txt": "the sea is a lion\n",
    "test.txt": "a sea is the lion\n",
}


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "sea"
    folder.mkdir()
    for name, text in OWN.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", ["language-model", "language-model-gpt"])
def test_text_of_ones_own_is_a_task_of_its_own(own, name):
    task = parse_task(f"{name}(width=64)", own)
    digest = task.corpus.rpartition("_")[2]
    assert task.name == f"{name}(corpus=sea_360_{digest},width=64)"
    assert task.title == f"Own text sea ({digest})" + (" with a GPT" if "gpt" in name else "") + ", width 64"
    assert parse_task(task.name) == task == parse_task(task.name, own)  # as a study's folder has it, without the text
    assert task.steps_per_epoch(4) == 360 // 4 // task.sequence
    assert parse_task(f"{name}(width=64)").title.startswith("WikiText-2")
    assert task.find(own, print) == own
    data = task.load(own)
    assert (len(data.train), data.vocabulary) == (360, 7)  # the, sea, is, a, lion, <eos>, <unk>
    assert len(list(task.batches(data, 4, torch.Generator()))) == task.steps_per_epoch(4)
    with torch.inference_mode():
        found = task.evaluate(task.model(data).eval(), data)
    assert 3 < found["valid_ppl"] < 15


def test_two_texts_are_two_tasks(own):
    before = parse_task("language-model", own)
    (own / "valid.txt").write_text("the lion is a sea\n")
    after = parse_task("language-model", own)
    assert before.name != after.name
    assert before.title != after.title
    with pytest.raises(DataNotFoundError, match=f"sea holds the text {after.corpus}, not {before.corpus}"):
        before.find(own, print)
    with pytest.raises(DataNotFoundError, match=f"the text {before.corpus} is your own: name its folder"):
        before.find(None, print)


def test_a_tilde_is_expanded(own, monkeypatch):
    monkeypatch.setenv("HOME", str(own.parent))
    task = parse_task("language-model", Path("~/sea"))
    assert task.find(Path("~/sea"), print) == own
    assert task.load(Path("~/sea")).vocabulary == 7


def test_rare_words_are_an_option(own):
    (own / "train.txt").write_text(OWN["train.txt"] + "a rare sea\n" * 4)
    found = [parse_task(f"language-model(min_count={count})", own) for count in (4, 5)]
    assert [task.load(own).vocabulary for task in found] == [8, 7]
    assert found[0].name != found[1].name
    with pytest.raises(ValueError, match="min_count is 5; it is only for your own text: name its folder with --data"):
        parse_task("language-model(min_count=5)")
    with pytest.raises(ValueError, match="min_count is -1; it must be 1 or more, or 0"):
        parse_task("language-model(min_count=-1)", own)


def test_what_is_amiss_with_the_text_is_said_before_anything_runs(own):
    (own / "test.txt").unlink()
    with pytest.raises(DataNotFoundError, match=r"sea: test.txt\[.gz\] is missing$"):
        parse_task("language-model", own)
    with pytest.raises(ValueError, match=r"corpus is 'sea'; leave it out"):
        parse_task("language-model(corpus=sea)")


def test_without_its_identity_it_is_not_taken_for_wikitext(own):
    corpus = parse_task("language-model", own).corpus
    with pytest.raises(DataNotFoundError, match=f"language-model is for WikiText-2: .* option corpus={corpus}"):
        TASKS["language-model"].find(own, print)
    with pytest.raises(DataNotFoundError, match=r"does not hold WikiText-2 .*your own text is train.txt, valid.txt"):
        TASKS["language-model"].find(own.parent, print)


def test_other_tasks_do_not_take_it(own):
    assert parse_task("language-model-paper", own) is TASKS["language-model-paper"]
    with pytest.raises(ValueError, match="no option 'corpus'"):
        parse_task("language-model-paper(corpus=sea_360_0123456789)")


def test_a_studys_runs_are_of_the_text_in_its_folder(own):
    runs = Study("language-model", "adam", batch_sizes=1, data=own).runs()
    assert {run.task.name for run in runs} == {parse_task("language-model", own).name}
    published = Study("language-model", "adam", batch_sizes=1).runs()
    assert not {run.key.id for run in runs} & {run.key.id for run in published}
