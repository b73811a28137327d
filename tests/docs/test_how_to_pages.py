"""The code of the site's own pages runs as it stands there, and what it makes works."""

import re
import sys

import pytest
import torch

import pages
from rectified.study.config.methods import parse


@pytest.mark.parametrize("page", ["from-adam-to-radam.md", "check.md", "probe.md"])
def test_a_page_prints_what_it_shows(page):
    pages.run(page, {})


@pytest.fixture
def on_the_path(tmp_path, monkeypatch):
    """Write a page's first block into a module, which a study can then name."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(page, module):
        code = pages.BLOCK.search((pages.DOCS / page).read_text(encoding="utf-8"))[1]
        (tmp_path / f"{module}.py").write_text(code, encoding="utf-8")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return write


def methods_of(page):
    """The methods in a page's command."""
    return re.search(r'--methods "?(\S+?)"?\n', (pages.DOCS / page).read_text(encoding="utf-8"))[1].split(",")


def test_a_warmup_of_the_page_works_in_a_study(on_the_path):
    pages.run("add-a-warmup.md", {})
    on_the_path("add-a-warmup.md", "my_warmups")
    assert [parse(name).omega(50) for name in methods_of("add-a-warmup.md")][-1] == pytest.approx(0.5)


def test_an_optimizer_of_the_page_works_in_a_study(on_the_path):
    pages.run("add-an-optimizer.md", {})
    on_the_path("add-an-optimizer.md", "my_optimizers")
    assert [parse(name).omega(50) for name in methods_of("add-an-optimizer.md")] == [1, 1, 0.5]


def test_the_tasks_of_the_page_learn(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names = pages.run("add-a-task.md", {})
    for task in (names["task"], names["blobs"]):
        data = task.load(task.find(None, print))
        torch.manual_seed(0)
        model = task.model(data)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
        for epoch in range(4):
            for batch in task.batches(data, 50, torch.Generator().manual_seed(epoch)):
                optimizer.zero_grad()
                task.loss(model, batch).backward()
                optimizer.step()
        with torch.inference_mode():
            assert task.evaluate(model.eval(), data)[task.metric] > 80 > task.chance
        whole, rest = (list(task.batches(data, 50, torch.Generator().manual_seed(1), skip)) for skip in (0, 4))
        assert torch.equal(whole[4][0], rest[0][0])
