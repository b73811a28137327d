"""docs/clocks.md: its code runs and prints what the page shows, and the numbers in its prose are right."""

import pytest
import torch
from torch import nn

import pages
import rectified
from peers import peer


@pytest.fixture(scope="module")
def page():
    return pages.run("clocks.md", {})


def test_the_code_of_the_page_runs(page):
    assert isinstance(page["optimizer"], rectified.AdamW)


def test_the_longest_way_of_a_row_that_occurs_once(page):
    first_update = page["first_update"]
    assert first_update(10_000) == pytest.approx((1 - 0.9) / (1 - 0.999) ** 0.5, rel=1e-4)
    assert first_update(10_000) == pytest.approx(3.16, abs=0.005)
    assert first_update(10_000, after=200) == pytest.approx(31.8, abs=0.05)


@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_a_row_that_occurs_in_every_kth_step_moves_like_a_new_one_at_k(page, k):
    row = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    optimizer = rectified.Adam([row], lr=1.0)
    for step in range(1, 10_001):
        before, row.grad = row.item(), torch.full_like(row, step % k == 0)
        optimizer.step()
    moved = before - row.item()
    assert moved == pytest.approx(page["first_update"](k), rel=1e-3)
    assert k > 100 or moved <= 1.001


def test_sparse_adams_row_moves_as_far_at_first_and_then_stands():
    table = nn.Embedding(2, 1, sparse=True).double()
    nn.init.zeros_(table.weight)
    optimizer = torch.optim.SparseAdam(table.parameters(), lr=1.0)
    for rows in [[0], [0, 1], *[[0]] * 100]:
        optimizer.zero_grad()
        table(torch.tensor(rows)).sum().backward()
        optimizer.step()
        if rows == [0, 1]:
            first = table.weight[1].item()
        else:
            optimizer.state[table.weight]["step"] = 10_000
    assert first == table.weight[1].item() == pytest.approx(-3.16, abs=0.005)


KINDS = [rectified.AdamW, torch.optim.AdamW, rectified.RAdam, torch.optim.RAdam]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_without_a_gradient_nothing_moves_and_with_zeros_everything_does(kind):
    p, busy = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = kind([p, busy], lr=0.1, weight_decay=0.1)
    moments = []
    for grad in (torch.ones(1), None, torch.zeros(1)):
        p.grad, busy.grad = grad, torch.ones(1)
        optimizer.step()
        moments.append((p.item(), *(x.item() for x in optimizer.state[p].values())))
    assert moments[0] == moments[1]
    assert all(a != b for a, b in zip(moments[1], moments[2], strict=True))
    assert (optimizer.state[p]["step"], optimizer.state[busy]["step"]) == (2, 3)


@pytest.mark.parametrize("kind", [peer("pytorch_optimizer.RAdam"), peer("optimi.RAdam")])
def test_peers_count_for_the_group(kind):
    late, busy = nn.Parameter(torch.ones(1)), nn.Parameter(torch.ones(1))
    optimizer = kind([late, busy], lr=1e-3)
    for _ in range(7):
        busy.grad = torch.ones(1)
        optimizer.step()
    assert "step" not in optimizer.state[busy]
    assert int(optimizer.param_groups[0]["step"]) == 7


def test_a_count_of_1_beside_an_old_v(page):
    p = nn.Parameter(torch.zeros(1))
    optimizer = rectified.Adam([p], lr=1.0)
    optimizer.state[p] = {"step": torch.tensor(0.0), "exp_avg": torch.zeros(1), "exp_avg_sq": torch.ones(1)}
    p.grad = torch.ones(1)
    optimizer.step()
    assert -1 / p.item() == pytest.approx(31.6, abs=0.05)


def test_a_row_that_decays_in_every_step(page):
    group = page["optimizer"].param_groups[0]
    factor = 1 - group["lr"] * group["weight_decay"]
    assert factor**10_000 == pytest.approx(0.37, abs=0.005)
