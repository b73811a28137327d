"""Making a plan: which tensors of a group step together, and with which kernel."""

from collections import Counter
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..states.create import create_states
from ..states.dtensor import local, shards_alike
from .capturable import Schedule
from .kernels import BucketKernel
from .options import Group
from .plan import Bucket, Plan

if TYPE_CHECKING:
    from ..base import BaseOptimizer


def make_plan(optimizer: "BaseOptimizer", group: Group, old: Plan | None, options: tuple[Any, ...]) -> Plan:
    """Make a new plan; this only writes the states of parameters that have their first gradient."""
    params: list[Tensor] = group["params"]
    for i, p in enumerate(params):
        optimizer.refuse(p, optimizer.state.get(p, {}), group, f"parameter {i}")
    clocks, keys = create_states(optimizer, group, old)
    plan = Plan([], [i for i, p in enumerate(params) if p.grad is None], params, options, clocks, {})
    found: dict[Any, list[int]] = {}
    seen: dict[Tensor, int] = {}
    times = Counter(params)
    for i, p in enumerate(params):
        if p.grad is None:
            continue
        again = seen[p] = seen.get(p, -1) + 1  # a parameter that is listed twice steps twice, in sequence
        names = optimizer.state_names(p, group)
        states = [optimizer.state[p][name] for name in names]
        sharded = optimizer.ELEMENTWISE and shards_alike(p, [p.grad, *states])
        theta, grad, *states = map(local, (p, p.grad, *states)) if sharded else (p, p.grad, *states)
        reasons: set[str] = set()
        kernel = optimizer.kernel(group, theta, grad, states, reasons)
        for reason in reasons:
            plan.reasons.setdefault(reason, i)
        key = again, times[p], keys[p], kernel, sharded, p.device, p.dtype, p.grad.dtype, tuple(names)
        found.setdefault(key, []).append(i)
    for (again, n, (count, *scalars), kernel, sharded, *_, names), indices in found.items():
        positions = [optimizer.STATES.index(name) for name in names]
        at = None if len(indices) == len(params) else indices
        kernel = kernel.for_bucket(optimizer.captured) if isinstance(kernel, BucketKernel) else kernel
        bucket = Bucket(int(count) + again, kernel, at, names, positions, len(optimizer.STATES), sharded)
        bucket.scalars, bucket.again, bucket.times = scalars, again, n
        plan.buckets.append(bucket)
    if group.get("capturable"):
        # A tensor beta is read here, not at each step.
        plan.betas = tuple(map(float, group.get("betas", ())))
        given, seen_as, beta2 = group.get("warmup"), optimizer.warmup(group), float(optimizer.beta2(group))
        for device in clocks:
            known = old.schedules.get(device) if old is not None else None
            fits = known is not None and (known.warmup, known.beta2) == (given, beta2)
            plan.schedules[device] = known if fits else Schedule(optimizer.row(group), given, seen_as, beta2, device)
    plan.buckets.sort(key=lambda bucket: (bucket.again, -bucket.t))
    return plan
