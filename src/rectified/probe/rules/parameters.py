"""Parameters that an optimizer steps twice, or not at all.

False positives: several optimizers share a model (GANs, a separate one for embeddings); then pass the part of the
model that belongs to this one, or none.
"""

from collections import Counter
from collections.abc import Iterator

from ..finding import Finding
from ..play.played import Played


def listed_twice(run: Played) -> Iterator[Finding]:
    """A parameter is listed several times, and steps several times."""
    counts: Counter[int] = Counter()
    groups: dict[int, set[int]] = {}
    for index, group in enumerate(run.optimizer.param_groups):
        for p in group["params"]:
            counts[id(p)] += 1
            groups.setdefault(id(p), set()).add(index)
    twice = [key for key, count in counts.items() if count > 1]
    if twice:
        concerned = sorted(set().union(*(groups[key] for key in twice)))
        yield Finding(
            "parameter-listed-twice",
            "error",
            f"{len(twice)} parameter{'s are' if len(twice) > 1 else ' is'} listed more than once and step as often",
            "Build the groups from model.named_parameters(), which lists a shared parameter once.",
            tuple(concerned),
            None,
            {"parameters": len(twice)},
        )


def in_no_group(run: Played) -> Iterator[Finding]:
    """The model has trainable parameters that are in no group."""
    if run.model is None:
        return
    known = {id(p) for group in run.optimizer.param_groups for p in group["params"]}
    missed = [(name, p) for name, p in run.model.named_parameters() if p.requires_grad and id(p) not in known]
    if missed:
        all_of_them = len(missed) == sum(p.requires_grad for p in run.model.parameters())
        elements = sum(p.numel() for _, p in missed)
        names = ", ".join(name for name, _ in missed[:3]) + (f" and {len(missed) - 3} more" if len(missed) > 3 else "")
        yield Finding(
            "parameter-in-no-group",
            "error" if all_of_them else "warning",
            f"{len(missed)} trainable parameters are in no group and never move: {names}",
            "Add them, or set requires_grad to False. If all are missing, the model was replaced (compiled, moved or "
            "wrapped into new parameters) after the optimizer was made.",
            (),
            None,
            {"parameters": len(missed), "elements": elements},
            "several optimizers that share the model",
        )
