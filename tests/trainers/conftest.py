"""What the trainers' tests share: no network, and no state left by the test before."""

import os

import pytest

# Read when the libraries are imported: a test that wants something from a hub fails at once.
os.environ["HF_HUB_OFFLINE"] = "1"


@pytest.fixture(autouse=True)
def fresh_accelerate():
    """Accelerate, and Trainer on top of it, keep one state for the whole process."""
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def played(monkeypatch):
    """The lrs that each check plays, in order."""
    from rectified.probe.play.played import play
    from rectified.trainers import accelerate, checking

    lrs = []

    def keep(optimizer, scheduler=None, steps=0, **known):
        lrs.append(list(play(optimizer, scheduler, steps, **known).groups[0].lr))
        return []

    for module in (checking, accelerate):
        monkeypatch.setattr(module, "check", keep)
    return lrs
