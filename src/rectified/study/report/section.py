"""What the page tells of one setting: numbers, drawings and the verdict, from its records."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property

from ...figures.style import Style
from ...workloads.tasks import Task, parse_task
from ..analysis.comparisons import Comparison, Difference
from ..analysis.formatting import number
from ..analysis.outcomes import Metric, Outcomes, Setting
from ..analysis.verdict import Verdict, judge
from ..config.methods import Method, parse
from ..config.runs import slug
from ..storage.records import Record, Status
from . import curves, forest
from . import final_metric as figures
from . import gradient_figures as gradients
from .draw import Drawing
from .plot_data import Curve, Group, OmegaLine, best_lrs, beyond, curve, groups, limits, omega_lines, shade, thin

WIDTHS = (820, 400)  # of a figure on a wide page and on a narrow one
_FILE = 460  # in a file
_LINES = 8  # that one picture can show


@dataclass(frozen=True)
class Panel:
    """One learning curve; no drawing where there is nothing to draw."""

    label: str
    drawing: Drawing | None
    outside: list[str]


@dataclass(frozen=True)
class Share:
    """The learning curves of so many methods as a picture can show."""

    methods: list[str]
    panels: list[Panel]
    stops: list[str]


@dataclass(frozen=True)
class AtLr:
    """The learning curves at one lr."""

    lr: float
    shares: list[Share]


@dataclass(frozen=True)
class Section:
    """One setting.

    Attributes:
        styles: of the whole study's methods.
        baseline: None is the first method.
        mark: what keeps its names apart from those of other settings, in ids and files.
    """

    setting: Setting
    records: Sequence[Record]
    styles: Mapping[str, Style]
    baseline: str | None = None
    mark: str = ""

    @cached_property
    def task(self) -> Task:
        return parse_task(self.setting.task)

    @cached_property
    def metric(self) -> Metric:
        return Metric.of(self.task)

    @property
    def title(self) -> str:
        return self.setting.title

    @cached_property
    def _judged(self) -> tuple[Verdict, Comparison]:
        return judge(Outcomes.of(self.records, self.metric.key), self.metric, self.baseline)

    @property
    def verdict(self) -> Verdict:
        return self._judged[0]

    @property
    def comparison(self) -> Comparison:
        return self._judged[1]

    @cached_property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(record.cell.method for record in self.records))

    @cached_property
    def lrs(self) -> list[float]:
        return sorted({record.cell.lr for record in self.records})

    @cached_property
    def seeds(self) -> list[int]:
        return sorted({record.cell.seed for record in self.records})

    @cached_property
    def steps(self) -> int:
        """Those of a run."""
        return self.setting.epochs * self.task.steps_per_epoch(self.setting.batch_size)

    @cached_property
    def counts(self) -> Counter[Status]:
        return Counter(record.status for record in self.records)

    @cached_property
    def groups(self) -> list[Group]:
        return groups(self.records, self.metric.key)

    @property
    def table(self) -> dict[str, dict[float, Group]]:
        return {method: {group.lr: group for group in self.groups if group.method == method} for method in self.methods}

    @property
    def best(self) -> set[tuple[str, float]]:
        return best_lrs(self.groups, self.metric.larger_is_better)

    @property
    def _top(self) -> float:
        means = [group.mean for group in self.groups if group.whole]
        return (max if self.metric.larger_is_better else min)(means, default=0.0)

    @property
    def shades(self) -> dict[tuple[str, float], int]:
        """Of the heat map: 0 where a mean leaves something out."""
        return {
            (group.method, group.lr): shade(group.mean, self._top, self.metric.margin) if group.whole else 0
            for group in self.groups
        }

    @property
    def differences(self) -> list[Difference]:
        return forest.rows(self.comparison)

    @property
    def forest(self) -> list[Drawing]:
        return [self._forest(width, f"forest{self.mark}-{width}") for width in WIDTHS if self.differences]

    def _forest(self, width: int, name: str) -> Drawing:
        return forest.forest(self.comparison, self.styles, self.metric, width, name)

    @cached_property
    def robustness(self) -> "list[Robustness]":
        """None where no run has ended, else one for as many methods as a picture can show."""
        if not any(group.values or group.counts["diverged"] for group in self.groups):
            return []
        shares = self._shares(self.methods)
        return [Robustness(self, share, f"{self.mark}{_part(i, shares)}") for i, share in enumerate(shares)]

    def _shares(self, methods: Sequence[str]) -> list[list[str]]:
        """The methods in equal shares, each with the one that they are compared with."""
        shares = math.ceil((len(methods) - 1) / (_LINES - 1))
        if shares < 2:
            return [list(methods)]
        first = self.comparison.baseline if self.comparison.baseline in methods else methods[0]
        rest = [method for method in methods if method != first]
        size = math.ceil(len(rest) / shares)
        return [[first, *rest[i : i + size]] for i in range(0, len(rest), size)]

    @property
    def thinned(self) -> bool:
        return len(thin(self.setting.epochs)) < self.setting.epochs

    @cached_property
    def curves(self) -> list[AtLr]:
        return [self._curves(lr) for lr in self.lrs]

    def _curves(self, lr: float) -> AtLr:
        here = [record for record in self.records if record.cell.lr == lr]
        shares = self._shares(list(dict.fromkeys(record.cell.method for record in here)))
        return AtLr(lr, [self._share(lr, share, _part(i, shares), here) for i, share in enumerate(shares)])

    def _share(self, lr: float, methods: list[str], part: str, here: Sequence[Record]) -> Share:
        of = {method: [record for record in here if record.cell.method == method] for method in methods}
        panels = []
        for key, label, larger in (
            ("train_loss", "train loss", False),
            (self.metric.key, self.metric.label, self.metric.larger_is_better),
        ):
            found = [curve(method, of[method], key) for method in methods]
            panels.append(self._panel(found, label, larger, f"curve{self.mark}-{lr:g}-{key}{part}".replace("+", "")))
        stops = [
            f"{record.cell.method}, seed {record.cell.seed}, in epoch {len(record.rows) + 1}"
            for record in here
            if record.cell.method in methods and record.status == "diverged"
        ]
        return Share(methods, panels, stops)

    def _panel(self, found: Sequence[Curve], label: str, larger: bool, name: str) -> Panel:
        ylim = limits([run for c in found for run in c.runs], larger)
        lines = (
            omega_lines(_parsed([c.method for c in found]), self.steps, within=True) if label == "train loss" else []
        )
        drawn = any(c.epochs or c.stops for c in found)
        drawing = curves.learning(found, self.styles, label, ylim, self.steps, name, lines) if drawn else None
        outside = [f"{c.method} (to {number(max(far, key=abs), 1)})" for c in found if (far := beyond(c.runs, *ylim))]
        return Panel(label, drawing, outside)

    @cached_property
    def lines(self) -> list[OmegaLine]:
        known = _parsed(self.methods)
        return omega_lines(known, self.steps) if known else []

    @property
    def unfinished(self) -> list[OmegaLine]:
        return [line for line in self.lines if line.unfinished(self.steps)]

    @property
    def unknown(self) -> list[str]:
        known = {name for line in self.lines for name in line.methods}
        return [method for method in self.methods if method not in known]

    @property
    def omegas(self) -> list[Drawing]:
        return [self._omegas(width, f"omega{self.mark}-{width}") for width in WIDTHS if self.lines]

    def _omegas(self, width: int, name: str) -> Drawing:
        return curves.omegas(self.lines, self.styles, self.steps, width, name)

    @cached_property
    def gradients(self) -> list[Drawing]:
        """Of each method and lr the first seed that has histograms."""
        found: dict[tuple[str, float], Record] = {}
        for record in self.records:
            if record.gradients:
                found.setdefault((record.cell.method, record.cell.lr), record)
        within = gradients.extent([record.gradients for record in found.values()])
        return [
            gradients.histograms(
                record.gradients,
                self.styles[method],
                f"{method}, lr {lr:g}, seed {record.cell.seed}",
                within,
                f"gradients{self.mark}-{slug(method)}-{lr:g}".replace("+", "-"),
            )
            for (method, lr), record in found.items()
        ]

    def files(self) -> list[Drawing]:
        """The figures for files, each once, at the width of a column."""
        found = [panel.drawing for at in self.curves for share in at.shares for panel in share.panels if panel.drawing]
        found += [each.draw(_FILE, f"metric-by-lr{each.mark}") for each in self.robustness]
        if any(group.values for group in self.groups):
            label, margin = self.metric.label, self.metric.margin
            found.append(figures.heat_map(self.groups, self._top, margin, label, f"heat-map{self.mark}"))
        if self.differences:
            found.append(self._forest(680, f"differences{self.mark}"))
        if self.lines:
            found.append(self._omegas(_FILE, f"omega{self.mark}"))
        return found + self.gradients


class Robustness:
    """The figure of the metric against lr, and what it leaves out."""

    def __init__(self, section: Section, methods: list[str], mark: str) -> None:
        self.methods, self.mark, self._section = methods, mark, section
        self._groups = [group for group in section.groups if group.method in methods]
        values = [[value] for group in section.groups for value in group.values]
        self._ylim = limits(values, section.metric.larger_is_better)  # the same for all shares

    def draw(self, width: int, name: str) -> Drawing:
        s = self._section
        looks = {method: s.styles[method] for method in self.methods}
        return figures.robustness(self._groups, looks, s.metric.label, self._ylim, width, name)

    @property
    def figures(self) -> list[Drawing]:
        return [self.draw(width, f"robustness{self.mark}-{width}") for width in WIDTHS]

    @property
    def partial(self) -> bool:
        return any(group.values and not group.whole for group in self._groups)

    @property
    def diverged(self) -> bool:
        return any(group.counts["diverged"] for group in self._groups)

    @property
    def undrawn(self) -> list[str]:
        left: tuple[Status, ...] = ("failed", "missing")
        counts = {status: sum(group.counts[status] for group in self._groups) for status in left}
        return [f"{counts[status]} {status}" for status in left if counts[status]]

    @property
    def outside(self) -> list[float]:
        return beyond([[value] for group in self._groups for value in group.values], *self._ylim)


def _part(i: int, shares: Sequence[object]) -> str:
    """In the names of what there are several of."""
    return f"-{i + 1}" if len(shares) > 1 else ""


def _parsed(names: Sequence[str]) -> list[Method]:
    """Those that this version knows: a folder may come from another one."""
    known = []
    for name in names:
        with suppress(ValueError):
            known.append(parse(name))
    return known
