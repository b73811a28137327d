"""torch.optim.Optimizer, without waiting for torch.compile where nothing is compiled."""

import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def _unless_compiled(kept_out: Callable[P, T]) -> Callable[P, T]:
    """torch's method, as torch wraps it once torch._dynamo is there, and bare before.

    torch keeps some methods out of compiled graphs. For that the first call of one imports torch._dynamo, which takes
    as long as `import torch`; whoever compiles has imported it before.
    """
    bare: Callable[P, T] = getattr(kept_out, "__wrapped__", kept_out)

    @wraps(kept_out)
    def method(*args: P.args, **kwargs: P.kwargs) -> T:
        return (kept_out if "torch._dynamo" in sys.modules else bare)(*args, **kwargs)

    return method


class Optimizer(torch.optim.Optimizer):
    """The same; the first one of a process does not wait for torch._dynamo."""

    add_param_group = _unless_compiled(torch.optim.Optimizer.add_param_group)
    zero_grad = _unless_compiled(torch.optim.Optimizer.zero_grad)
    state_dict = _unless_compiled(torch.optim.Optimizer.state_dict)
    load_state_dict = _unless_compiled(torch.optim.Optimizer.load_state_dict)
