"""Columns of numbers with names, which a figure draws and its CSV holds; and sheets of text, for a reader."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of the same names. A number that does not exist is NaN, one that is infinite is infinite.

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
        """The rows that hold these values."""
        return Table(tuple(row for row in self.rows if all(row[name] == value for name, value in values.items())))

    def keep(self, wanted: Callable[[dict[str, Any]], bool]) -> "Table":
        """The rows that are wanted."""
        return Table(tuple(row for row in self.rows if wanted(row)))

    def columns(self, *names: str) -> "Table":
        """The columns of these names; one that ends in * stands for all that begin so."""
        wanted = [
            column
            for name in names
            for column in self.rows[0]
            if column == name or (name.endswith("*") and column.startswith(name[:-1]))
        ]
        return Table(tuple({column: row[column] for column in wanted} for row in self.rows))

    def at(self, name: str, **values: Any) -> Any:
        """The one value of the row that holds these values."""
        (value,) = self.where(**values)[name]
        return value

    def csv(self) -> str:
        """As CSV: every digit of a number, nothing for one that does not exist, inf for an infinite one."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in self.rows)
        return text.getvalue()


@dataclass(frozen=True)
class Sheet:
    """A table of texts, the first of each row its name."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]

    def markdown(self) -> str:
        """For a Markdown page, without the title."""
        return markdown(self.heads, self.rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table for a Markdown page, its first column to the left and the others to the right."""
    lines = [heads, ["---", *("---:" for _ in heads[1:])], *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _cell(value: Any) -> Any:
    return "" if isinstance(value, float) and math.isnan(value) else value
