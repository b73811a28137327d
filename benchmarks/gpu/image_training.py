"""ResNet-20 on CIFAR-10 as a study trains it: images per second, and the minutes of the paper's 164 epochs.

    PYTHONPATH=src python benchmarks/gpu/image_training.py OUT.json [--device cuda|cpu] [--seconds S] [--data FOLDER]

The settings differ in where the data is, the layout, the precision, and whether a CUDA graph is replayed. Medians over
rounds in which all take part in turn; training and evaluation are timed apart. If CIFAR-10 is not on this machine,
random pictures of its shapes take its place. It needs Pillow, numpy and filelock; where one is missing, the JSON says
so. On the CPU (a rehearsal) there are fewer pictures, and only the settings that differ there.
"""

import argparse
import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

NEEDED = ("PIL", "numpy", "filelock")
TRAINED, TESTED, EPOCHS, BATCH = 50_000, 10_000, 164, 128
METHOD, LR = "radam", 0.003


@dataclass(frozen=True)
class Setting:
    """A way to train ResNet-20.

    Args:
        name: in the table.
        options: of the task cifar10.
        on_device: whether batches are made on the device, or on the CPU and then copied.
        gpu: whether it differs from the others on a GPU only.
    """

    name: str
    options: str = ""
    on_device: bool = True
    gpu: bool = False


SETTINGS = (
    Setting("float32, data on the host", "cpu_tuning=False", on_device=False, gpu=True),
    Setting("float32", "cpu_tuning=False"),
    Setting("float32, channels_last"),
    Setting("bfloat16, channels_last", "autocast=bfloat16"),
    Setting("float32, channels_last, CUDA graph", "cuda_graph=True", gpu=True),
    Setting("bfloat16, channels_last, CUDA graph", "autocast=bfloat16,cuda_graph=True", gpu=True),
)


class Arm:
    """A run of a setting, some of its steps at a time."""

    def __init__(self, setting: Setting, data: Any, device: str) -> None:
        from rectified.study.config.methods import parse
        from rectified.study.config.runs import Run
        from rectified.study.execution.training import Training
        from rectified.workloads.tasks import parse_task

        self.task = parse_task(f"cifar10({setting.options})")
        self.training = Training.begin(Run(self.task, parse(METHOD), LR, 0, EPOCHS, BATCH), data, device)
        self.data = self.task.on_device(data, self.training.device) if setting.on_device else data
        self.batches = self._batches()

    def _batches(self) -> Iterator[Any]:
        """All full batches, epoch after epoch."""
        order = self.training.generator()
        while True:
            yield from (b for b in self.task.batches(self.data, BATCH, order) if len(b[1]) == BATCH)

    def step(self) -> None:
        """One step; a study reads its loss, which waits for the device.

        Raises:
            ArithmeticError: the loss is not finite.
        """
        if not self.training.take(next(self.batches)):
            raise ArithmeticError(f"the loss is {self.training.losses[-1]} after {self.training.step} steps")

    def evaluate(self) -> None:
        """The evaluation after an epoch."""
        self.training.switch(training=False)
        with torch.inference_mode():
            self.task.evaluate(self.training.model, self.data)
        self.training.switch(training=True)

    def round(self, steps: int) -> tuple[float, float]:
        """The seconds of a step and of an evaluation's picture."""
        began = time.perf_counter()
        for _ in range(steps):
            self.step()
        if self.training.device.type == "cuda":
            torch.cuda.synchronize()
        middle = time.perf_counter()
        self.evaluate()
        return (middle - began) / steps, (time.perf_counter() - middle) / len(self.data.test_labels)


