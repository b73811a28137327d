"""A simulation of whether rectification evens out the adaptive learning rates of RMSprop, NAdam, Adadelta and LAMB."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ...optim import LAMB, Adadelta, NAdam, RMSprop
from ...optim.variants.variant import Variant
from ...theory.simulation import Gradients, draw, moments, one_thread
from ...warmup import Rectified
from ..table import Table

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Rate:
    """A method's adaptive learning rate psi: the factor of its numerator, without lr and omega.

    Args:
        make: the optimizer's constructor.
        of: psi from the state before and after a step, the step's number and the parameters before it. If a method
            does not correct the bias of v, its omega includes the correction.
    """

    make: Callable[..., Variant]
    of: Callable[[State, State, int, Tensor], Tensor]


def _root(before: State, after: State, t: int, theta: Tensor) -> Tensor:
    return after["square_avg"].rsqrt()


def _centered(before: State, after: State, t: int, theta: Tensor) -> Tensor:
    return (after["square_avg"] - after["grad_avg"] ** 2).rsqrt()


def _adam(before: State, after: State, t: int, theta: Tensor) -> Tensor:
    return (after["exp_avg_sq"] / (1 - 0.999**t)).rsqrt()


def _adadelta(before: State, after: State, t: int, theta: Tensor) -> Tensor:
    u: Tensor = before.get("acc_delta", torch.zeros(()))
    return torch.sqrt((u + 1e-6) / (after["square_avg"] + 1e-6))


def _lamb(before: State, after: State, t: int, theta: Tensor) -> Tensor:
    psi = _adam(before, after, t, theta)
    ratio: Tensor = theta.norm() / (after["exp_avg"] / (1 - 0.9**t) * psi).norm()
    return psi * ratio


RATES = {
    "RMSprop": Rate(RMSprop, _root),
    "RMSprop, centered": Rate(partial(RMSprop, centered=True), _centered),
    "RMSprop, momentum 0.9": Rate(partial(RMSprop, momentum=0.9), _root),
    "NAdam": Rate(NAdam, _adam),
    "Adadelta": Rate(Adadelta, _adadelta),
    "LAMB": Rate(LAMB, _lamb),
}
LR = 1e-6  # so small that LAMB's parameters keep their norm


@one_thread()
def by_variant(
    paths: int, steps: int, seed: int, at: Sequence[int], on_step: Callable[[], object] = lambda: None
) -> Table:
    """Each method with its default options on independent gradients from N(0, 1), rectified by the closed form.

    Every element of one parameter is a path; with LAMB they share the norms of their tensor.

    Args:
        at: the steps in the table.

    Returns:
        A row per method and step: omega (with the bias correction that RMSprop and Adadelta lack), the
        variance over the paths of psi, of omega psi and of the update over lr, with their standard errors; those of
        omega psi are NaN while omega is 0.
    """
    rows: list[dict[str, Any]] = []
    for name, rate in RATES.items():
        p = torch.nn.Parameter(torch.ones(paths, dtype=torch.float64))
        optimizer = rate.make([p], lr=LR, eps=1e-300 if name != "Adadelta" else 1e-6, warmup=Rectified("exact"))
        for t, g in zip(range(1, steps + 1), draw([Gradients()], paths, seed), strict=False):
            p.grad = g[0]
            theta = p.detach().clone()
            before = {key: x.clone() for key, x in optimizer.state.get(p, {}).items()} if t in at else {}
            optimizer.step()
            if t in at:
                omega = optimizer.param_groups[0]["omega"]
                psi = rate.of(before, optimizer.state[p], t, theta)
                row: dict[str, Any] = {"method": name, "t": t, "omega": omega}
                row |= _named("psi", psi, t) | _named("rectified", omega * psi, t)
                row |= _named("update", (theta - p.detach()) / LR, t)
                rows.append(row)
            on_step()
    return Table.of(rows)


def _named(name: str, x: Tensor, t: int) -> dict[str, float]:
    """The variance over the paths and its standard error, as two columns; NaN if all of x is 0."""
    _, variance, error = moments(x, finite=t > 4 or name == "update").tolist()
    return {name: variance, f"{name}_error": error} if x.any() else {name: math.nan, f"{name}_error": math.nan}


def over_last(table: Table) -> Table:
    """The variance of omega psi relative to that at the last step, with the standard error of the former."""
    last = {row["method"]: row["rectified"] for row in table.rows}
    return Table.of(
        {
            **row,
            "over_last": row["rectified"] / last[row["method"]],
            "over_last_error": row["rectified_error"] / last[row["method"]],
        }
        for row in table.rows
    )
