"""Real mistakes as small reproductions: own code, each with the thread or page that describes one like it."""

from typing import Any

import torch
from cases import Case, after, constant, cosine, linear, net, warmup_then, with_gradients
from torch import nn
from torch.optim import SGD, Adam, AdamW
from torch.optim import lr_scheduler as schedules

import rectified
from rectified.warmup import Linear

MISTAKES: list[Case] = []


def mistake(name: str, source: str, rule: str) -> Any:
    """Add a function that makes the arguments of a check to the museum."""

    def add(make: Any) -> Any:
        MISTAKES.append(Case(name, source, make, rule))
        return make

    return add


@mistake(
    "the whole run is inside the warmup, and its peak lr far too low",
    "ultralytics/ultralytics#25321",
    "warmup-outlives-run",
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 2000, linear, 10_000), "steps": 110}


@mistake(
    "a default warmup of 100 steps, in a run of 60",
    "ultralytics/ultralytics#25321, axolotl-ai-cloud/axolotl#2897",
    "warmup-outlives-run",
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=2e-4)
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 100, constant, 60), "steps": 60}


@mistake("warmup=Linear(2000) in a run of 80 steps", "Morizeyao/GPT2-Chinese#60", "warmup-outlives-run")
def _() -> dict[str, Any]:
    return {"optimizer": rectified.AdamW(net().parameters(), warmup=Linear(2000)), "steps": 80}


@mistake("RAdam with beta2 = 0.9999 in 1,000 steps", "a common slip", "warmup-outlives-run")
def _() -> dict[str, Any]:
    return {"optimizer": torch.optim.RAdam(net().parameters(), betas=(0.9, 0.9999)), "steps": 1000}


@mistake("the warmup takes four fifths of the run", "PeterGriffinJin/Search-R1#28", "warmup-is-most-of-run")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 800, cosine, 1000), "steps": 1000}


@mistake(
    "decay counts from step 0 and meets the warmup halfway", "ultralytics/ultralytics#20768", "peak-lr-not-reached"
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    factor = lambda step: min((step + 1) / 4000, max(0.0, 1 - step / 1000))  # noqa: E731
    return {"optimizer": optimizer, "scheduler": schedules.LambdaLR(optimizer, factor), "steps": 1000}


@mistake("a trainer's 20 warmup steps, and Linear(20) in the optimizer", "huggingface/transformers#218", "two-warmups")
def _() -> dict[str, Any]:
    optimizer = rectified.AdamW(net().parameters(), warmup=Linear(20))
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 20, linear, 400), "steps": 400}


@mistake(
    "rectify() around an optimizer whose schedule warms up", "juntang-zhuang/Adabelief-Optimizer#55", "two-warmups"
)
def _() -> dict[str, Any]:
    optimizer = rectified.rectify(AdamW(net().parameters(), lr=1e-3), Linear(500))
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 500, cosine, 5000), "steps": 5000}


@mistake("RAdam under a long warmup", "LiyuanLucasLiu/RAdam#68", "two-warmups")
def _() -> dict[str, Any]:
    optimizer = torch.optim.RAdam(net().parameters())
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 4000, linear, 40_000), "steps": 40_000}


@mistake(
    "lengths multiplied by the processes, in a loop that steps once",
    "autogluon/autogluon#5003",
    "counted-in-other-units",
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-4)
    scheduler = warmup_then(optimizer, 8 * 500, cosine, 8 * 10_000)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 10_000, "processes": 8}


@mistake("a prepared scheduler is stepped once per process", "huggingface/accelerate#2926", "counted-in-other-units")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-4)
    scheduler = warmup_then(optimizer, 100, linear, 2000)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 2000, "processes": 4, "scheduler_steps": 4}


@mistake("total steps counted in micro-batches", "axolotl-ai-cloud/axolotl#978", "counted-in-other-units")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=2e-5)
    scheduler = warmup_then(optimizer, 160, cosine, 1600)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 200, "accumulation": 8}


@mistake("micro-batches and processes both counted", "huggingface/diffusers#14542", "counted-in-other-units")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=2e-5)
    scheduler = warmup_then(optimizer, 320, linear, 3200)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 200, "accumulation": 4, "processes": 4}


@mistake("T_max in epochs, stepped after every batch", "ivadomed/ivadomed#55", "counted-in-epochs")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = warmup_then(optimizer, 3, cosine, 30)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 6000, "batches_per_epoch": 200}


@mistake("lengths in steps, stepped after every epoch", "ace-step/ACE-Step#198", "counted-in-epochs")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = schedules.LinearLR(optimizer, 1.0, 0.01, total_iters=2000)
    options = {"steps": 2000, "batches_per_epoch": 100, "interval": "epoch"}
    return {"optimizer": optimizer, "scheduler": scheduler, **options}


@mistake("a warmup of 5 epochs, set as 5 steps", "JUGGHM/OREPA_CVPR2022#7", "warmup-counted-in-epochs")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = warmup_then(optimizer, 5, cosine, 10_000)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 10_000, "batches_per_epoch": 500}