def pictures(folder: Path | None, device: str) -> tuple[Any, str]:
    """CIFAR-10 and its name, or random pictures of its shapes; on the CPU a hundredth."""
    from rectified.workloads.data.find import DataNotFoundError
    from rectified.workloads.data.images.pictures import Pictures
    from rectified.workloads.tasks import parse_task

    task = parse_task("cifar10")
    if device == "cuda":
        try:
            return task.load(task.find(folder, print, fetch=False)), "CIFAR-10"
        except DataNotFoundError:
            if folder is not None:
                raise
    made = []
    for count in (TRAINED, TESTED) if device == "cuda" else (TRAINED // 100, TESTED // 100):
        made += [
            torch.randint(high, size, dtype=torch.uint8) for high, size in ((256, (count, 3, 32, 32)), (10, (count,)))
        ]
    return Pictures(*made), "random pictures of CIFAR-10's shapes"


def measure(folder: Path | None, device: str, seconds: float) -> dict[str, Any]:
    """Time the settings in turn for about so many seconds, at least two rounds."""
    torch.manual_seed(0)
    data, name = pictures(folder, device)
    found: dict[str, Any] = {"data": name, "settings": {}, "failed": {}}
    arms: dict[str, Arm] = {}
    steps, warm = (50, 10) if device == "cuda" else (1, 1)
    for setting in SETTINGS:
        if setting.gpu and device != "cuda":
            continue
        try:
            arm = Arm(setting, data, device)
            for _ in range(warm):
                arm.step()
            arm.evaluate()
            arms[setting.name] = arm
        except Exception as error:  # one that fails must not end the others' comparison
            found["failed"][setting.name] = f"{type(error).__name__}: {str(error)[:500]}"
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in arms}
    began, done = time.monotonic(), 0
    while done < 2 or time.monotonic() - began < seconds:
        for name in list(arms) if done % 2 else list(reversed(arms)):
            times[name].append(arms[name].round(steps))
        done += 1
    first = next(iter(times), "")
    for name, rounds in times.items():
        step, picture = (statistics.median(column) for column in zip(*rounds, strict=True))
        epoch = -(-TRAINED // BATCH) * step + TESTED * picture
        found["settings"][name] = {
            "images_per_s": BATCH / step,
            "step_ms": 1e3 * step,
            "evaluation_s": TESTED * picture,
            "minutes": EPOCHS * epoch / 60,
            "speedup": statistics.median(a[0] / b[0] for a, b in zip(times[first], rounds, strict=True)),
            "rounds": len(rounds),
        }
    return found


def tables(found: dict[str, Any], card: str) -> str:
    """The results as Markdown."""
    if "skipped" in found:
        return f"Skipped: {found['skipped']}.\n"
    lines = [
        f"ResNet-20 in batches of {BATCH} on {card}, {METHOD}, {found['data']}. *step*: from drawing a batch to the",
        f"optimizer's step. *minutes*: of {EPOCHS} epochs of {TRAINED:,} images with {TESTED:,} evaluated after each,",
        "projected from the step and the evaluation. float32 includes TF32 where torch allows it, which is its default",
        "for convolutions.",
        "",
        "| | images per second | step, ms | times as fast as the first | evaluation, s | minutes |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, t in found["settings"].items():
        lines.append(
            f"| {name} | {t['images_per_s']:,.0f} | {t['step_ms']:.2f} | {t['speedup']:.2f} | {t['evaluation_s']:.2f} "
            f"| {t['minutes']:.1f} |"
        )
    failed = [f"Failed: {name}: {why}" for name, why in found["failed"].items()]
    return "\n".join([*lines, *([""] if failed else []), *failed, ""])


def main() -> int:
    """Measure, print and write the JSON; 1 if a setting failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--seconds", type=float, default=25.0, help="of rounds, all settings together")
    parser.add_argument("--data", type=Path, help="folder with CIFAR-10; without it, the cache is looked at")
    given = parser.parse_args()
    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        found: dict[str, Any] = {"skipped": f"the tasks need {', '.join(missing)}, which this Python does not have"}
    else:
        torch.set_num_threads(1)  # as in a study's worker
        warnings.filterwarnings("ignore", message="the first momentum step")
        found = measure(given.data, given.device, given.seconds)
    given.out.write_text(json.dumps(found, indent=1))
    print(tables(found, given.device))
    return int(bool(found.get("failed")))


if __name__ == "__main__":
    raise SystemExit(main())
