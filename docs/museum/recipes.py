"""Correct configurations of known recipes: a check must not call any of them an error.

Numbers are those of the publication or of the repository's defaults; lengths are optimizer steps, and a run is cut
where that changes nothing.
"""

import math
from typing import Any

import torch
from cases import Case, after, constant, cosine, cosine_to, linear, net, warmup_then
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedules

import rectified
from rectified.warmup import Linear, UntunedLinear

RECIPES: list[Case] = []


def recipe(name: str, source: str) -> Any:
    """Add a function that makes the arguments of a check to the recipes."""

    def add(make: Any) -> Any:
        RECIPES.append(Case(name, source, make))
        return make

    return add


def warmed(optimizer: torch.optim.Optimizer, warmup: int, decay: Any, steps: int, **options: Any) -> dict[str, Any]:
    """Linear warmup and decay."""
    return {
        "optimizer": optimizer,
        "scheduler": warmup_then(optimizer, warmup, decay, steps),
        "steps": steps,
        **options,
    }


@recipe("nanoGPT, GPT-2 124M", "nanoGPT, config/train_gpt2.py")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1)
    return warmed(optimizer, 2000, cosine_to(0.1), 100_000, accumulation=5, processes=8)


@recipe("nanoGPT, Shakespeare characters", "nanoGPT, config/train_shakespeare_char.py")
def _() -> dict[str, Any]:
    return warmed(AdamW(net().parameters(), lr=1e-3, betas=(0.9, 0.99), weight_decay=0.1), 100, cosine_to(0.1), 5000)


@recipe("torchtitan, Llama 3 8B", "torchtitan, train_configs/llama3_8b.toml")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
    return warmed(optimizer, 200, linear, 1000, processes=64)


@recipe("Hugging Face Trainer's defaults", "transformers, TrainingArguments")
def _() -> dict[str, Any]:
    return warmed(AdamW(net().parameters(), lr=5e-5, weight_decay=0.0), 0, linear, 3000, batches_per_epoch=1000)


@recipe("BERT, pre-training", "arXiv:1810.04805, appendix A.2")
def _() -> dict[str, Any]:
    return warmed(AdamW(net().parameters(), lr=1e-4, weight_decay=0.01), 10_000, linear, 100_000)


@recipe("BERT, fine-tuning with a tenth of warmup", "google-research/bert, README and optimization.py")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=2e-5, eps=1e-6, weight_decay=0.01)
    scheduler = schedules.LambdaLR(optimizer, lambda step: step / 34 if step < 34 else max(0.0, 1 - step / 343))
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 343, "batches_per_epoch": 115}


@recipe("RoBERTa base", "arXiv:1907.11692, table 9")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=6e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.01)
    return warmed(optimizer, 24_000, linear, 100_000)


@recipe("the original Transformer's inverse square root schedule", "arXiv:1706.03762, section 5.3")
def _() -> dict[str, Any]:
    optimizer = Adam(net().parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    factor = lambda step: 512**-0.5 * min((step + 1) ** -0.5, (step + 1) * 4000**-1.5)  # noqa: E731
    return {"optimizer": optimizer, "scheduler": schedules.LambdaLR(optimizer, factor), "steps": 100_000}


@recipe("RAdam paper, CIFAR-10", "RAdam, cifar_imagenet/recipes.md")
def _() -> dict[str, Any]:
    optimizer = torch.optim.RAdam(net().parameters(), lr=0.03, weight_decay=1e-4, decoupled_weight_decay=True)
    scheduler = schedules.MultiStepLR(optimizer, [81, 122], 0.1)
    return {
        "optimizer": optimizer,
        "scheduler": scheduler,
        "steps": 164 * 391,
        "batches_per_epoch": 391,
        "interval": "epoch",
    }


@recipe("RAdam paper, Adam with a warmup of 500 steps on CIFAR-10", "RAdam, cifar_imagenet/recipes.md")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=0.03, weight_decay=1e-4)
    steps = 164 * 391
    decay = lambda x: 0.1 ** sum(500 + x * (steps - 500) >= 391 * at for at in (81, 122))  # noqa: E731
    return warmed(optimizer, 500, decay, steps, batches_per_epoch=391)


@recipe("RAdam paper, IWSLT'14", "RAdam, nmt/recipes.md")
def _() -> dict[str, Any]:
    optimizer = rectified.RAdam(net().parameters(), lr=3e-4, betas=(0.9, 0.9995), weight_decay=1e-4)
    return warmed(optimizer, 0, linear, 70_000)


