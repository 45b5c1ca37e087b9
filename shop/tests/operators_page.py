"""The tables of docs/operators.md and docs/security.md, for tests that compare them with the code."""

import re
from collections.abc import Mapping
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, SECURITY = DOCS / "operators.md", DOCS / "security.md"


def column(heading: str, name: str, *, page: Path = PAGE) -> dict[str, str]:
    """A column of the section's table: the cells by the first one of their row, without the marks of code."""
    section = re.split(rf"^## {re.escape(heading)}$", page.read_text(), flags=re.MULTILINE)[1]
    section = re.split(r"^## ", section, flags=re.MULTILINE)[0]
    lines = [line.strip().strip("|") for line in section.splitlines() if line.startswith("|")]
    names, _, *rows = [[cell.strip().strip("`") for cell in line.split("|")] for line in lines]
    at = names.index(name)
    return {row[0]: row[at] for row in rows}


def differences(heading: str, name: str, actual: Mapping[str, str], *, page: Path = PAGE) -> str:
    """What to write into the column, and which rows to delete; empty if the page says what is."""
    written = column(heading, name, page=page)
    wrong = [
        f"`{row}`, {name}: write {is_now}, not {written.get(row, 'nothing')}"
        for row, is_now in actual.items()
        if written.get(row) != is_now
    ]
    wrong += [f"`{row}`: delete the row" for row in written.keys() - actual.keys()]
    return "\n".join([f"docs/{page.name}, {heading}:", *wrong]) if wrong else ""
