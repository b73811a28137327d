"""Parameters of which 8-bit moments are kept for the larger ones."""

import torch

SHAPES = ((40, 128), (33, 200), (5, 30, 7, 7), (64,), (8, 8))
CODED = (True, True, True, False, False)


def parameters(dtype=torch.float32, layout=torch.contiguous_format):
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=generator).to(dtype) for shape in SHAPES]
    return [torch.nn.Parameter(x.to(memory_format=layout) if x.ndim == 4 else x) for x in made]
