"""Remakes what is made: the committed studies' reports and tables, the pictures, the tables in the pages.

    make docs

The studies themselves are run by the commands in their study.json, and in the pages that show them.
"""

import json
import sys
from pathlib import Path

import draw
import eight_bit
import guarded
import lengths
import need
import tables

from rectified.bench.picture import picture as bench_picture
from rectified.bench.ratios import Results
from rectified.bench.tables import remarks, sheets
from rectified.files import write
from rectified.study.analysis.results import StudyResults
from rectified.study.report import write_figures, write_report
from rectified.study.storage.store import Store

HERE = Path(__file__).parent
sys.path.append(str(HERE / "museum"))

import table as museum  # noqa: E402  # in the folder above


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
        results = StudyResults.read(store)
        store.write_tables(results.by_key)
        print(write_report(results, store.out))
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
            "family": tables.family(),
        },
    )
    insert("reference/command-line.md", tables.command_help())
    insert("check.md", {"rates": museum.rates(), "mistakes": museum.mistakes(), "recipes": museum.recipes()})
    bench = Results.of(json.loads((HERE / "bench" / "bench.json").read_text()))
    found = {name: sheet.markdown() for name, sheet in sheets(bench, quartiles=True).items()}
    insert("bench.md", {**found, "remarks": "\n\n".join(remarks(bench))})
    write(HERE / "pictures" / "bench.svg", bench_picture(bench))
    store = Store.open(HERE / "studies" / "fashion-mnist")
    write_figures(StudyResults.read(store), store.out)
    write(HERE / "pictures" / "fashion-mnist.svg", draw.robustness(store))
    insert("study.md", {"verdict": tables.verdict(store)})
    alternatives = Store.open(HERE / "studies" / "alternatives")
    cost = json.loads((HERE.parent / "benchmarks" / "results" / "method_cost.json").read_text())
    insert("alternatives.md", {"alternatives": tables.best_and_cost(alternatives, cost)})
    insert("reproduction.md", {"fashion-mnist control": tables.beyond_lr(store)})
    make_lengths()
    make_truth_set()
    make_guarded()
    make_eight_bit()
    make_reproduction()


def make_lengths() -> None:
    """The tables and pictures of how long a warmup should be."""
    gpt = {"norm=post": "GPT, post-norm", "language-model-gpt": "GPT, pre-norm"}
    cnn = {"fashion-mnist-mini": "small CNN"}
    for study, name in (("warmup-length", "lengths"), ("warmup-beta2", "lengths by beta2")):
        store = Store.open(HERE / "studies" / study)
        found = {f"{name}, gpt": lengths.table(store, gpt), f"{name}, cnn": lengths.table(store, cnn)}
        if study == "warmup-length":
            found["gpt at each lr"] = lengths.at_each_lr(store, "norm=post")
        insert("warmup-length.md", found)
        write(HERE / "pictures" / f"{study}.svg", lengths.picture(store, {**gpt, **cnn}))


def make_truth_set() -> None:
    """The scores of the probe's verdict on the truth set."""
    found = need.cells(need.read(HERE.parent / "benchmarks" / "results" / "truth_set.jsonl.gz"))
    made = {"answers": need.answers, "calls": need.called, "regrets": need.regrets, "by reach": need.by_reach}
    trials = need.read(HERE.parent / "benchmarks" / "results" / "trials.jsonl")
    insert("probe.md", {name: make(found) for name, make in made.items()} | {"trials": need.tried(found, trials)})
    write(HERE / "pictures" / "need.svg", need.picture(found))


def make_guarded() -> None:
    """The tables of the warmup that observes the run."""
    insert("guarded-warmup.md", guarded.page_tables())


def make_eight_bit() -> None:
    """The tables of moments in 8 bits."""
    insert("eight-bit.md", eight_bit.page_tables())


def make_reproduction() -> None:
    """The tables and pictures of what the paper claims."""
    transformer = Store.open(HERE / "studies" / "multi30k")
    warmed = ["radam", "adam+linear-500", "adam+untuned-linear"]
    bleu = Store.open(HERE / "studies" / "bleu")
    cifar = Store.open(HERE / "studies" / "cifar10")
    words = Store.open(HERE / "studies" / "wikitext")
    insert(
        "reproduction.md",
        {
            "translation": tables.intervals(transformer, methods=["adam", *warmed]),
            "translation differences": tables.differences(
                transformer,
                [("adam", "radam"), ("radam", "adam+linear-500"), ("adam+untuned-linear", "adam+linear-500")],
                "valid_loss",
            ),
            "translation control": tables.beyond_lr(transformer),
            "gradients": tables.first_gradients(transformer, (1, 2, 5, 10, 50, 100), ["adam", *warmed]),
            "bleu": tables.ends(bleu, {"bleu": "BLEU", "valid_ppl": "validation perplexity"}, seed=0),
            "other methods": tables.ends(
                transformer, {"valid_ppl": "validation perplexity", "valid_loss": "validation loss"}, seed=0
            ),
            "cifar10": tables.intervals(cifar),
            "cifar10 control": tables.beyond_lr(cifar),
            "cifar10 differences": tables.differences(cifar, [("radam", "adam"), ("radam", "sgd")]),
            "wikitext": tables.intervals(words, "test_ppl"),
            "wikitext differences": tables.differences(
                words, [("radam", "adam"), ("adam+untuned-linear", "radam")], "valid_loss"
            ),
        },
    )
    write(HERE / "pictures" / "transformer.svg", draw.loss(transformer, ["adam", *warmed]))
    write(HERE / "pictures" / "cifar10.svg", draw.robustness(cifar))
    write(HERE / "pictures" / "gradients.svg", draw.gradients(transformer, ["adam", *warmed]))


if __name__ == "__main__":
    main()
