"""The grid: which cells, in which order, what is refused."""

import dataclasses

import pytest

from rectified.study.config.methods import parse_list
from rectified.study.config.runs import Cell, Plan

PLAN = Plan("fashion-mnist-mini", parse_list("adam,sgd(lr=0.5)"), (0.01, 0.1), (0, 1), epochs=2, batch_size=100)


def test_the_cells_are_the_grid_in_order_and_a_fixed_lr_runs_once():
    assert [(cell.method, cell.lr, cell.seed) for cell in PLAN.cells()] == [
        ("adam", 0.01, 0),
        ("adam", 0.01, 1),
        ("adam", 0.1, 0),
        ("adam", 0.1, 1),
        ("sgd(lr=0.5)", 0.5, 0),
        ("sgd(lr=0.5)", 0.5, 1),
    ]


def test_every_field_of_a_cell_is_part_of_its_identity():
    cell = Cell("fashion-mnist", "adam", 0.01, 0, 5, 1000)
    changed = {"task": "other", "method": "sgd", "lr": 0.02, "seed": 1, "epochs": 6, "batch_size": 10}
    assert changed.keys() == {field.name for field in dataclasses.fields(Cell)}
    ids = {dataclasses.replace(cell, **{name: value}).id for name, value in changed.items()}
    assert len(ids | {cell.id}) == 7


def test_the_identity_is_stable():
    """A changed hash would orphan every finished study."""
    assert (
        Cell("fashion-mnist", "adam+linear-5(beta2=0.9)", 0.01, 0, 5, 1000).id == "adam+linear-5-beta2-0.9-da7adc519e"
    )


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"methods": ()}, "--methods is empty"),
        ({"lrs": ()}, "--lrs is empty"),
        ({"seeds": ()}, "--seeds is empty"),
        ({"lrs": (0.1, 0.1)}, "--lrs holds 0.1 twice"),
        ({"seeds": (3, 3)}, "--seeds holds 3 twice"),
        ({"methods": parse_list("adam,adam")}, "--methods holds adam twice"),
        ({"lrs": (-0.1,)}, "--lrs holds -0.1"),
        ({"lrs": (float("nan"),)}, "--lrs holds nan"),
        ({"lrs": (float("inf"),)}, "--lrs holds inf"),
        ({"epochs": 0}, "--epochs is 0"),
    ],
)
def test_a_wrong_grid_is_refused_naming_the_flag(change, says):
    with pytest.raises(ValueError, match="--") as error:
        dataclasses.replace(PLAN, **change)
    assert says in str(error.value)


def test_a_warmup_longer_than_the_run_is_flagged_with_its_last_omega():
    plan = dataclasses.replace(PLAN, methods=parse_list("adam,adam+linear-100,adam+linear-1000,radam"))
    flagged = plan.unfinished_warmups(steps=200)
    assert flagged.keys() == {"adam+linear-1000", "radam"}
    assert flagged["adam+linear-1000"] == 0.2


def test_a_cells_command_repeats_it():
    cell = PLAN.cells()[-1]
    assert (
        cell.command
        == "rectified study fashion-mnist-mini --methods 'sgd(lr=0.5)' --lrs 0.5 --seeds 1 --epochs 2 --batch-sizes 100"
    )
