"""Which parameters decay."""

import torch
from torch import nn

import rectified
from rectified.optim import decay_groups


class Tied(nn.Module):
    def __init__(self, tie):
        super().__init__()
        self.table = nn.Embedding(7, 4)
        self.norm = nn.LayerNorm((2, 4))
        self.scale = nn.Parameter(torch.ones(()))
        self.convolution = nn.Conv1d(4, 4, 3)
        self.out = nn.Linear(4, 7)
        self.frozen = nn.Linear(2, 2)
        self.frozen.requires_grad_(False)
        if tie:
            self.out.weight = self.table.weight


def names(groups):
    return [[name for name, _ in group["params"]] for group in groups]


def test_weights_that_map_decay_and_nothing_else():
    decayed, spared = decay_groups(Tied(tie=False), 0.1, lr=0.5)
    assert names([decayed, spared]) == [
        ["convolution.weight", "out.weight"],
        ["scale", "table.weight", "norm.weight", "norm.bias", "convolution.bias", "out.bias"],
    ]
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert decayed["lr"] == spared["lr"] == 0.5


def test_embeddings_decay_on_request_and_where_they_are_an_output_layer():
    assert "table.weight" in names(decay_groups(Tied(tie=False), 0.1, decay_embeddings=True))[0]
    tied = names(decay_groups(Tied(tie=True), 0.1))
    assert "table.weight" in tied[0]
    assert sum(map(len, tied)) == 7  # once each


def test_an_empty_group_is_left_out_and_the_rest_is_an_optimizers():
    groups = decay_groups(nn.Linear(3, 2, bias=False), 0.1)
    assert names(groups) == [["weight"]]
    optimizer = rectified.AdamW(decay_groups(Tied(tie=False), 0.3))
    assert optimizer.param_groups[1]["param_names"][0] == "scale"
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.3, 0.0]
