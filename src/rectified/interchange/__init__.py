"""A run's Adam state, carried between torch, optax and Keras: m, v and the step counts, also through a file.

A run that was trained in one framework continues in another: :func:`from_torch`, :func:`from_optax` and
:func:`from_keras` read an optimizer's state into an :class:`AdamState`, and :func:`to_torch`, :func:`to_optax` and
:func:`to_keras` put it into another optimizer. Importing this package imports no framework.

The state is not the whole run. Weights are converted by you, and these options must agree, which nothing checks: lr and
its schedule, beta1, beta2, weight decay, the warmup, and eps. For eps look at where it is added: torch's and optax's
Adam add it to sqrt(v_hat), after the bias correction; Keras' Adam and torch's RAdam add it to sqrt(v), before it
(``eps_hat=True`` in rectified). With the same eps, the two differ most in the first steps of a run.

Bias corrections and warmups continue from the counts.

>>> import numpy as np
>>> state = AdamState(m={"fc.weight": np.ones((2, 3))}, v={"fc.weight": np.ones((2, 3))}, counts={"fc.weight": 30})
>>> state.renamed({"fc.weight": "fc.kernel"}).mapped(lambda name, x: x.T).m["fc.kernel"].shape
(3, 2)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .keras_state import from_keras, to_keras
    from .moments import AdamState
    from .optax_state import from_optax, to_optax
    from .torch_state import from_torch, to_torch

__all__ = ["AdamState", "from_keras", "from_optax", "from_torch", "to_keras", "to_optax", "to_torch"]

# The module that defines a name, and the extra that it needs.
_HOMES = {
    "AdamState": ("moments", "interchange"),
    "from_keras": ("keras_state", "interchange"),
    "from_optax": ("optax_state", "jax"),
    "from_torch": ("torch_state", "interchange"),
    "to_keras": ("keras_state", "interchange"),
    "to_optax": ("optax_state", "jax"),
    "to_torch": ("torch_state", "interchange"),
}


def __getattr__(name: str) -> Any:
    """Import a name of this page from where it is defined, once."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, extra = _HOMES[name]
    try:
        found = getattr(import_module(f"{__name__}.{module}"), name)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{name} needs {error.name}: pip install 'rectified[{extra}]'", name=error.name
        ) from error
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
