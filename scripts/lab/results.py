"""The rows of all measurements, kept in a file: a new row takes the place of the one before it."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from scripts import places
from scripts.setup_error import SetupError

Row = dict[str, Any]
FILE = "results.json"


def read(folder: Path) -> list[Row]:
    """All rows there are. Raises SetupError when the file is no such thing."""
    path = folder / FILE
    if not path.exists():
        return []
    try:
        return list(json.loads(path.read_text())["rows"])
    except (ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{path} can't be read ({error!r}): mend it, or remove it") from error


def merged(rows: Sequence[Row], new: Row, *, order: Sequence[str]) -> list[Row]:
    """The rows with the new one in its place; scenarios in that order, then by strategy as first measured."""
    kept = [new if key(row) == key(new) else row for row in rows]
    if new not in kept:
        kept.append(new)
    return sorted(kept, key=lambda row: _place(row["scenario"], order))


def key(row: Row) -> tuple[str, str, str]:
    """What there is one row of."""
    return row["scenario"], row["strategy"], row["variant"]


def write(folder: Path, rows: Iterable[Row]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    places.write_whole(folder / FILE, json.dumps({"rows": list(rows)}, indent=1, ensure_ascii=False) + "\n")


def _place(scenario: str, order: Sequence[str]) -> int:
    return order.index(scenario) if scenario in order else len(order)
