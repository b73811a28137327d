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
