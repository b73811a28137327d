"""The complete state of a training in memory, restored bit for bit."""

import copy
import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..optim.wrap.compat import unwrapped


class Snapshot:
    """The state of a model, its optimizer, schedulers, scaler and all random generators, to go back to at any time.

    Parameters and buffers are written in place, so that optimizers, hooks and compiled code still refer to them; also
    buffers that a state_dict leaves out. Adam's moments keep their dtype, which ``load_state_dict`` of torch's
    optimizers would change. Nothing is written to a file.

    Args:
        model: with its gradients and its training mode.
        optimizer: the optimizer, possibly inside a wrapper.
        others: schedulers, a GradScaler, and whatever else has ``state_dict`` and ``load_state_dict``.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> before, start = model.weight.clone(), Snapshot(model, optimizer)
    >>> model(torch.ones(1, 2)).sum().backward()
    >>> optimizer.step()
    >>> start.restore()
    >>> torch.equal(before, model.weight), optimizer.state, model.weight.grad
    (True, defaultdict(<class 'dict'>, {}), None)
    """

    def __init__(self, model: nn.Module, optimizer: Any, others: Iterable[Any] = ()) -> None:
        self._optimizer = unwrapped(optimizer)
        stepped = [p for group in self._optimizer.param_groups for p in group["params"]]
        params = list({id(p): p for p in (*model.parameters(), *stepped)}.values())
        self._tensors = [(p, p.detach().clone()) for p in params]
        self._gradients = [(p, None if p.grad is None else p.grad.detach().clone()) for p in params]
        self._buffers = Buffers(model)
        self._modes = [(module, module.training) for module in model.modules()]
        self._extra = [
            (module, copy.deepcopy(module.get_extra_state()))
            for module in model.modules()
            if type(module).get_extra_state is not nn.Module.get_extra_state
        ]
        self._state = {p: _copied(entry) for p, entry in self._optimizer.state.items()}
        self._groups = [
            {name: (x, _copy(x)) for name, x in group.items() if name != "params"}
            for group in self._optimizer.param_groups
        ]
        self._others = [(other, copy.deepcopy(other.state_dict())) for other in others]
        self._random = generators()

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to this state."""
        for p, before in self._tensors:
            p.copy_(before)
        for p, gradient in self._gradients:
            p.grad = None if gradient is None else gradient.clone()
        self._buffers.restore()
        for module, training in self._modes:
            module.training = training
        for module, state in self._extra:
            module.set_extra_state(copy.deepcopy(state))
        self._optimizer.state.clear()
        for p, entry in self._state.items():
            self._optimizer.state[p] = _copied(entry)
        self._restore_groups()
        for other, state in self._others:
            other.load_state_dict(copy.deepcopy(state))
        self._restore_groups()  # once more, since a load_state_dict may set lrs
        set_generators(self._random)

    def _restore_groups(self) -> None:
        """The options of all groups; a tensor lr stays the tensor that it is, which groups may share."""
        for group, options in zip(self._optimizer.param_groups, self._groups, strict=True):
            params = group["params"]
            group.clear()
            for name, (own, before) in options.items():
                group[name] = own.copy_(before) if isinstance(own, Tensor) else _copy(before)
            group["params"] = params


class Buffers:
    """The buffers of a model, also those that are replaced instead of written to."""

    def __init__(self, model: nn.Module) -> None:
        self._found = [
            (module, name, x, None if x is None else x.detach().clone())
            for module in model.modules()
            for name, x in module._buffers.items()
        ]

    @torch.no_grad()
    def restore(self) -> None:
        """Go back to them."""
        for module, name, own, before in self._found:
            if own is not None and before is not None:
                own.copy_(before)
            module._buffers[name] = own


def _copied(entry: Any) -> Any:
    """A dict of options or states with its tensors cloned; ``params`` are left out."""
    return {name: _copy(x) for name, x in entry.items() if name != "params"}


def _copy(x: Any) -> Any:
    if isinstance(x, Tensor):
        return x.detach().clone()
    return copy.deepcopy(x) if isinstance(x, list | dict) else x


@contextmanager
def kept_generators() -> Iterator[None]:
    """A context after which all global generators are as before."""
    states = generators()
    try:
        yield
    finally:
        set_generators(states)


def generators() -> dict[str, Any]:
    """The states of all global generators: Python's, numpy's if it is loaded, torch's on every device."""
    found = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if (numpy := sys.modules.get("numpy")) is not None:
        found["numpy"] = numpy.random.get_state()
    if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found["cuda"] = torch.cuda.get_rng_state_all()
    return found


def set_generators(states: dict[str, Any]) -> None:
    random.setstate(states["python"])
    torch.set_rng_state(states["torch"])
    if "numpy" in states:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if "cuda" in states:
        torch.cuda.set_rng_state_all(states["cuda"])
