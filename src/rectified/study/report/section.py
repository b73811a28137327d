"""The part of the report for one setting: its numbers, drawings and verdict."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ...figures.drawing import Drawing
from ...figures.style import Style
from ...workloads.tasks.task_info import TaskInfo
from ..analysis.comparisons import Comparison, Difference
from ..analysis.formatting import number
from ..analysis.groups import Group
from ..analysis.outcomes import Fate, Metric
from ..analysis.results import FinalMetric, Setting, SettingResults
from ..analysis.verdict import Verdict
from ..config.method import Method
from ..config.methods import read_method
from ..config.runs import short_digest, slug
from ..execution.first_steps import EVERY_STEP
from ..storage.records import Record, Status
from .drawings import curves, final_metric, forest, gradient_histograms
from .plot_data import Curve, OmegaLine, beyond, curve, limits, omega_lines, shade, step_curve, thin

_LINES = 8  # the most that one picture can show
_GAPS: tuple[Fate, ...] = ("diverged", "failed", "missing")


@dataclass(frozen=True)
class Panel:
    """One panel of learning curves; its drawing is None if there is nothing to draw."""

    label: str
    drawing: Drawing | None
    outside: list[str]


@dataclass(frozen=True)
class Share:
    """The learning curves of as many methods as one picture can show."""

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
    """The part of the report for one setting.

    Attributes:
        styles: the styles of all methods in the study.
        mark: a suffix that makes ids and file names unique to this setting.
    """

    results: SettingResults
    styles: Mapping[str, Style]
    mark: str = ""

    @property
    def setting(self) -> Setting:
        return self.results.setting

    @property
    def records(self) -> Sequence[Record]:
        return self.results.records

    @property
    def task(self) -> TaskInfo:
        return self.results.task

    @property
    def metric(self) -> Metric:
        return self.results.metric

    @property
    def title(self) -> str:
        return self.setting.title

    @property
    def verdict(self) -> Verdict:
        return self.results.verdict

    @property
    def comparison(self) -> Comparison:
        return self.results.comparison

    @property
    def methods(self) -> Sequence[str]:
        return self.results.methods

    @property
    def lrs(self) -> Sequence[float]:
        return self.results.lrs

    @property
    def seeds(self) -> Sequence[int]:
        return self.results.seeds

    @property
    def counts(self) -> Counter[Status]:
        return self.results.counts

    @property
    def groups(self) -> Sequence[Group]:
        return self.results.groups

    @property
    def final(self) -> Sequence[FinalMetric]:
        return self.results.final

    @cached_property
    def steps(self) -> int:
        """The number of steps in a run."""
        return self.setting.steps or max((record.step for record in self.records), default=0)

    @property
    def table(self) -> dict[str, dict[float, Group]]:
        return {method: {group.lr: group for group in self.groups if group.method == method} for method in self.methods}

    @property
    def best(self) -> set[tuple[str, float]]:
        """Each method with its best lr."""
        return set(self.results.best_lrs.items())

    @property
    def _top(self) -> float:
        means = [group.mean for group in self.groups if len(group.values) == group.runs]
        return (max if self.metric.larger_is_better else min)(means, default=0.0)

    @property
    def shades(self) -> dict[tuple[str, float], int]:
        """The heat map's shade for each mean; 0 if runs are missing from the mean."""
        return {
            (group.method, group.lr): (
                shade(group.mean, self._top, self.metric.margin) if len(group.values) == group.runs else 0
            )
            for group in self.groups
        }

    @property
    def differences(self) -> list[Difference]:
        return forest.rows(self.comparison)

    @property
    def forest(self) -> Drawing | None:
        if not self.differences:
            return None
        return forest.forest(self.comparison, self.styles, self.metric, f"differences{self.mark}")

    @cached_property
    def robustness(self) -> "list[MetricByLr]":
        """The figures of the metric by lr, one per share of methods; empty if no run has ended."""
        if not any(group.values for group in self.groups):
            return []
        shares = self._shares(self.methods)
        return [MetricByLr(self, share, f"{self.mark}{_part(i, shares)}") for i, share in enumerate(shares)]

    def _shares(self, methods: Sequence[str]) -> list[list[str]]:
        """Split the methods into equal shares that fit a picture, each with the baseline."""
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
        if not self.steps:  # results from elsewhere have no learning curves
            return []
        return [self._curves(lr) for lr in self.lrs]

    def _curves(self, lr: float) -> AtLr:
        here = [record for record in self.records if record.run.lr == lr]
        shares = self._shares(list(dict.fromkeys(record.run.method for record in here)))
        return AtLr(lr, [self._share(lr, share, _part(i, shares), here) for i, share in enumerate(shares)])

    def _share(self, lr: float, methods: list[str], part: str, here: Sequence[Record]) -> Share:
        of = {method: [record for record in here if record.run.method == method] for method in methods}
        panels = []
        drawn = f"curve{self.mark}-{lr:g}-{{}}{part}".replace("+", "")
        shown = [("train_loss", "train loss", False)]
        key, label = self.metric.by_epoch
        if key != "train_loss":
            shown.append((key, label, self.metric.larger_is_better))
        for key, label, larger in shown:
            found = [curve(method, of[method], key) for method in methods]
            panels.append(self._panel(found, label, larger, drawn.format(key), self.steps))
        first = min(EVERY_STEP, self.steps)
        if any(record.steps for record in here):
            found = [step_curve(method, of[method], first) for method in methods]
            panels.append(self._panel(found, f"loss of the first {first} steps", False, drawn.format("first"), first))
        stops = [
            f"{record.run.method}, seed {record.run.seed}, in epoch {len(record.rows) + 1}"
            for record in here
            if record.run.method in methods and record.status == "diverged"
        ]
        return Share(methods, panels, stops)

    def _panel(self, found: Sequence[Curve], label: str, larger: bool, name: str, steps: int) -> Panel:
        ylim = limits([run for c in found for run in c.runs], larger)
        known = self._known([c.method for c in found]) if label != self.metric.by_epoch[1] else []
        lines = omega_lines(known, steps, within=True)
        drawn = any(c.epochs or c.stops for c in found)
        drawing = curves.learning(found, self.styles, label, ylim, steps, name, lines) if drawn else None
        outside = [f"{c.method} (to {number(max(far, key=abs), 1)})" for c in found if (far := beyond(c.runs, *ylim))]
        return Panel(label, drawing, outside)

    @cached_property
    def lines(self) -> list[OmegaLine]:
        known = self._known(self.methods)
        return omega_lines(known, self.steps) if known else []

    def _known(self, names: Sequence[str]) -> list[Method]:
        """The methods whose omega is known without importing other people's code, and the same in every run."""
        found = [read_method(name) for name in names] if self.steps else []
        return [method.over(self.steps) for method in found if method is not None and not method.observes]

    @property
    def unfinished(self) -> list[OmegaLine]:
        return [line for line in self.lines if line.unfinished(self.steps)]

    @property
    def unknown(self) -> list[str]:
        known = {name for line in self.lines for name in line.methods}
        return [method for method in self.methods if method not in known and method not in self.observed]

    @cached_property
    def observed(self) -> list[str]:
        """The methods whose omega depends on the run."""
        found = {name: read_method(name) for name in self.methods}
        return [name for name, method in found.items() if method is not None and method.observes]

    @property
    def omegas(self) -> Drawing | None:
        return curves.omegas(self.lines, self.styles, self.steps, f"omega{self.mark}") if self.lines else None

    @cached_property
    def gradients(self) -> list[Drawing]:
        """The gradient histograms of each method and lr, for the first seed that has them."""
        found: dict[tuple[str, float], Record] = {}
        for record in self.records:
            if record.gradients:
                found.setdefault((record.run.method, record.run.lr), record)
        within = gradient_histograms.extent([record.gradients for record in found.values()])
        return [
            gradient_histograms.histograms(
                record.gradients,
                self.styles[method],
                f"{method}, lr {lr:g}, seed {record.run.seed}",
                within,
                f"gradients{self.mark}-{self._file_names[method]}-{lr:g}",
            )
            for (method, lr), record in found.items()
        ]

    @cached_property
    def _file_names(self) -> dict[str, str]:
        """The part of a file's name that says which method it is of."""
        names = {method: slug(method)[:60].replace("+", "-") for method in self.methods}
        alike = Counter(names.values())
        return {m: name if alike[name] == 1 else f"{name}-{short_digest(m)}" for m, name in names.items()}

    def files(self) -> list[Drawing]:
        """The figures that are also written to files."""
        found = [panel.drawing for at in self.curves for share in at.shares for panel in share.panels if panel.drawing]
        found += [each.drawing for each in self.robustness]
        if any(group.values for group in self.groups):
            label, margin = self.metric.label, self.metric.margin
            found.append(final_metric.heat_map(self.groups, self._top, margin, label, f"heat-map{self.mark}"))
        found += [drawing for drawing in (self.forest, self.omegas) if drawing]
        return found + self.gradients