@recipe("RAdam paper, Adam with 4,000 steps on IWSLT'14", "RAdam, nmt/recipes.md")
def _() -> dict[str, Any]:
    return warmed(AdamW(net().parameters(), lr=3e-4, weight_decay=1e-4), 4000, linear, 70_000)


@recipe("untuned linear warmup", "arXiv:1910.04209, section 5")
def _() -> dict[str, Any]:
    optimizer = rectified.Adam(net().parameters(), lr=1e-3, warmup=UntunedLinear())
    return warmed(optimizer, 0, cosine, 50_000)


@recipe("AdamW with warmup=Linear of a twentieth", "this package")
def _() -> dict[str, Any]:
    return warmed(rectified.AdamW(net().parameters(), lr=1e-3, warmup=Linear(1000)), 0, cosine, 20_000)


@recipe("ViT-B/16 on ImageNet from scratch", "arXiv:2010.11929, table 3, decoupled decay")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=3e-3, weight_decay=0.3)
    return warmed(optimizer, 10_000, cosine, 300 * 313, batches_per_epoch=313)


@recipe("DeiT, 5 of 300 epochs", "arXiv:2012.12877, table 9; deit, main.py")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3, weight_decay=0.05)
    return warmed(optimizer, 5 * 1251, cosine, 60 * 1251, batches_per_epoch=1251)


@recipe("ConvNeXt, 20 of 300 epochs", "arXiv:2201.03545, table 5; ConvNeXt, main.py")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=4e-3, weight_decay=0.05)
    return warmed(optimizer, 20 * 312, cosine, 300 * 312, batches_per_epoch=312)


@recipe("ResNet-50 in one hour, SGD with gradual warmup", "arXiv:1706.02677, section 5.1")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=3.2, momentum=0.9, weight_decay=1e-4)
    return warmed(optimizer, 5 * 156, lambda x: 0.1 ** sum(x * 85 + 5 >= at for at in (30, 60, 80)), 90 * 156)


@recipe("LLaMA 7B", "arXiv:2302.13971, section 2.3")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1)
    return warmed(optimizer, 2000, cosine_to(0.1), 100_000)


@recipe("CLIP", "arXiv:2103.00020, tables 18 and 20")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-6, weight_decay=0.2)
    return warmed(optimizer, 2000, cosine, 60_000)


@recipe("DDPM on CIFAR-10, constant after 5,000 steps", "hojonathanho/diffusion, scripts/run_cifar.py")
def _() -> dict[str, Any]:
    return warmed(Adam(net().parameters(), lr=2e-4), 5000, constant, 100_000)


@recipe("diffusers, constant_with_warmup", "diffusers, train_text_to_image.py and its README")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-5, weight_decay=0.01)
    return warmed(optimizer, 500, constant, 15_000, accumulation=4)


@recipe("LoRA, 3 % of warmup", "LLaVA, scripts/v1_5/finetune_lora.sh")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=2e-4, weight_decay=0.0)
    return warmed(optimizer, 156, cosine, 5198, processes=8, batches_per_epoch=5198)


@recipe("warmup, stable, decay", "arXiv:2404.06395, section 4")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    return warmed(optimizer, 500, lambda x: 1.0 if x < 0.9 else 0.5 ** ((x - 0.9) * 50), 20_000)


@recipe("wav2vec 2.0 fine-tuning, tri-stage", "fairseq, wav2vec/config/finetuning/vox_100h.yaml")
def _() -> dict[str, Any]:
    optimizer = Adam(net().parameters(), lr=3e-5, betas=(0.9, 0.98))
    decay = lambda x: 1.0 if x < 4 / 9 else 0.05 ** ((x - 4 / 9) * 9 / 5)  # noqa: E731
    return warmed(optimizer, 8000, decay, 80_000)


@recipe("OneCycleLR, torch's defaults", "torch.optim.lr_scheduler.OneCycleLR")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    return {"optimizer": optimizer, "scheduler": schedules.OneCycleLR(optimizer, 1e-2, 4000), "steps": 4000}


