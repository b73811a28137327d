"""The device of the CUDA tests, and what they do with it.

Run by benchmarks/gpu/check.sh on a machine that has a GPU; skipped where there is none. With RECTIFIED_TEST_DEVICE=cpu
everything but what only a GPU can do runs on the CPU, so that the tests themselves are tested.
"""

import os
from contextlib import contextmanager

import pytest
import torch

DEVICE = os.environ.get("RECTIFIED_TEST_DEVICE", "cuda")
if DEVICE == "cuda" and not torch.cuda.is_available():
    pytest.skip(  # the module that imports this one
        "needs an NVIDIA GPU (benchmarks/gpu/check.sh runs this on one; RECTIFIED_TEST_DEVICE=cpu rehearses it here)",
        allow_module_level=True,
    )
needs_gpu = pytest.mark.skipif(DEVICE != "cuda", reason="only a GPU can do this")
warnings_of_any_torch = pytest.mark.filterwarnings("default")  # a torch of another version may warn of itself


def captured(step, warm=1):
    """Take `warm` steps and capture one more, which is not taken; the graph."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph


@contextmanager
def never_waiting():
    """What waits for the device in here raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
