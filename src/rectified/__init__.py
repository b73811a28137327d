"""rectified: PyTorch optimizers with learning rate warmup built in.

Names are imported when they are first used, so that :mod:`rectified.jax` and the mathematics need no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import messages as messages
    from . import optim as optim
    from . import probe as probe
    from . import theory, warmup
    from .optim import LAMB, Adadelta, Adam, AdamW, NAdam, RAdam, RMSprop, WarmupLR, explain, linear_scaling, rectify
    from .probe import Probe, check

__version__ = "0.1.0"

__all__ = [
    "LAMB",
    "Adadelta",
    "Adam",
    "AdamW",
    "NAdam",
    "Probe",
    "RAdam",
    "RMSprop",
    "WarmupLR",
    "__version__",
    "check",
    "explain",
    "linear_scaling",
    "rectify",
    "theory",
    "warmup",
]

_PACKAGES = {"messages", "optim", "probe", "theory", "warmup"}
_OF_PROBE = {"Probe", "check"}


def __getattr__(name: str) -> Any:
    """Import a name of this page from where it is defined, once."""
    if name in _PACKAGES:
        return import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{'probe' if name in _OF_PROBE else 'optim'}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
