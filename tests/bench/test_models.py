"""The shape lists are those of the models: their published sizes, and real modules where one is at hand."""

import math

import pytest
import torch

from rectified.bench.models import MODELS
from rectified.workloads.tasks import parse_task


@pytest.mark.parametrize(
    ("model", "parameters", "tensors"),
    [
        ("cnn", 32_998, 10),
        ("resnet20", 269_722, 59),
        ("vit-s16", 22_050_664, 152),
        ("resnet50", 25_557_032, 161),
        ("gpt2", 124_439_808, 148),
        ("gpt2-medium", 354_823_168, 292),
    ],
)
def test_sizes_are_the_published_ones(model, parameters, tensors):
    shapes = MODELS[model]()
    assert (sum(map(math.prod, shapes)), len(shapes)) == (parameters, tensors)


def test_the_small_network_is_the_studys():
    model = parse_task("fashion-mnist-mini").model(None)
    assert [tuple(p.shape) for p in model.parameters()] == MODELS["cnn"]()


def test_gpt2_is_transformers():
    transformers = pytest.importorskip("transformers")
    with torch.device("meta"):
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    assert sorted(tuple(p.shape) for p in model.parameters()) == sorted(MODELS["gpt2"]())
