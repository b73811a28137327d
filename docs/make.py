"""Remakes what is made: the committed studies' reports and tables, the README's picture, the tables in the pages.

    make docs

The studies themselves are run by the commands in their study.json, and in the pages that show them.
"""

from pathlib import Path

import tables
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


def insert(page: str, tables: dict[str, str]) -> None:
    """Put each table between its marks in the page."""
    path = HERE / page
    text = path.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name}: made by make docs -->\n", f"\n<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{table.strip()}\n{end}{rest.split(end)[1]}"
    path.write_text(text)
    print(path)


def main() -> None:
    for folder in sorted((HERE / "studies").iterdir()):
        store = Store.open(folder)
        store.write_tables(parse_task(store.head["task"]).metric)
        print(write_report(store))
    orders = Store.open(HERE / "studies" / "orders")
    large = Store.open(HERE / "studies" / "large-gradients")
    insert(
        "first-order-or-exact.md",
        {
            "accuracies": tables.intervals(orders),
            "differences": tables.differences(
                orders,
                [
                    (f"{method}{beta2}", f"radam{beta2}")
                    for beta2 in ("", "(beta2=0.95)")
                    for method in ("radam-paper", "radam-hold", "radam-exact")
                ],
            ),
            "large gradients": tables.intervals(large),
        },
    )
    insert(
        "mathematics.md",
        {
            "variance": tables.variances(),
            "periods": tables.effective_periods(),
            "assumptions": tables.assumptions(),
        },
    )
    store = Store.open(HERE / "studies" / "fashion-mnist")
    path = HERE / "pictures" / "fashion-mnist.svg"
    path.parent.mkdir(exist_ok=True)
    path.write_text(picture(store))
    print(path)


if __name__ == "__main__":
    main()