@mistake("the first step has lr 0", "verl-project/verl#3674, pytorch/torchtitan#1261", "first-step-zero")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = schedules.LambdaLR(optimizer, lambda step: min(1.0, step / 100))
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 5000}


@mistake(
    "a SequentialLR whose first milestone is 1",
    "huggingface/pytorch-image-models#2125, Lightning-AI/pytorch-lightning#17972",
    "first-step-spike",
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    stages = [schedules.ConstantLR(optimizer, 1.0), schedules.LinearLR(optimizer, 0.01, total_iters=500)]
    return {"optimizer": optimizer, "scheduler": schedules.SequentialLR(optimizer, stages, [1]), "steps": 5000}


@mistake("the optimizer was resumed, its scheduler was not", "vllm-project/speculators#900", "schedule-restarts")
def _() -> dict[str, Any]:
    optimizer = after(AdamW(net().parameters(), lr=1e-3), 300)
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 100, cosine, 1000), "steps": 700}


@mistake("the scheduler was resumed, its optimizer was not", "EvolvingLMMs-Lab/OneVision-Encoder#65", "moments-missing")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = warmup_then(optimizer, 100, cosine, 1000)
    for _step in range(300):
        scheduler.step()
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 700}


@mistake(
    "scheduler.step() before the first optimizer.step()",
    "Tony-Y/pytorch_warmup#13, Lightning-AI/pytorch-lightning#101",
    "scheduler-stepped-first",
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = warmup_then(optimizer, 100, cosine, 1000)
    scheduler.step()
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 1000}


@mistake("a group was added after the scheduler was made", "huggingface/transformers#20029", "groups-without-schedule")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = warmup_then(optimizer, 100, cosine, 1000)
    optimizer.add_param_group({"params": list(nn.Linear(4, 4).parameters())})
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 1000}


@mistake("the optimizer was made again, the scheduler was not", "RLinf/RLinf#1359", "scheduler-of-another-optimizer")
def _() -> dict[str, Any]:
    model = net()
    scheduler = warmup_then(AdamW(model.parameters(), lr=1e-3), 100, cosine, 1000)
    return {"optimizer": AdamW(model.parameters(), lr=1e-3), "scheduler": scheduler, "steps": 1000}


@mistake("the lr was set after the scheduler was made", "AnswerDotAI/ModernBERT#124", "lr-set-after-scheduler")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    scheduler = warmup_then(optimizer, 100, cosine, 1000)
    optimizer.param_groups[0]["lr"] = 3e-4
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 1000}


@mistake(
    "OneCycleLR for fewer steps than the run has", "flairNLP/flair#2954, vLAR-group/GrowSP#11", "schedule-too-short"
)
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    return {"optimizer": optimizer, "scheduler": schedules.OneCycleLR(optimizer, 1e-2, 900), "steps": 1000}


@mistake("linear decay that ends at half of the run", "huggingface/transformers#26827", "schedule-too-short")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=5e-5)
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 50, linear, 500), "steps": 1000}


@mistake("a cosine goes on beyond its T_max", "CodefyUI/CodefyUI#205", "schedule-rises-again")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3)
    return {"optimizer": optimizer, "scheduler": schedules.CosineAnnealingLR(optimizer, 600), "steps": 1000}


@mistake("warm restarts of Adam without a warmup", "LiyuanLucasLiu/RAdam#8", "restart-without-warmup")
def _() -> dict[str, Any]:
    optimizer = Adam(net().parameters(), lr=1e-3)
    scheduler = schedules.CosineAnnealingWarmRestarts(optimizer, 500, eta_min=1e-6)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 2000}


@mistake("no warmup at all for Adam at a large lr", "stickeritis/sticker#169", "no-warmup")
def _() -> dict[str, Any]:
    optimizer = Adam(net().parameters(), lr=1e-2)
    return {"optimizer": optimizer, "scheduler": schedules.CosineAnnealingLR(optimizer, 5000), "steps": 5000}


@mistake(
    "RAdam with beta2 = 0.6 never leaves its start",
    "a beta2 at which torch.optim.RAdam is momentum SGD",
    "never-leaves-start",
)
def _() -> dict[str, Any]:
    return {"optimizer": torch.optim.RAdam(net().parameters(), betas=(0.9, 0.6)), "steps": 1000}


@mistake(
    "RAdam's momentum start with raw gradients of 1,000",
    "LiyuanLucasLiu/RAdam#54, LiyuanLucasLiu/RAdam#61, lessw2020/Ranger-Deep-Learning-Optimizer#15",
    "huge-momentum-start",
)
def _() -> dict[str, Any]:
    return {"optimizer": torch.optim.RAdam(with_gradients(net(), 1000.0).parameters(), lr=1e-2), "steps": 1000}


@mistake("beta1 and beta2 in the wrong order", "a common slip", "betas-swapped")
def _() -> dict[str, Any]:
    return {"optimizer": AdamW(net().parameters(), betas=(0.999, 0.9)), "steps": 1000}


@mistake("beta2 = 0.999 in a run of 200 steps", "a common slip", "memory-longer-than-run")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-5)
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 20, linear, 200), "steps": 200}