class MetricByLr:
    """The figure of the metric by lr, and what it leaves out."""

    def __init__(self, section: Section, methods: list[str], mark: str) -> None:
        self.methods, self.mark, self._section = methods, mark, section
        self._groups = [group for group in section.groups if group.method in methods]
        values = [[value] for group in section.groups for value in group.values]
        self._ylim = limits(values, section.metric.larger_is_better)  # the same for all shares

    @property
    def drawing(self) -> Drawing:
        s = self._section
        looks = {method: s.styles[method] for method in self.methods}
        return final_metric.robustness(self._groups, looks, s.metric.label, self._ylim, f"metric-by-lr{self.mark}")

    @property
    def partial(self) -> bool:
        return any(group.values and not group.whole for group in self._groups)

    @property
    def lost(self) -> bool:
        return any(group.lost for group in self._groups)

    @property
    def undrawn(self) -> list[str]:
        here = {group.method for group in self._groups}
        runs = [
            run for method in here for at in self._section.results.outcomes.runs[method].values() for run in at.values()
        ]
        counts = Counter(run.fate for run in runs if not run.settled)
        return [f"{counts[fate]} {fate}" for fate in _GAPS if counts[fate]]

    @property
    def outside(self) -> list[float]:
        return beyond([[value] for group in self._groups for value in group.values], *self._ylim)


def _part(i: int, shares: Sequence[object]) -> str:
    """A suffix for names if there are several shares."""
    return f"-{i + 1}" if len(shares) > 1 else ""
