"""Batches of any form are moved, counted and cut, and keep their type."""

from collections import OrderedDict, defaultdict, namedtuple
from types import MappingProxyType

import pytest
import torch
from transformers import BatchEncoding
from transformers.modeling_outputs import CausalLMOutput

from rectified.workloads.batches import examples, moved, part

Pair = namedtuple("Pair", ["inputs", "targets"])
FOUR = torch.arange(8.0).reshape(4, 2)


def forms():
    yield FOUR
    yield (FOUR, FOUR[:, 0])
    yield [FOUR, (FOUR, [FOUR])]
    yield Pair(FOUR, FOUR)
    yield {"inputs": FOUR, "more": {"targets": FOUR}}
    yield OrderedDict(inputs=FOUR)
    yield defaultdict(list, inputs=FOUR)
    yield BatchEncoding({"input_ids": FOUR.long()})
    yield CausalLMOutput(logits=FOUR)


@pytest.mark.parametrize("batch", list(forms()), ids=lambda batch: type(batch).__name__)
def test_a_batch_keeps_its_type_where_it_is_moved_or_cut(batch):
    assert examples(batch) == 4
    meta = moved(batch, torch.device("meta"))
    cut = part(batch, slice(1, 3))
    assert type(meta) is type(cut) is type(batch)
    assert examples(cut) == 2
    first = next(iter(batch.values())) if hasattr(batch, "values") and not isinstance(batch, torch.Tensor) else batch
    if first is batch and not isinstance(batch, torch.Tensor):
        first = batch[0]
    assert first.device.type == "cpu", "the batch itself is as it was"
    assert len(first) == 4


def test_every_tensor_of_a_nested_batch_moves():
    meta = moved([FOUR, {"a": (FOUR, "text"), "b": 3}], torch.device("meta"))
    assert meta[0].device.type == meta[1]["a"][0].device.type == "meta"
    assert meta[1]["a"][1] == "text"
    assert meta[1]["b"] == 3


def test_a_part_has_the_texts_of_its_examples_and_what_is_nobodys():
    batch = {"scale": torch.tensor(2.0), "inputs": FOUR, "texts": ["a", "b", "c", "d"], "name": "all"}
    cut = part(batch, slice(2, 4))
    assert torch.equal(cut["inputs"], FOUR[2:])
    assert (cut["scale"], cut["texts"], cut["name"]) == (torch.tensor(2.0), ["c", "d"], "all")
    assert examples(batch) == 4, "a number has no examples"


def test_a_mapping_that_cannot_be_filled_becomes_a_dict():
    assert type(part(MappingProxyType({"inputs": FOUR}), slice(1))) is dict


@pytest.mark.parametrize("batch", [torch.tensor(1.0), "text", {}, {"a": torch.tensor(1.0)}, ["a", "b"]])
def test_what_holds_no_examples_is_refused(batch):
    with pytest.raises(ValueError, match="without a tensor that has a dimension; it must be a tensor, or a tuple"):
        examples(batch)
