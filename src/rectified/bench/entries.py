"""The optimizers in the benchmark: every method here, and those of installed peers."""

import importlib
import importlib.util
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from .. import LAMB, Adadelta, Adam, AdamW, NAdam, RAdam, RMSprop
from ..warmup import GuardedLinear, Linear, SecondMomentOnly, UntunedExponential, UntunedLinear

Params = list[torch.nn.Parameter]
Make = Callable[[Params], torch.optim.Optimizer]


@dataclass(frozen=True)
class Entry:
    """An optimizer with its options, as an entry of the benchmark.

    Args:
        package: the distribution whose version is recorded.
        kind: the table it belongs to: ``"ours"``, a peer's ``"RAdam"``, or a peer's ``"Adam"``.
        graphed: whether its step is captured in a CUDA graph and replayed.
        idle: whether its step leaves parameters or states alone, so that its bytes say nothing about bandwidth.
    """

    name: str
    package: str
    make: Make
    kind: str
    dtype: torch.dtype = torch.float32
    devices: tuple[str, ...] = ("cpu", "cuda")
    graphed: bool = False
    idle: bool = False


def _ours(name: str, optimizer: Callable[..., torch.optim.Optimizer], **options: Any) -> Entry:
    return Entry(f"rectified {name}", "rectified", lambda params: optimizer(params, **options), "ours")


def _theirs(name: str, package: str, module: str, kind: str = "Adam", **options: Any) -> Entry:
    """An entry for a peer's class; words after the class name are a remark."""

    def make(params: Params) -> torch.optim.Optimizer:
        made: torch.optim.Optimizer = getattr(_module(module), name.split()[0])(params, lr=1e-3, **options)
        return made

    return Entry(f"{package} {name}", package, make, kind)


def _in_bfloat16(entry: Entry) -> Entry:
    return Entry(f"{entry.name} (bf16)", entry.package, entry.make, entry.kind, torch.bfloat16, entry.devices)


def _module(name: str) -> Any:
    """Import a module; for timm only that module, since its package imports torchvision, which may be broken here."""
    package = name.split(".")[0]
    if package == "timm" and package not in sys.modules:
        spec = importlib.util.find_spec(package)
        if spec is None or spec.submodule_search_locations is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)
        root = Path(spec.submodule_search_locations[0])
        for parent, folder in ((package, root), ("timm.optim", root / "optim")):
            sys.modules[parent] = types.ModuleType(parent)
            sys.modules[parent].__path__ = [str(folder)]
    return importlib.import_module(name)


BASE = _ours("RAdam", RAdam)
_TORCH_RADAM = _theirs("RAdam foreach", "torch", "torch.optim", "RAdam", foreach=True)
_TORCH_FUSED = _theirs("AdamW fused", "torch", "torch.optim", fused=True)
_OPTIMI_RADAM = _theirs("RAdam", "torch-optimi", "optimi", "RAdam")
_SCHEDULEFREE_RADAM = _theirs("RAdamScheduleFree", "schedulefree", "schedulefree", "RAdam")

ENTRIES = [
    BASE,
    _ours("RAdam threshold=4", RAdam, threshold=4),
    _ours("RAdam hold", RAdam, start="hold"),
    _ours("RAdam exact", RAdam, variance="exact"),
    _ours("RAdam ema", RAdam, variance="ema"),
    _ours("RAdam decoupled", RAdam, weight_decay=0.01, decoupled_weight_decay=True),
    _ours("Adam", Adam),
    _ours("Adam amsgrad", Adam, amsgrad=True),
    _ours("Adam-eps", Adam, eps=1e-4, eps_hat=True),
    replace(_ours("Adam-2k (holding)", Adam, warmup=SecondMomentOnly(2000)), idle=True),
    _ours("AdamW", AdamW),
    _ours("AdamW + untuned linear", AdamW, warmup=UntunedLinear()),
    _ours("AdamW + untuned exponential", AdamW, warmup=UntunedExponential()),
    _ours("AdamW + Linear(500)", AdamW, warmup=Linear(500)),
    _ours("AdamW + GuardedLinear(1e6), observing", AdamW, warmup=GuardedLinear(10**6)),
    _ours("RMSprop", RMSprop),
    _ours("NAdam", NAdam),
    _ours("LAMB", LAMB),
    _ours("Adadelta", Adadelta),
    _ours("RAdam foreach", RAdam, foreach=True),
    _ours("RAdam capturable", RAdam, capturable=True),
    Entry(
        "rectified RAdam in a CUDA graph",
        "rectified",
        lambda params: RAdam(params, capturable=True),
        "ours",
        devices=("cuda",),
        graphed=True,
    ),
    _theirs("RAdam", "torch", "torch.optim", "RAdam"),
    _TORCH_RADAM,
    _theirs("RAdam", "pytorch_optimizer", "pytorch_optimizer", "RAdam"),
    _OPTIMI_RADAM,
    _SCHEDULEFREE_RADAM,
    _theirs("RAdamLegacy", "timm", "timm.optim.radam", "RAdam"),
    _theirs("AdamW", "torch", "torch.optim"),
    _theirs("AdamW foreach", "torch", "torch.optim", foreach=True),
    _TORCH_FUSED,
    _theirs("AdamW", "torch-optimi", "optimi"),
    _theirs("AdamWScheduleFree", "schedulefree", "schedulefree"),
    _theirs("AdamW8bit", "torchao", "torchao.optim"),  # it compiles for every shape, so one entry is enough
    _theirs("AdamW", "bitsandbytes", "bitsandbytes.optim"),
    _theirs("AdamW8bit", "bitsandbytes", "bitsandbytes.optim"),
    *map(
        _in_bfloat16,
        [
            BASE,
            _ours("RAdam kahan", RAdam, rounding="kahan"),
            _ours("RAdam stochastic", RAdam, rounding="stochastic"),
            _ours("RAdam bf16 states", RAdam, state_dtype=torch.bfloat16),
            _TORCH_RADAM,
            _OPTIMI_RADAM,
            _SCHEDULEFREE_RADAM,
            _TORCH_FUSED,
        ],
    ),
]
BY_NAME = {entry.name: entry for entry in ENTRIES}


def missing(entry: Entry, device: str) -> str | None:
    """Why an entry cannot be measured here; None if it can."""
    if device not in entry.devices:
        return f"only for {' and '.join(entry.devices)}"
    try:
        entry.make([torch.nn.Parameter(torch.zeros(8, device=device, dtype=entry.dtype))])
    except ImportError as error:
        return f"{error.name or entry.package} is not installed" if error.name else str(error)
    return None


def version(package: str) -> str:
    """The version of an installed distribution."""
    if package == "rectified":  # it may be importable from a plain folder
        from .. import __version__

        return __version__
    return metadata.version(package)