@recipe(
    "LinearLR and CosineAnnealingLR in a SequentialLR", "torchvision, references/classification/train.py, here by steps"
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    stages = [
        schedules.LinearLR(optimizer, 0.01, total_iters=500),
        schedules.CosineAnnealingLR(optimizer, 9500),
    ]
    return {"optimizer": optimizer, "scheduler": schedules.SequentialLR(optimizer, stages, [500]), "steps": 10_000}


@recipe("PPO, linear annealing", "cleanrl, ppo.py")
def _() -> dict[str, Any]:
    return warmed(Adam(net().parameters(), lr=2.5e-4, eps=1e-5), 0, linear, 976 * 16)


@recipe("StyleGAN2, beta1 = 0", "NVlabs/stylegan2, run_training.py")
def _() -> dict[str, Any]:
    return {"optimizer": Adam(net().parameters(), lr=2e-3, betas=(0.0, 0.99)), "steps": 100_000}


@recipe("a resumed run: optimizer and scheduler", "torch's documentation")
def _() -> dict[str, Any]:
    optimizer = after(AdamW(net().parameters(), lr=1e-3), 300)
    scheduler = schedules.LambdaLR(optimizer, lambda step: min(1, (step + 1) / 50) * (1 - step / 1000))
    scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": 300, "_step_count": 301})
    lr = 1e-3 * (1 - 300 / 1000)
    optimizer.param_groups[0]["lr"] = lr
    scheduler._last_lr = [lr]
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 700}


@recipe("a schedule per epoch", "pytorch/examples, imagenet/main.py, a tenth of its batches")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    scheduler = schedules.StepLR(optimizer, step_size=30, gamma=0.1)
    return {
        "optimizer": optimizer,
        "scheduler": scheduler,
        "steps": 90 * 500,
        "batches_per_epoch": 500,
        "interval": "epoch",
    }


@recipe("MAE, half-cycle cosine with lr by batch size", "arXiv:2111.06377, table 8; mae, PRETRAIN.md")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=2.4e-3, betas=(0.9, 0.95), weight_decay=0.05)
    factor = lambda step: (  # noqa: E731
        step / 12_480 if step < 12_480 else 0.5 * (1 + math.cos(math.pi * (step - 12_480) / (100_000 - 12_480)))
    )
    return {"optimizer": optimizer, "scheduler": schedules.LambdaLR(optimizer, factor), "steps": 100_000}


@recipe("a warmup and a cosine, stepped per epoch", "torchvision, references/classification/train.py, 100 epochs")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    stages = [schedules.LinearLR(optimizer, 0.01, total_iters=5), schedules.CosineAnnealingLR(optimizer, 95)]
    scheduler = schedules.SequentialLR(optimizer, stages, [5])
    options = {"steps": 100 * 50, "batches_per_epoch": 50, "interval": "epoch"}
    return {"optimizer": optimizer, "scheduler": scheduler, **options}


@recipe("CosineAnnealingLR per epoch", "torch's documentation")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    scheduler = schedules.CosineAnnealingLR(optimizer, 90)
    options = {"steps": 90 * 100, "batches_per_epoch": 100, "interval": "epoch"}
    return {"optimizer": optimizer, "scheduler": scheduler, **options}


@recipe("Adafactor at a fixed lr", "torch's documentation")
def _() -> dict[str, Any]:
    return {"optimizer": torch.optim.Adafactor(net().parameters()), "steps": 1000}


@recipe("layer-wise lr decay by lambdas", "this package")
def _() -> dict[str, Any]:
    model = net()
    optimizer = AdamW([{"params": layer.parameters()} for layer in model], lr=1e-3)  # type: ignore[attr-defined]
    warmup = lambda step: min(1.0, (step + 1) / 500)  # noqa: E731
    factors = [lambda step, depth=depth: 0.65**depth * warmup(step) for depth in (8, 4, 0)]
    return {"optimizer": optimizer, "scheduler": schedules.LambdaLR(optimizer, factors), "steps": 5000}


@recipe("a resumed run that lowers its lr by the validation loss", "this package")
def _() -> dict[str, Any]:
    optimizer = after(AdamW(net().parameters(), lr=1e-3), 300)
    return {"optimizer": optimizer, "scheduler": schedules.ReduceLROnPlateau(optimizer), "steps": 5000}


@recipe("StepLR with two processes", "torch's documentation")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    return {"optimizer": optimizer, "scheduler": schedules.StepLR(optimizer, 1000), "steps": 8000, "processes": 2}


@recipe("ExponentialLR in a few epochs", "torch's documentation")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    return {"optimizer": optimizer, "scheduler": schedules.ExponentialLR(optimizer, 0.3), "steps": 8}
