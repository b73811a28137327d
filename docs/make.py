"""Remakes what is made: the committed studies' reports and tables, the README's picture, the tables in the pages.

    make docs

The studies themselves are run by the commands in their study.json, and in the pages that show them.
"""

import json
from pathlib import Path

import tables
from markupsafe import escape

from rectified.bench.picture import picture as bench_picture
from rectified.bench.results import Results
from rectified.bench.tables import remarks, sheets
from rectified.figures.style import standing, styles
from rectified.figures.table import markdown
from rectified.files import write
from rectified.study import Store
from rectified.study.report import figures, write_figures, write_report
from rectified.study.report.numbers import groups, limits
from rectified.study.tasks import parse_task

HERE = Path(__file__).parent
WIDTH, LEGEND = 760, 40


def picture(store: Store) -> str:
    """The report's robustness figure, standing alone: its own legend, and colours for light and dark."""
    task = parse_task(store.cells()[0].task)
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
    inner = figure.replace("<svg ", f'<svg y="{LEGEND}" width="{WIDTH}" height="{height - LEGEND}" ', 1)
    return standing("".join(keys) + inner, WIDTH, height)


def insert(page: str, tables: dict[str, str]) -> None:
    """Put each table between its marks in the page."""
    path = (HERE / page).resolve()
    text = path.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name}: made by make docs -->\n", f"\n<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = f"{before}{begin}\n{table.strip()}\n{end}{rest.split(end)[1]}"
    path.write_text(text)
    print(path)


def main() -> None:
    for file in sorted((HERE / "studies").glob("*/study.json")):
        store = Store.open(file.parent)
        store.write_tables()
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
    bench = Results.of(json.loads((HERE / "bench" / "bench.json").read_text()))
    found = {name: sheet.markdown() for name, sheet in sheets(bench, quartiles=True).items()}
    insert("bench.md", {**found, "remarks": "\n\n".join(remarks(bench))})
    peers, width = sheets(bench, quartiles=False)["peers"], 1 + len(bench.outcomes)
    insert("../README.md", {"bench": markdown(peers.heads[:width], [row[:width] for row in peers.rows])})
    write(HERE / "pictures" / "bench.svg", bench_picture(bench))
    store = Store.open(HERE / "studies" / "fashion-mnist")
    write_figures(store)
    write(HERE / "pictures" / "fashion-mnist.svg", picture(store))
    insert("study.md", {"verdict": tables.verdict(store)})


if __name__ == "__main__":
    main()
