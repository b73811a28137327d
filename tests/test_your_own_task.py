"""The code of docs/your-own-task.md runs as it stands there; its task is trained."""

import torch

import pages


def test_the_code_of_the_page_runs_and_its_task_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "input.txt").write_text("to be or not to be, that is the question. " * 120, encoding="utf-8")
    names = pages.run("your-own-task.md", {})
    for each in ("task", "drawn", "measured"):
        task = names[each]
        task.find(None, print)
        data = task.load(None)
        torch.manual_seed(0)
        model = task.model(data)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses = []
        for batch in list(task.batches(data, 8, torch.Generator().manual_seed(0)))[:6]:
            optimizer.zero_grad()
            losses.append(task.loss(model, batch))
            losses[-1].backward()
            optimizer.step()
        assert losses[-1] < losses[0]
        with torch.inference_mode():
            assert task.metric in task.evaluate(model.eval(), data)
