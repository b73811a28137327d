"""The paper's experiments: published numbers, and the studies that reproduce them at the paper's scale or on two cores.

Published numbers: Liu et al., ICLR 2020 (arXiv:1908.03265v4), tables 1 to 3 and section 5; the first-four-steps
ablation from the authors' repository, cifar_imagenet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

#: Of an experiment, ``"cpu"`` (made for two cores, minutes to hours) or ``"paper"`` (the paper's own).
Scale = Literal["cpu", "paper"]
Picture = Literal["", "loss", "gradients", "robustness"]


@dataclass(frozen=True)
class Scaled:
    """The study that reproduces an experiment at one scale.

    Attributes:
        grid: keywords of :class:`rectified.study.Study`: tasks, methods, lrs, seeds, epochs.
        differs: the differences from the paper's setting, in one line.
        needs: data and hardware that are not available everywhere.
        gradients: the number of first steps for which gradient histograms are recorded.
    """

    grid: Mapping[str, Any]
    differs: str
    needs: str = ""
    gradients: int = 0


@dataclass(frozen=True)
class Published:
    """The paper's numbers for one task.

    Attributes:
        setting: the name of the paper's setting.
        values: the numbers by method, as the paper prints them.
    """

    setting: str
    values: Mapping[str, str]


@dataclass(frozen=True)
class Experiment:
    """A table or figure of the paper.

    Attributes:
        title: its title, after the paper.
        metric: the compared metric's column in results.csv, and its label; the task's own if None.
        published: the published numbers by the beginning of a task's name.
        picture: the kind of figure.
    """

    name: str
    title: str
    runs: Mapping[Scale, Scaled]
    metric: tuple[str, str] | None = None
    published: Mapping[str, Published] = field(default_factory=dict)
    picture: Picture = ""


def experiment(name: str) -> Experiment:
    """The experiment with that name.

    Raises:
        ValueError: there is no such experiment; the message lists the names.
    """
    if name not in EXPERIMENTS:
        raise ValueError(f"NAME is {name!r}: it must be one of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]


def _grid(tasks: str, methods: str | None = None, **rest: Any) -> dict[str, Any]:
    return {"tasks": tasks, "methods": methods, **rest}


def _controlled(tasks: str, methods: str, **rest: Any) -> dict[str, Any]:
    """A grid with a matched-lr control for each warmup, which the paper lacks: is the effect just a smaller lr?"""
    return _grid(tasks, methods, control="matched-lr", **rest)


_GPU = "a GPU (--device cuda)"
_CIFAR_GPU = f"{_GPU}: each run is 164 epochs of 391 steps of ResNet-20, an hour or less. CIFAR-10 is fetched"
_EPOCHS = "the repository's 164 epochs, the paper's text says 186"
_SUBSET = "the first 10,000 training images, 6 epochs with the lr drops at the same fractions of the run"

_OBW = Published("One Billion Word", {"adam": "36.92", "radam": "35.70"})
_CIFAR = Published("CIFAR-10, 164 epochs", {"sgd": "91.51", "adam": "90.54", "radam": "91.38"})
_IMAGENET = Published("ImageNet", {"sgd": "69.86", "adam": "66.54", "radam": "67.62"})
_IWSLT = {
    "translation-iwslt(source=en": Published(
        "IWSLT'14 En-De", {"adam+linear-4000": "28.56 ± 0.067", "radam": "28.48 ± 0.054"}
    ),
    "translation-iwslt": Published("IWSLT'14 De-En", {"adam+linear-4000": "34.66 ± 0.014", "radam": "34.76 ± 0.003"}),
    "translation-wmt": Published("WMT'16 En-De", {"adam+linear-4000": "27.03", "radam": "27.27"}),
}
_FIRST_STEPS = "radam-paper,radam-4hold,radam-4adam,radam-4momentum-4adam"

#: The paper's tables and figures by name, and the authors' ablation of the first steps.
EXPERIMENTS: Mapping[str, Experiment] = {
    found.name: found
    for found in (
        Experiment(
            "table1",
            "Language modeling: perplexity",
            {
                "cpu": Scaled(
                    _controlled("language-model(updates=200)", "adam,radam,adam+untuned-linear", seeds=(0,), epochs=5),
                    "WikiText-2 instead of One Billion Word, a small LSTM, 1,000 updates",
                ),
                "paper": Scaled(
                    _controlled("language-model-paper", "adam,radam", seeds=(0, 1, 2)),
                    "the same model and recipe; three seeds instead of one",
                    f"One Billion Word (--data), {_GPU} for about a week per run",
                ),
            },
            ("test_ppl", "test perplexity"),
            {"language-model": _OBW},
        ),
        Experiment(
            "table2",
            "Image classification: accuracy",
            {
                "cpu": Scaled(
                    _controlled("cifar10(subset=10000)", "sgd,adam,radam", seeds=(0,), epochs=6),
                    f"{_SUBSET}; no ImageNet",
                ),
                "paper": Scaled(
                    _controlled("cifar10,imagenet", "sgd,adam,radam", seeds=(0, 1, 2)),
                    f"{_EPOCHS}; three seeds instead of one",
                    f"ImageNet (--data FOLDER with imagenet's train and val, and cifar-10), {_GPU}: days per run",
                ),
            },
            published={"cifar10": _CIFAR, "imagenet": _IMAGENET},
        ),
        Experiment(
            "table3",
            "Machine translation: BLEU",
            {
                "cpu": Scaled(
                    _controlled(
                        "translation(bleu=True,decay=True,ffn=512,layers=3,updates=100,width=128)",
                        "adam+linear-500,radam,adam",
                        lrs=(0.001,),
                        seeds=(0,),
                        epochs=15,
                    ),
                    "Multi30k (29,000 captions) instead of IWSLT'14 and WMT'16, width 128 and 3 + 3 layers, "
                    "1,500 updates",
                ),
                "paper": Scaled(
                    _controlled(
                        "translation-iwslt,translation-iwslt(source=en,target=de),translation-wmt",
                        "adam+linear-4000,radam(beta2=0.9995),radam",
                        seeds=(1111, 2222, 3333, 4444),
                    ),
                    "float32 instead of float16; batches are reshuffled every 1,000 updates",
                    f"IWSLT'14 and WMT'16 (--data), {_GPU}: 70,000 updates per run, most of a day",
                ),
            },
            ("bleu", "BLEU"),
            _IWSLT | {"translation(": Published("IWSLT'14 De-En", _IWSLT["translation-iwslt"].values)},
        ),
        Experiment(
            "figure1",
            "Training loss of a Transformer without and with warmup",
            {
                "cpu": Scaled(
                    _grid("translation", "adam,radam,adam+linear-500", seeds=(0,), epochs=8),
                    "Multi30k instead of IWSLT'14, width 256 instead of 512, 400 updates",
                ),
                "paper": Scaled(
                    _grid(
                        "translation-iwslt",
                        "adam,radam(beta2=0.9995),adam+linear-4000,adam+second-moment-only-2000,adam-eps",
                        seeds=(0,),
                    ),
                    "float32 instead of float16",
                    f"IWSLT'14 (--data), {_GPU}: 70,000 updates per run, most of a day",
                ),
            },
            picture="loss",
        ),
        Experiment(
            "figure2",
            "Gradients of a Transformer in its first steps, without and with warmup",
            {
                "cpu": Scaled(
                    _grid("translation", "adam,adam+linear-500,radam", seeds=(0,), epochs=2),
                    "Multi30k instead of IWSLT'14, width 256 instead of 512; the first 100 updates",
                    gradients=100,
                ),
                "paper": Scaled(
                    _grid("translation-iwslt(updates=100)", "adam,adam+linear-4000", seeds=(0,), epochs=1),
                    "float32 instead of float16",
                    f"IWSLT'14 (--data), {_GPU} for minutes",
                    gradients=100,
                ),
            },
            picture="gradients",
        ),
        Experiment(
            "figure5",
            "CIFAR-10: accuracy against learning rate",
            {
                "cpu": Scaled(_controlled("cifar10(subset=10000)", "sgd,adam,radam", seeds=(0,), epochs=6), _SUBSET),
                "paper": Scaled(_controlled("cifar10", "sgd,adam,radam", seeds=(0, 1, 2)), _EPOCHS, _CIFAR_GPU),
            },
            picture="robustness",
            published={"cifar10": _CIFAR},
        ),
        Experiment(
            "figure6",
            "CIFAR-10: RAdam against Adam with linear warmups, by learning rate",
            {
                "cpu": Scaled(
                    _controlled("cifar10(subset=10000)", "radam,adam+linear-50,adam+linear-200", seeds=(0,), epochs=6),
                    f"{_SUBSET}; warmups of 50 and 200 steps instead of 100 to 1,000",
                ),
                "paper": Scaled(
                    _controlled(
                        "cifar10",
                        "radam,adam+linear-100,adam+linear-200,adam+linear-500,adam+linear-1000",
                        seeds=(0, 1, 2),
                    ),
                    _EPOCHS,
                    _CIFAR_GPU,
                ),
            },
            picture="robustness",
            published={
                "cifar10": Published("CIFAR-10, lr 0.1", {"radam": "91.06", "adam+linear-100": "90.13"}),
            },
        ),
        Experiment(
            "ablation",
            "CIFAR-10: RAdam with other first steps, lr 0.1",
            {
                "cpu": Scaled(
                    _grid("cifar10(subset=10000)", _FIRST_STEPS, lrs=(0.1,), seeds=(0, 1), epochs=6),
                    _SUBSET,
                ),
                "paper": Scaled(
                    _grid("cifar10", _FIRST_STEPS, lrs=(0.1,), seeds=(1111, 2222, 3333, 4444, 5555)),
                    "the authors hold in steps 1 to 5, as their threshold is 5",
                    _CIFAR_GPU,
                ),
            },
            published={
                "cifar10": Published(
                    "CIFAR-10, 5 seeds",
                    {"radam-4hold": "91.08", "radam-4adam": "89.98", "radam-4momentum-4adam": "90.29"},
                )
            },
        ),
    )
}
