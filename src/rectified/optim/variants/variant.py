"""The base class of variants: optimizers whose update differs from Adam's, multiplied by omega."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from ...warmup import Warmup
from ..base import BaseOptimizer, Work
from ..step.capturable import Row, lr_on
from ..step.options import Group, undebiased
from ..step.plan import Bucket, Found, Plan, as_real
from ..step.update import omega_of

States = dict[str, Tensor]


class Variant(BaseOptimizer):
    """The base class of optimizers that multiply their own update by omega.

    A subclass defines :meth:`numbers` and :meth:`equation`, which the ``capturable`` and ``differentiable`` steps use,
    and :meth:`update`, the same step with foreach ops in place.

    While omega is 0, the averages include the gradients but the parameters do not move, regardless of ``warmup.start``.
    """

    DEBIASED: ClassVar[bool] = True
    """Whether v has a bias correction; if not, rectification, which is derived for one that has it, includes it."""

    def omega(self, group: Group, t: int) -> float:
        return self.row(group)(self.warmup(group), float(self.beta2(group)), t)[0]

    def row(self, group: Group) -> Row:
        return debiased_row if self.DEBIASED else undebiased_row

    def numbers(self, group: Group, t: Any, omega: Any, scalars: list[Any]) -> Any:
        """The numbers of step t; one-element tensors if capturable.

        Args:
            scalars: the parameter's SCALARS before the step.
        """
        raise NotImplementedError

    def equation(self, group: Group, theta: Tensor, g: Tensor, states: States, n: Any) -> tuple[Tensor, States]:
        """The equation of the method, as in its paper: returns theta and states after a step, as a pure function."""
        raise NotImplementedError

    def update(self, group: Group, found: Found, n: Any) -> None:
        """Take the step for all tensors of a bucket, in place."""
        raise NotImplementedError

    def scalars(self, group: Group, bucket: Bucket) -> list[Any]:
        """The SCALARS of a bucket before its step."""
        return bucket.scalars

    def advance_scalars(self, group: Group, plan: Plan, found: Found, n: Any) -> None:
        """Update the SCALARS of a bucket after its step."""

    def check(self, group: Group) -> None:
        super().check(group)
        if not group.get("differentiable"):
            return
        for name, x in group.items():
            values = x if isinstance(x, tuple | list) and name != "params" else (x,)
            if name not in ("lr", "weight_decay") and any(isinstance(v, Tensor) and v.requires_grad for v in values):
                raise RuntimeError(
                    f"{name} requires a gradient, but the step of {type(self).__name__} is differentiable in "
                    "parameters, gradients, lr and weight_decay alone: pass a number"
                )

    def take(self, work: list[Work]) -> None:
        steps = []
        for group, plan, found in work:
            pairs = []
            for here in found if not group.get("capturable") else ():
                omega = self.omega(group, here.t)
                scalars = self.scalars(group, here.bucket)
                pairs.append((as_real(here), omega, self.numbers(group, here.t, omega, scalars)))
            steps.append((group, plan, found, pairs))
        for group, plan, found, pairs in steps:
            if group.get("capturable"):
                self._on_device(group, plan, found)
                continue
            for here, _, n in pairs:
                if group.get("differentiable"):
                    self._recorded(group, here, n)
                else:
                    self.update(group, here, n)
                self.advance_scalars(group, plan, here, n)
            plan.advance()
            if pairs:
                group["omega"] = pairs[0][1]  # of the parameters that have stepped most often

    def _recorded(self, group: Group, found: Found, n: Any) -> None:
        """Take the step as autograd records it, with new state tensors, since it may have saved the old ones."""
        for i, (p, g) in enumerate(zip(found.params, found.grads, strict=True)):
            theta, states = self.equation(group, p.clone(), g, self._states(found, i), n)
            for name, x in states.items():
                entry = self.state[found.owners[i]]
                entry[name] = torch.view_as_complex(x) if entry[name].is_complex() else x
            p.copy_(theta)

    def _on_device(self, group: Group, plan: Plan, found: list[Found]) -> None:
        """Take the step of a group that is counted on the device, tensor by tensor."""
        plan.advance()
        for i, here in enumerate(found):
            step = here.step_count(self.state)
            omega = plan.schedules[step.device].row(step)[0]
            scalars = [self.state[here.owners[0]][name] for name in self.SCALARS]
            here = as_real(here)
            n = self.numbers({**group, "lr": lr_on(step.device, group)}, step.to(omega), omega, scalars)
            for j, (p, g) in enumerate(zip(here.params, here.grads, strict=True)):
                theta, states = self.equation(group, p, g, self._states(here, j), n)
                for position, name in enumerate(self.STATES):
                    if name in states:
                        here.states[position][j].copy_(states[name])
                p.copy_(theta)
            self.advance_scalars(group, plan, here, n)
            if not i:
                group["omega"] = omega  # of the parameters that have stepped most often

    def _states(self, found: Found, i: int) -> States:
        return {name: column[i] for name, column in zip(self.STATES, found.states, strict=True) if column}


def incoming(group: Group, theta: Tensor, g: Tensor) -> Tensor:
    """The gradient as the moments see it: with the sign of `maximize`, and with L2 decay unless it is decoupled."""
    g = -g if group["maximize"] else g
    weight_decay = group["weight_decay"]
    if group.get("decoupled_weight_decay") or (not isinstance(weight_decay, Tensor) and not weight_decay):
        return g
    return g + weight_decay * theta


def moves(omega: Any) -> Any:
    """Whether the parameters may move: 1 if omega is above 0, else 0."""
    return (omega > 0).to(omega) if isinstance(omega, Tensor) else float(omega > 0)


def debiased_row(warmup: Warmup | None, beta2: float, t: int) -> tuple[float]:
    """The row with omega for a v with bias correction."""
    return (omega_of(warmup, t, beta2),)


def undebiased_row(warmup: Warmup | None, beta2: float, t: int) -> tuple[float]:
    """The row with omega for a v without bias correction, which rectification includes."""
    return (omega_of(warmup, t, beta2) * undebiased(warmup, t, beta2),)
