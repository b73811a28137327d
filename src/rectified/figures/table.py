"""Tables: columns of numbers for figures and CSV files, and sheets of text for readers."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows with the same column names. A number that does not exist is NaN.

    >>> table = Table.of({"t": t, "beta2": 0.9, "half": t / 2} for t in (1, 2))
    >>> table["half"], table.where(t=2)["half"], table.at("half", t=2)
    ([0.5, 1.0], [1.0], 1.0)
    >>> print(table.csv(), end="")
    t,beta2,half
    1,0.9,0.5
    2,0.9,1.0
    """

    rows: tuple[dict[str, Any], ...]

    @classmethod
    def of(cls, rows: Iterable[dict[str, Any]]) -> "Table":
        return cls(tuple(rows))

    def __getitem__(self, name: str) -> list[Any]:
        return [row[name] for row in self.rows]

    def where(self, **values: Any) -> "Table":
        """The rows with these values."""
        return Table(tuple(row for row in self.rows if all(row[name] == value for name, value in values.items())))

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> "Table":
        """The rows for which `wanted` is true."""
        return Table(tuple(row for row in self.rows if wanted(row)))

    def columns(self, *names: str) -> "Table":
        """The columns with these names; a name that ends in * means all columns with that prefix."""
        wanted = [
            column
            for name in names
            for column in self.rows[0]
            if column == name or (name.endswith("*") and column.startswith(name[:-1]))
        ]
        return Table(tuple({column: row[column] for column in wanted} for row in self.rows))

    def at(self, name: str, **values: Any) -> Any:
        """The value in column `name` of the one row with these values."""
        (value,) = self.where(**values)[name]
        return value

    def csv(self) -> str:
        """The table as CSV: all digits of a number, an empty field for NaN, inf for infinity."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Sheet:
    """A table of texts, in which the first cell of each row is the row's name."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """The table as Markdown, without the title."""
        return markdown(self.heads, self.rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Format a table as Markdown: the first column aligned left, the others right."""
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