@mistake("a warmup of 10 steps for beta2 = 0.9995", "stickeritis/sticker#171", "warmup-shorter-than-memory")
def _() -> dict[str, Any]:
    optimizer = AdamW(net().parameters(), lr=1e-3, betas=(0.9, 0.9995))
    return {"optimizer": optimizer, "scheduler": warmup_then(optimizer, 10, cosine, 50_000), "steps": 50_000}


@mistake("AdamW's weight decay given to Adam", "pytorch/pytorch#48793, mapbox/robosat#166", "l2-in-adam")
def _() -> dict[str, Any]:
    return {"optimizer": Adam(net().parameters(), weight_decay=0.1), "steps": 1000}


@mistake(
    "a weight decay that was divided by lr beforehand",
    "the two conventions in mlfoundations/open_clip#32",
    "decay-too-large",
)
def _() -> dict[str, Any]:
    return {"optimizer": AdamW(net().parameters(), lr=1e-3, weight_decay=0.1 / 1e-3), "steps": 1000}


@mistake("a tied weight is listed twice", "facebookresearch/mmf#965, pytorch/pytorch#40967", "parameter-listed-twice")
def _() -> dict[str, Any]:
    body, head = nn.Linear(8, 8), nn.Linear(8, 8)
    head.weight = body.weight
    optimizer = SGD([*body.parameters(), *head.parameters()], lr=0.1)
    return {"optimizer": optimizer, "steps": 1000}


@mistake(
    "the head was replaced after the optimizer was made",
    "aphp/edsnlp#443, adapter-hub/adapters#260",
    "parameter-in-no-group",
)
def _() -> dict[str, Any]:
    model = net()
    optimizer = AdamW(model.parameters())
    model[2] = nn.Linear(16, 10)
    return {"optimizer": optimizer, "steps": 1000, "model": model}


@mistake("bfloat16 weights at lr 1e-5", "pytorch/ao#1124, pytorch/pytorch#120376", "update-vanishes")
def _() -> dict[str, Any]:
    return {"optimizer": AdamW(net().bfloat16().parameters(), lr=1e-5), "steps": 1000}


@mistake("Adam's moments in bfloat16", "areal-project/AReaL#1292", "moments-in-16-bits")
def _() -> dict[str, Any]:
    return {"optimizer": AdamW(net().bfloat16().parameters(), lr=3e-2), "steps": 1000}


@mistake("gradients of 1e-10, below eps", "NVIDIA-NeMo/Emerging-Optimizers#189", "eps-dominates")
def _() -> dict[str, Any]:
    return {"optimizer": AdamW(with_gradients(net(), 1e-10).parameters()), "steps": 1000}


@mistake("milestones in epochs, stepped after every batch", "a common slip", "counted-in-epochs")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    scheduler = schedules.MultiStepLR(optimizer, [30, 60, 80])
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 90 * 500, "batches_per_epoch": 500}


@mistake("CosineAnnealingLR's T_max in epochs, stepped after every batch", "a common slip", "counted-in-epochs")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    scheduler = schedules.CosineAnnealingLR(optimizer, 90)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 90 * 100, "batches_per_epoch": 100}


@mistake("T_max in micro-batches, with an eta_min", "a common slip", "counted-in-other-units")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    scheduler = schedules.CosineAnnealingLR(optimizer, 4000, eta_min=1e-3)
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 1000, "accumulation": 4}


@mistake("milestones in micro-batches: none is reached", "a common slip", "counted-in-other-units")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    scheduler = schedules.MultiStepLR(optimizer, [4000, 6000])
    return {"optimizer": optimizer, "scheduler": scheduler, "steps": 1000, "accumulation": 8}


@mistake("a cosine whose T_max is 15 % short", "a common slip", "schedule-rises-again")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    return {"optimizer": optimizer, "scheduler": schedules.CosineAnnealingLR(optimizer, 850), "steps": 1000}


@mistake("a linear decay that goes on below 0", "a common slip", "lr-invalid")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    return {"optimizer": optimizer, "scheduler": lambda step: 1 - step / 990, "steps": 1000}


@mistake("two warmups in one ChainedScheduler", "a common slip", "two-warmups")
def _() -> dict[str, Any]:
    optimizer = SGD(net().parameters(), lr=0.1, momentum=0.9)
    warmups = [schedules.LinearLR(optimizer, 0.01, total_iters=length) for length in (100, 500)]
    return {"optimizer": optimizer, "scheduler": schedules.ChainedScheduler(warmups), "steps": 5000}


@mistake("a resumed optimizer under a new ChainedScheduler", "a common slip", "schedule-restarts")
def _() -> dict[str, Any]:
    optimizer = after(AdamW(net().parameters(), lr=1e-3), 300)
    parts = [schedules.LinearLR(optimizer, 0.01, total_iters=200), schedules.ExponentialLR(optimizer, 0.999)]
    return {"optimizer": optimizer, "scheduler": schedules.ChainedScheduler(parts), "steps": 5000}
