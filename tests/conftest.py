"""What all tests share. (pytest also puts the folder of a conftest on the import path: that is how roster is found.)"""

import os

import pytest
import torch
from hypothesis import settings

# xdist fills the cores with processes; threads of small tensors would only wait for one another.
torch.set_num_threads(1)

if not torch.cuda.is_available():  # before anything imports triton
    os.environ.setdefault("TRITON_INTERPRET", "1")

settings.register_profile("steady", deadline=None, derandomize=True, max_examples=60)
settings.load_profile("steady")


@pytest.fixture
def no_figures(monkeypatch):
    """A study and `rectified report` write everything but figures/, whose PDFs are half of a small study's time."""
    for module in ("rectified.study.runner", "rectified.cli.folder"):
        monkeypatch.setattr(f"{module}.write_figures", lambda results, folder: folder / "figures")
