"""The rows of all measurements, kept in a file: a new row takes the place of the one before it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lab.bench.report import documents

Row = dict[str, Any]
FILE = "results.json"


def read(folder: Path) -> list[Row]:
    """All rows there are. Raises SetupError when the file has none."""
    return list(documents.read(folder / FILE, lambda content: list(content["rows"]), without=[]))


def merged(rows: Sequence[Row], new: Row, *, order: Sequence[str]) -> list[Row]:
    """The rows with the new one in its place; scenarios in that order, then by strategy as first measured."""
    kept = [new if key(row) == key(new) else row for row in rows]
    if new not in kept:
        kept.append(new)
    return sorted(kept, key=lambda row: [*order, row["scenario"]].index(row["scenario"]))


def key(row: Row) -> tuple[str, str, str]:
    """There is one row of each."""
    return row["scenario"], row["strategy"], row["variant"]


def write(folder: Path, rows: Iterable[Row]) -> None:
    documents.write(folder / FILE, {"rows": list(rows)})
