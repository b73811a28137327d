"""Whether a state fits the parameters of an optimizer, checked before anything is written."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

from ..messages import shown
from .moments import AdamState, listed


class Wanted(NamedTuple):
    """What a parameter's moments must be."""

    shape: tuple[int, ...]
    is_complex: bool = False


def check_fit(state: AdamState, wanted: Mapping[str, Wanted], whose: str) -> None:
    """Raise one error that lists everything in which a state and the parameters of an optimizer differ.

    Args:
        wanted: each parameter of the optimizer by its name.
        whose: the optimizer in a message.

    Raises:
        ValueError: names are missing or superfluous, or shapes differ.

    >>> state = AdamState(m={"w": np.ones((2, 3))}, v={"w": np.ones((2, 3))}, counts={"w": 1})
    >>> check_fit(state, {"w": Wanted((2, 3))}, "the optimizer")
    """
    missing = [name for name in wanted if name not in state.m]
    extra = [name for name in state.m if name not in wanted]
    both = [(name, state.m[name], wanted[name]) for name in wanted if name in state.m]
    other = [(name, x.shape, there.shape) for name, x, there in both if x.shape != there.shape]
    kinds = [name for name, x, there in both if np.iscomplexobj(x) != there.is_complex]
    problems, ways = [], []
    if missing:
        problems.append(f"the state lacks {listed(missing)}")
    if extra:
        problems.append(f"{whose} lacks {listed(extra)}")
    if missing and extra:
        ways.append("state.renamed({old: new}) changes names")
    elif extra:
        ways.append("state.renamed({name: None}) leaves parameters out")
    elif missing:
        ways.append("new parameters, such as another head, come from a new optimizer: from_...(new, ...) | state")
    if other:
        some = ", ".join(f"{shown(name)} is {here} and has to be {there}" for name, here, there in other[:6])
        problems.append(some + (f", and so on for {len(other) - 6} more" if len(other) > 6 else ""))
        ways.append("state.mapped(lambda name, x: ...) changes layouts, such as x.T for a Linear's weight")
    if kinds:
        problems.append(f"{listed(kinds)} is complex in one and real in the other")
        ways.append("complex parameters continue in torch only")
    if problems:
        raise ValueError(f"the state does not fit {whose}: {'; '.join(problems)}. {'; '.join(ways)}")


def check_amsgrad(state: AdamState, with_amsgrad: Collection[str], whose: str) -> None:
    """Raise if a state and an optimizer disagree about amsgrad.

    Args:
        with_amsgrad: the names of the parameters that the optimizer trains with it.
        whose: the optimizer in a message.

    Raises:
        ValueError: they disagree.
    """
    if missing := [name for name in with_amsgrad if name not in state.v_max]:
        raise ValueError(
            f"{whose} has amsgrad=True, and the state has no v_max of {listed(missing)}. To let it start with today's "
            "v: dataclasses.replace(state, v_max=state.v)"
        )
    if extra := [name for name in state.v_max if name not in with_amsgrad]:
        raise ValueError(
            f"the state has the v_max of amsgrad of {listed(extra)}, and {whose} has amsgrad=False. To continue "
            "without amsgrad: dataclasses.replace(state, v_max={})"
        )


def same_count(state: AdamState, names: Collection[str], whose: str, way: str) -> int:
    """The count that all these parameters share, for an optimizer that counts once for all of them.

    Args:
        way: what to do if they differ, in a message.

    Raises:
        ValueError: the counts differ.
    """
    having: dict[int, str] = {}
    for name in names:
        having.setdefault(state.counts[name], name)
    if len(having) > 1:
        some = ", ".join(f"{t} for {shown(name)}" for t, name in sorted(having.items())[:4])
        raise ValueError(f"{whose} counts steps once for all parameters, and the state has {some}: {way}")
    return next(iter(having), 0)
