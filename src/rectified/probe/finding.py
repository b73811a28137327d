"""What a check found: severity, evidence, advice, and when it may be wrong."""

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

Severity = Literal["error", "warning", "note"]


@dataclass(frozen=True)
class Finding:
    """One thing that a check found in a training configuration.

    Attributes:
        rule: the rule's name, such as ``"warmup-outlives-run"``.
        severity: ``"error"``: the run will not do what its settings say; ``"warning"``: probably a mistake; ``"note"``:
            worth knowing.
        title: what was found, in one line.
        advice: what to do.
        groups: the parameter groups concerned, by index; empty for all.
        steps: the first and last step concerned, from 1; None for no particular steps.
        evidence: the numbers that show it.
        false_positives: when this finding is wrong.

    Raises:
        ValueError: the severity is none of these.

    >>> found = Finding("first-step-zero", "note", "the first step has lr 0", "use (t + 1) / warmup", steps=(1, 1))
    >>> print(found)
    note: the first step has lr 0 [first-step-zero, step 1]
      use (t + 1) / warmup
    """

    rule: str
    severity: Severity
    title: str
    advice: str
    groups: tuple[int, ...] = ()
    steps: tuple[int, int] | None = None
    evidence: Mapping[str, float] = field(default_factory=dict)
    false_positives: str = ""

    def __post_init__(self) -> None:
        if self.severity not in get_args(Severity):
            raise ValueError(f"severity is {self.severity!r}; it must be one of {', '.join(get_args(Severity))}")

    def __str__(self) -> str:
        where = [self.rule]
        if self.groups:
            where.append(f"group{'s' * (len(self.groups) > 1)} {_listed(self.groups)}")
        if self.steps is not None:
            first, last = self.steps
            where.append(f"step {first:,}" if first == last else f"steps {first:,} to {last:,}")
        return f"{self.severity}: {self.title} [{', '.join(where)}]\n  {self.advice}"

    def as_dict(self) -> dict[str, Any]:
        """The finding as plain values that JSON can hold; a number that is not finite is None there."""
        evidence = {name: x if math.isfinite(x) else None for name, x in self.evidence.items()}
        return {**asdict(self), "evidence": evidence}


def as_json(findings: Iterable[Finding]) -> str:
    """Findings as JSON: a list of objects.

    >>> print(as_json([]))
    []
    """
    return json.dumps([finding.as_dict() for finding in findings], indent=2)


def at_least(severity: Severity, findings: Iterable[Finding]) -> list[Finding]:
    """The findings of this severity or a higher one.

    >>> at_least("warning", [Finding("first-step-zero", "note", "", "")])
    []
    """
    order = get_args(Severity)
    return [finding for finding in findings if order.index(finding.severity) <= order.index(severity)]


def _listed(groups: tuple[int, ...]) -> str:
    shown = ", ".join(map(str, groups[:6]))
    return shown if len(groups) <= 6 else f"{shown} and {len(groups) - 6} more"
