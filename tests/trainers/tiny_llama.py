"""A transformer of a few thousand weights, made from its config, and text for it: this project's license."""

from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

LENGTH = 32
TEXT = Path(__file__).parents[2] / "LICENSE"


class Windows(torch.utils.data.Dataset):
    """Pieces of the text; remembers which were asked for."""

    def __init__(self, count=64):
        self.text = torch.frombuffer(bytearray(TEXT.read_bytes()), dtype=torch.uint8).long()
        self.count = count
        self.asked = []

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        self.asked.append(index)
        window = self.text[index * LENGTH : (index + 1) * LENGTH]
        return {"input_ids": window, "labels": window}


def llama():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=128,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
    )
    return LlamaForCausalLM(config)
