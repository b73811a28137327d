"""Where torch and pytest are all there is, the optimizers are tested and the image tasks are not."""

from importlib.util import find_spec

import pytest
import torch

collect_ignore = [] if all(map(find_spec, ("numpy", "PIL", "filelock"))) else ["test_cuda_images.py"]


@pytest.fixture(autouse=True)
def _finished():
    """A kernel that fails does so in the test that launched it."""
    yield
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
