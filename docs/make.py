"""Remakes what is made: the example study's report and tables, and the README's picture of it.

    make docs

The study itself is run by `rectified study fashion-mnist --epochs 8 --out docs/studies/fashion-mnist`.
"""

from pathlib import Path

from markupsafe import escape

from rectified.figures.style import css_variables, styles
from rectified.study import Store
from rectified.study.report import figures, write_report
from rectified.study.report.numbers import groups, limits
from rectified.study.tasks import parse_task

HERE = Path(__file__).parent
WIDTH, LEGEND = 760, 40


def picture(store: Store) -> str:
    """The report's robustness figure, standing alone: its own legend, and colours for light and dark."""
    task = parse_task(store.head["task"])
    records = store.records()
    looks = styles(list(dict.fromkeys(record.cell.method for record in records)))
    found = groups(records, task.metric)
    bounds = limits([[value] for group in found for value in group.values], task.larger_is_better)
    figure = str(figures.robustness(found, looks, task.metric_label, bounds, WIDTH, "picture"))
    height = LEGEND + float(figure.split('viewBox="')[1].split('"')[0].split()[3])
    keys, x = [], 54
    for method, style in looks.items():
        label = f'<text x="{x + 46}" y="19" style="fill:var(--ink)">{escape(method)}</text>'
        keys.append(f'<g transform="translate({x},8)">{figures.key(style)}</g>{label}')
        x += 80 + 8 * len(method)
    css = (
        f"svg{{{css_variables(dark=False)} font:13px system-ui,sans-serif}}"
        f"@media(prefers-color-scheme:dark){{svg{{{css_variables(dark=True)}}}}}"
    )
    inner = figure.replace("<svg ", f'<svg y="{LEGEND}" width="{WIDTH}" height="{height - LEGEND}" ', 1)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<style>{css}</style>{''.join(keys)}{inner}</svg>\n"
    )


def main() -> None:
    store = Store.open(HERE / "studies" / "fashion-mnist")
    store.write_tables(parse_task(store.head["task"]).metric)
    print(write_report(store))
    path = HERE / "pictures" / "fashion-mnist.svg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(picture(store))
    print(path)


if __name__ == "__main__":
    main()
