"""A run's identity: what it is made of, and that it never changes."""

import dataclasses

import pytest

from rectified.study.config.runs import RunKey, slug
from rectified.workloads.tasks import TASKS
from run_to_end import run_of

KEY = RunKey("fashion-mnist", "adam", 0.01, 0, 5, 1000)


def test_every_field_is_part_of_the_identity():
    changed = {"task": "other", "method": "sgd", "lr": 0.02, "seed": 1, "epochs": 6, "batch_size": 10, "version": "ab"}
    assert changed.keys() == {field.name for field in dataclasses.fields(RunKey)}
    keys = [KEY, *(dataclasses.replace(KEY, **{name: value}) for name, value in changed.items())]
    assert len({key.id for key in keys}) == len({key.old_id for key in keys}) == 8


def test_the_identity_is_stable():
    """A changed hash would orphan every finished study."""
    key = RunKey("fashion-mnist", "adam+linear-5(beta2=0.9)", 0.01, 0, 5, 1000)
    assert key.old_id == "adam+linear-5-beta2-0.9-da7adc519e"
    assert key.id == "adam+linear-5-beta2-0.9-lr0.01-seed0-da7adc519e"


@pytest.mark.parametrize("version", ["", "1f2e3d"])
def test_json_gives_it_back(version):
    key = dataclasses.replace(KEY, version=version)
    assert RunKey(**key.as_dict()) == key
    assert ("version" in key.as_dict()) == bool(version)


def test_a_folders_name_has_no_special_characters():
    assert slug("torch.optim.NAdam(betas=(0.9, 0.99))") == "torch.optim.-dam-betas-0.9-0.99"
    assert dataclasses.replace(KEY, method="sgd(lr=0.5)").id.startswith("sgd-lr-0.5-lr0.01-seed0-")


def test_a_runs_command_repeats_it():
    run = run_of(TASKS["fashion-mnist-mini"], "sgd(lr=0.5)", 0.5, seed=1, epochs=2)
    assert run.steps == 120
    assert (
        run.command
        == "rectified study fashion-mnist-mini --methods 'sgd(lr=0.5)' --lrs 0.5 --seeds 1 --epochs 2 --batch-sizes 100"
    )
