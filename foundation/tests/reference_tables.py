"""The tables of docs/reference/rights.md and access.md, which tests compare with the code, byte by byte.

`REFERENCE=write` has them written.
"""

import difflib
import os
from collections.abc import Mapping
from itertools import takewhile
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "reference"
RIGHTS, ACCESS = FOLDER / "rights.md", FOLDER / "access.md"
BY_HAND = ("permission", "what it opens", "lets")
"""Columns that are kept as they are."""


def column(heading: str, name: str, *, page: Path = RIGHTS) -> dict[str, str]:
    """A column of the section's table: the cells by the first one of their row, without the marks of code."""
    names, *rows = _read(page, heading)[1]
    at = names.index(name)
    return {row[0].strip("`"): row[at].strip("`") for row in rows}


def differences(heading: str, name: str, actual: Mapping[str, str], *, page: Path = RIGHTS) -> str:
    """What is to change in the page for this column: nothing if it says what is, or has just been written.

    The rows are those of `actual`, in its order, without those in which `-` is all that a test has found.
    """
    before, (names, *rows), after = _read(page, heading)
    at, known = names.index(name), {row[0].strip("`"): row for row in rows}
    changed = []
    for row, is_now in actual.items():
        unknown = [f"`{row}`", *("" if each in BY_HAND else "-" for each in names[1:])]
        cells = [*known.get(row, unknown)]
        cells[at] = is_now
        found = {cell for each, cell in zip(names[1:], cells[1:], strict=True) if each not in BY_HAND}
        if found != {"-"}:
            changed.append(cells)
    lines = [names, ["---"] * len(names), *changed]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines).replace("|  |", "| |")
    text, written = page.read_text(), f"{before}{table}{after}"
    if text == written:
        return ""
    if os.environ.get("REFERENCE") == "write":
        page.write_text(written)
        return ""
    told = difflib.unified_diff(
        text.splitlines(), written.splitlines(), f"docs/reference/{page.name}", "is", n=0
    )
    return "\n".join([*told, "`REFERENCE=write` writes it."])


def _read(page, heading):
    """The cells of the section's table with its names, and the text before and after it."""
    text = page.read_text()
    start = text.index("\n| ", text.index(f"\n## {heading}\n")) + 1
    lines = [*takewhile(lambda line: line.startswith("|"), text[start:].splitlines(keepends=True))]
    names, _, *rows = ([cell.strip() for cell in line.strip()[1:-1].split("|")] for line in lines)
    return text[:start], [names, *rows], text[start + len("".join(lines)) :]
