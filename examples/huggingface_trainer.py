"""Hugging Face Trainer with rectified.AdamW: the warmup moves from TrainingArguments into the optimizer.

python examples/huggingface_trainer.py       (needs: pip install 'rectified[trainers]')
"""

import tempfile

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, Trainer, TrainingArguments, set_seed

import rectified
from rectified.trainers.huggingface import log_warmup
from rectified.warmup import Linear

set_seed(0)
# A model made from its config, and text that needs no download: counting up, modulo 32.
config = LlamaConfig(
    vocab_size=32, hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, pad_token_id=0
)
model = LlamaForCausalLM(config)
texts = [(start + torch.arange(16)) % 32 for start in torch.randint(32, (960,)).tolist()]
train_set = [{"input_ids": text, "labels": text} for text in texts]

with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        num_train_epochs=1,  # 120 steps
        per_device_train_batch_size=8,
        logging_steps=20,
        lr_scheduler_type="cosine",
        warmup_steps=0,  # the optimizer warms up; a number here would warm up twice
        save_strategy="no",
        report_to="none",
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=train_set,
        optimizer_cls_and_kwargs=(rectified.AdamW, {"lr": 5e-3, "warmup": Linear(30)}),
    )
    trainer.remove_callback(PrinterCallback)  # the log is printed below
    log_warmup(trainer)  # adds omega and effective_lr to every log of the loss
    trainer.train()

for entry in trainer.state.log_history:
    if "loss" in entry:
        omega, lr = (entry[f"{name}/group0"] for name in ("omega", "effective_lr"))
        print(f"step {entry['step']:3}  loss {float(entry['loss']):.3f}  omega {omega:.2f}  effective lr {lr:.1e}")
