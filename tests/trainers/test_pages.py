"""The code of the pages in docs/ about trainers and migration runs as it stands there."""

import pytest
import torch

import pages
from short_runs import BATCH, LIGHTNING_WARNS, network, pictures


def batches():
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*pictures(8 * BATCH)), batch_size=BATCH)


def for_huggingface():
    from transformers import TrainingArguments

    from tiny_llama import Windows, llama

    arguments = TrainingArguments(
        "out",
        max_steps=8,
        logging_steps=4,
        per_device_train_batch_size=4,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    return {"model": llama(), "train_set": Windows(), "arguments": arguments}


def for_lightning():
    return {"network": network(), "train_loader": batches()}


def for_accelerate():
    from accelerate import Accelerator

    return {"model": network(), "train_loader": batches(), "accelerator": Accelerator(cpu=True)}


def for_migration():
    model = network()
    save_as_bitsandbytes(list(model.parameters()), "adamw8bit.pt")
    return {"model": model, "train_loader": batches()}


def save_as_bitsandbytes(params, path):
    """Save the state of a bitsandbytes run, whose small tensors are not coded."""
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "params": list(range(len(params)))}
    state = {i: {"step": 3, "state1": torch.zeros_like(p), "state2": torch.ones_like(p)} for i, p in enumerate(params)}
    torch.save({"state": state, "param_groups": [group]}, path)


# What each page says is the reader's.
READERS = {
    "huggingface.md": for_huggingface,
    "lightning.md": for_lightning,
    "accelerate.md": for_accelerate,
    "migration.md": for_migration,
}


@pytest.mark.filterwarnings(*LIGHTNING_WARNS)
@pytest.mark.parametrize("page", READERS)
def test_the_code_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = pages.run(page, READERS[page]())
    if page == "lightning.md":  # the others' runs are as long as their readers say
        assert names["trainer"].callback_metrics["omega"] == 1, "the warmup ends within the run"
