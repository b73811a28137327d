"""The tables and pictures of warmup-length.md: linear warmups of several lengths, each at its best learning rate."""

from collections.abc import Mapping
from typing import NamedTuple

from matplotlib.axes import Axes
from tables import interval

from rectified.figures.drawing import saved
from rectified.figures.style import MUTED, canvas, look, styles
from rectified.figures.table import markdown
from rectified.study.analysis.comparisons import BestLr, Comparison
from rectified.study.analysis.results import StudyResults
from rectified.study.report.drawings.layout import BOTTOM, LEFT, RIGHT, TOP, dress
from rectified.study.report.export import group_mean
from rectified.study.storage.records import Record
from rectified.study.storage.store import Store

WIDTH, HEIGHT, LEGEND = 380, 230, 24  # pixels
NONE = "none"


class Arm(NamedTuple):
    """The methods that share task, number of steps and beta2, and differ in the warmup alone."""

    task: str
    steps: int
    beta2: str
    metric: str
    comparison: Comparison

    @property
    def best(self) -> dict[str, BestLr]:
        """Each warmup at its best lr, by what :func:`length` calls it."""
        return {length(method)[0]: best for method, best in self.comparison.best.items() if best is not None}


def length(method: str) -> tuple[str, str]:
    """The steps of a method's linear warmup, or what it has instead, and its beta2.

    >>> length("adam+linear-40(beta2=0.99)"), length("adam"), length("radam")
    (('40', '0.99'), ('none', '0.999'), ('radam', '0.999'))
    """
    name, _, options = method.partition("(")
    _, linear, steps = name.partition("+linear-")
    beta2 = options.removeprefix("beta2=").removesuffix(")")
    return steps if linear else {"adam": NONE}.get(name, name), beta2 or "0.999"


def arms(store: Store, tasks: Mapping[str, str]) -> list[Arm]:
    """The arms of a study, by task, number of steps and beta2.

    Args:
        tasks: parts of the names of tasks, of which the first that fits counts, with what a reader calls these; tasks
            that none fits are left out.
    """
    found = []
    for results in StudyResults.read(store).settings:
        task = next((title for part, title in tasks.items() if part in results.task.name), None)
        by_beta2: dict[str, list[Record]] = {}
        for record in results.records:
            by_beta2.setdefault(length(record.run.method)[1], []).append(record)
        for beta2, records in by_beta2.items():
            if task is not None:
                adam = next(r.run.method for r in records if length(r.run.method)[0] == NONE)
                (here,) = StudyResults.of(records, store.tasks(), baseline=adam).settings
                found.append(Arm(task, here.setting.steps, beta2, here.metric.label, here.comparison))
    order = list(tasks.values())
    return sorted(found, key=lambda arm: (order.index(arm.task), arm.steps, float(arm.beta2)))


def lengths(found: list[Arm]) -> list[str]:
    """The lengths in ascending order, behind no warmup and before RAdam."""
    names = {name for arm in found for name in arm.best}
    return sorted(names, key=_order)


def _order(name: str) -> tuple[bool, bool, int]:
    return name != NONE, not name.isdigit(), int(name) if name.isdigit() else 0


def table(store: Store, tasks: Mapping[str, str]) -> str:
    """Each length at its best lr, an arm a row.

    The best mean is bold; those that the study does not find worse are in italics.
    """
    found = arms(store, tasks)
    several = len({arm.beta2 for arm in found}) > 1
    names, rows = lengths(found), []
    for arm in found:
        worse = {length(d.baseline)[0] for d in arm.comparison.rivals if d.finding == "better"}
        leader = length(arm.comparison.leader or "")[0]
        cells = {}
        for name, best in arm.best.items():
            mark = "**" if name == leader else "" if name in worse else "*"
            cells[name] = f"{mark}{interval(list(best.values.values()))}{mark}, lr {best.lr:g}"
        head = [arm.task, f"{arm.steps:,}", *[arm.beta2] * several]
        rows.append([*head, *(cells.get(name, "–") for name in names)])
    return markdown(["task", "steps", *["beta2"] * several, *map(_head, names)], rows)


def at_each_lr(store: Store, task: str) -> str:
    """Every mean of one task: a length a row, a number of steps and an lr a column."""
    settings = sorted(
        (results for results in StudyResults.read(store).settings if task in results.task.name),
        key=lambda results: results.setting.steps,
    )
    rows = [
        [_head(length(method)[0]), *(group_mean(each.group(method, lr)) for each in settings for lr in each.lrs)]
        for method in sorted(settings[0].methods, key=lambda method: _order(length(method)[0]))
    ]
    heads = [f"{each.setting.steps:,} steps, lr {lr:g}" for each in settings for lr in each.lrs]
    return markdown(["warmup", *heads], rows)


def _head(name: str) -> str:
    return "none" if name == NONE else f"{name} steps" if name.isdigit() else "RAdam"


def picture(store: Store, tasks: Mapping[str, str]) -> bytes:
    """Each length at its best lr: a panel per task, a line per number of steps or beta2, a dot per run."""
    found = arms(store, tasks)
    titles = list(dict.fromkeys(arm.task for arm in found))
    several = len({arm.beta2 for arm in found}) > 1
    width, height = len(titles) * WIDTH, TOP + HEIGHT + BOTTOM + LEGEND
    with look():
        figure = canvas(width, height)
        for i, title in enumerate(titles):
            here = [arm for arm in found if arm.task == title]
            place = (i * WIDTH + LEFT) / width, (BOTTOM + LEGEND) / height
            axes = figure.add_axes((*place, (WIDTH - LEFT - RIGHT) / width, HEIGHT / height))
            dress(axes, f"{title}: {here[0].metric}")
            _draw(axes, {f"beta2 {arm.beta2}" if several else f"{arm.steps:,} steps": arm for arm in here})
    said = " ".join(
        f"{arm.task}, {arm.steps} steps, beta2 {arm.beta2}: "
        + ", ".join(f"{name} {best.mean:.2f}" for name, best in arm.best.items())
        + "."
        for arm in found
    )
    return saved(figure, "svg", "white", f"Final metric at the best lr by length of a linear warmup. {said}")


def _draw(axes: Axes, here: Mapping[str, Arm]) -> None:
    names = [name for name in lengths(list(here.values())) if name == NONE or name.isdigit()]
    for (label, arm), style in zip(here.items(), styles(list(here)).values(), strict=True):
        xs = [i for i, name in enumerate(names) if name in arm.best]
        bests = [arm.best[names[i]] for i in xs]
        axes.plot(xs, [best.mean for best in bests], color=style.color, linestyle=style.dash, label=label)
        for x, best in zip(xs, bests, strict=True):
            values = list(best.values.values())
            axes.plot([x] * len(values), values, style.marker, color=style.color, markersize=3.8, alpha=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.set_xlabel("steps of linear warmup")
    axes.margins(x=0.08)
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(0, -0.2),
        ncols=3,
        frameon=False,
        fontsize=10,
        labelcolor=MUTED,
        handlelength=3,
    )
