"""Private names of torch, each with a fallback; no other file uses any.

The documented ``torch._foreach_*`` functions do not count as private.
"""

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor

__all__ = [
    "HAS_FUSED_ADAM",
    "Optimizer",
    "TensorList",
    "disable_dynamo",
    "fans",
    "fused_adam",
    "fused_adamw",
    "global_post_hooks",
    "global_pre_hooks",
    "has_known_op",
    "has_step_hooks",
    "has_values",
    "profiler_enabled",
    "register_first_pre_hook",
    "set_grad_enabled",
    "version_of",
]

TensorList = list[Tensor] | tuple[Tensor, ...]  # the argument type of torch's foreach and fused functions

P = ParamSpec("P")
T = TypeVar("T")

try:  # what torch.no_grad() does, in a quarter of the time
    from torch._C import _set_grad_enabled as set_grad_enabled
except ImportError:
    set_grad_enabled = torch.set_grad_enabled  # type: ignore[assignment]

try:
    from torch._C._autograd import _profiler_enabled as profiler_enabled
except ImportError:

    def profiler_enabled() -> bool:
        """Whether a profiler is recording; True if unknown, which only costs time."""
        return True


try:
    from torch._compile import _disable_dynamo as disable_dynamo
except ImportError:
    disable_dynamo = torch.compiler.disable

try:
    from torch.optim.optimizer import _global_optimizer_post_hooks as global_post_hooks
    from torch.optim.optimizer import _global_optimizer_pre_hooks as global_pre_hooks
except ImportError:
    global_pre_hooks, global_post_hooks = {}, {}

try:  # torch's stubs declare the descriptor by the int that it returns
    version_of: Callable[[Tensor], int] = torch._C.TensorBase._version.__get__  # type: ignore[attr-defined]
except AttributeError:

    def version_of(x: Tensor) -> int:
        """A tensor's version counter; a new value at every call if torch does not provide it."""
        return id(object())


# The fused Adam ops. If a signature differs from the tested one, foreach ops are used instead.
_SIGNATURE = (
    "(Tensor(a!)[] self, Tensor(b!)[] grads, Tensor(c!)[] exp_avgs, Tensor(d!)[] exp_avg_sqs, "
    "Tensor(e!)[] max_exp_avg_sqs, Tensor[] state_steps, *, float lr, float beta1, float beta2, float weight_decay, "
    "float eps, bool amsgrad, bool maximize, Tensor? grad_scale=None, Tensor? found_inf=None) -> ()"
)


def has_known_op() -> bool:
    """Whether this torch has both fused Adam ops, for a float and a tensor lr, with the tested signatures."""
    ops = torch.ops.aten
    try:
        by_number = [str(op.default._schema) for op in (ops._fused_adam_, ops._fused_adamw_)]
        by_tensor = [str(op.tensor_lr._schema) for op in (ops._fused_adam_, ops._fused_adamw_)]
    except AttributeError:
        return False
    return all(schema.endswith(_SIGNATURE) for schema in by_number) and all(
        schema.endswith(_SIGNATURE.replace("float lr", "Tensor lr")) for schema in by_tensor
    )


HAS_FUSED_ADAM = has_known_op()
fused_adam: Callable[..., None] = getattr(torch, "_fused_adam_", None)  # type: ignore[assignment]
fused_adamw: Callable[..., None] = getattr(torch, "_fused_adamw_", None)  # type: ignore[assignment]


def has_values(x: Tensor) -> bool:
    """Whether a tensor has values; meta and fake tensors have none."""
    fake = sys.modules.get("torch._subclasses.fake_tensor")  # a fake tensor exists only if this was imported
    return not (x.is_meta or (fake is not None and isinstance(x, fake.FakeTensor)))


def fans(x: Tensor) -> tuple[int, int]:
    """The fan-in and fan-out of a weight of two or more dimensions, as torch.nn.init computes them."""
    receptive = x[0, 0].numel() if x.ndim > 2 else 1
    return x.shape[1] * receptive, x.shape[0] * receptive


def flattened(xs: TensorList) -> Tensor:
    """Several tensors of one dtype as one flat tensor."""
    flatten = getattr(torch._utils, "_flatten_dense_tensors", None)  # without a call per tensor
    flat: Tensor = torch.cat([x.flatten() for x in xs]) if flatten is None else flatten(xs)
    return flat


def has_step_hooks(optimizer: torch.optim.Optimizer) -> bool:
    """Whether step hooks can be registered on an optimizer; not if a wrapper skipped Optimizer's constructor."""
    return hasattr(optimizer, "_optimizer_step_pre_hooks")


def register_first_pre_hook(optimizer: torch.optim.Optimizer, hook: Callable[..., Any]) -> Any:
    """Register a pre-step hook, ahead of the others if torch keeps them in order; return its handle."""
    handle = optimizer.register_step_pre_hook(hook)
    move = getattr(optimizer._optimizer_step_pre_hooks, "move_to_end", None)
    if move is not None:
        move(handle.id, last=False)
    return handle


def after_backward(callback: Callable[[], None]) -> None:
    """Call something at the end of the backward pass that is running, called from one of its hooks.

    DistributedDataParallel averages gradients in a callback of the same kind, which may be queued after this one, but
    not after one that is queued while callbacks run.
    """
    queue = torch.autograd.Variable._execution_engine.queue_callback
    queue(lambda: queue(callback))


def _unless_compiled(kept_out: Callable[P, T]) -> Callable[P, T]:
    """Wrap a torch method so that torch._dynamo is used only once it has been imported.

    torch keeps some methods out of compiled graphs, and the first call of one imports torch._dynamo for that, which
    takes as long as `import torch`. Code that compiles has imported it before.
    """
    bare: Callable[P, T] = getattr(kept_out, "__wrapped__", kept_out)

    @wraps(kept_out)
    def method(*args: P.args, **kwargs: P.kwargs) -> T:
        return (kept_out if "torch._dynamo" in sys.modules else bare)(*args, **kwargs)

    return method


class Optimizer(torch.optim.Optimizer):
    """torch.optim.Optimizer, without the import of torch._dynamo for the first instance in a process."""

    add_param_group = _unless_compiled(torch.optim.Optimizer.add_param_group)
    zero_grad = _unless_compiled(torch.optim.Optimizer.zero_grad)
    state_dict = _unless_compiled(torch.optim.Optimizer.state_dict)

    def hooks(self, kind: str) -> dict[int, Callable[..., Any]]:
        """The hooks of a kind registered on this optimizer, such as ``"load_state_dict_pre"``; empty if unsupported."""
        found: dict[int, Callable[..., Any]] = getattr(self, f"_optimizer_{kind}_hooks", {})
        return found
