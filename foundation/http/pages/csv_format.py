"""CSV for spreadsheets: UTF-8 with a byte order mark, and no cell that a spreadsheet runs as a formula.

`read_cell` is the inverse of `cell_text`, so that a file that was exported can be imported.
"""

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from io import StringIO

BYTE_ORDER_MARK = "\ufeff"
"""Without it Excel reads the file in a legacy encoding."""
CONTENT_TYPE = "text/csv"
# OWASP's list for CSV injection; the last four are the full-width forms of the first four.
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
Cell = object


def generate_parts(header: Sequence[str], pages: Iterable[Iterable[Sequence[Cell]]]) -> Iterator[str]:
    yield BYTE_ORDER_MARK + write_rows([header])
    for page in pages:
        yield write_rows(page)


def write_rows(rows: Iterable[Sequence[Cell]]) -> str:
    lines = StringIO()
    csv.writer(lines).writerows([[cell_text(cell) for cell in row] for row in rows])
    return lines.getvalue()


def cell_text(value: Cell) -> str | int:
    """A cell's value as it is written: numbers as they are, instants in UTC, text that begins like a formula,
    or that `read_cell` would change, after an apostrophe, which makes it text to a spreadsheet.
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return value
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    text = str(value).replace("\x00", "")
    return f"'{text}" if _needs_apostrophe(text) else text


def read_cell(cell: str) -> str:
    """The text for which the cell stands: white space around it counts only where `cell_text` kept it."""
    return cell[1:] if cell.startswith("'") and _needs_apostrophe(cell[1:]) else cell.strip()


def _needs_apostrophe(text: str) -> bool:
    """Of text that begins with apostrophes, so that `read_cell` removes only one that was added."""
    unquoted = text.lstrip("'")
    return unquoted.startswith(FORMULA_STARTS) or unquoted != unquoted.strip()
