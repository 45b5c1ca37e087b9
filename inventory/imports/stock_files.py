"""Reading stock from CSV, with commas or tabs: `sku,name,price,quantity` becomes rows to import and a list of
errors. Without a column `low_stock_threshold` products keep theirs; an empty cell means never.
"""

import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any

from django.utils.translation import gettext, gettext_lazy as _, gettext_noop
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from inventory.imports.importing import KEEP, LARGEST_QUANTITY, StockRow, invalid
from inventory.schemas import Sku, Threshold
from shop import literals
from shop.http import validation_texts
from shop.http.validation import Amount, NonBlankText
from shop.normalization import normalized

COLUMNS = ["sku", "name", "price", "quantity"]
OPTIONAL_COLUMNS = ["low_stock_threshold"]
SHORTENED_NUMBER = re.compile(r"\d([.,]\d+)?E\+\d+", re.ASCII | re.IGNORECASE)
"""As spreadsheets show a long number, such as a barcode, and save it: its last digits are lost."""
SHORTENED_SHOWN = 10
# Messages instead of pydantic's, which quote the pattern.
PLAIN_MESSAGES = {
    ("sku", "string_pattern_mismatch"): _("must be printable ASCII without spaces, and not empty"),
    ("name", "string_pattern_mismatch"): _("must not be empty"),
}


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file contains: its valid rows, and `{line, field, code, detail}` for each error."""

    rows: list[StockRow] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)


def _whole_number(text: object) -> object:
    try:
        number = literals.whole_number(str(text))
    except literals.NotOfTheForm:
        number = -1
    if number < 0:
        raise PydanticCustomError("not_a_number", gettext_noop("must be a whole number, not negative"))
    return number


Quantity = Annotated[int, Field(le=LARGEST_QUANTITY), BeforeValidator(_whole_number)]
Price = Annotated[Amount, BeforeValidator(_whole_number)]


WholeThreshold = Annotated[
    Threshold | None, BeforeValidator(lambda text: None if text == "" else _whole_number(text))
]


class StockRowInput(BaseModel):
    """The received quantity of one product, with its name and price where they are new; a file has both."""

    model_config = ConfigDict(extra="forbid")

    sku: Sku
    name: NonBlankText | None = None
    price: Price | None = None
    quantity: Quantity
    low_stock_threshold: WholeThreshold = None

    def row(self, line: int) -> StockRow:
        """The row to import. A threshold that the file has no column for stays as it is."""
        given = self.model_dump()
        if "low_stock_threshold" not in self.model_fields_set:
            given["low_stock_threshold"] = KEEP
        return StockRow(line=line, **given)


def read_one(**given: str | None) -> StockRow:
    """The row of one product, from text. Raises `Invalid` as `read` does, with line 0."""
    try:
        named = {name: normalized(value) for name, value in given.items() if value is not None}
        return StockRowInput.model_validate(named).row(0)
    except ValidationError as error:
        raise invalid(_validation_errors(0, error)) from None


def read(lines: Iterable[str]) -> list[StockRow]:
    """The rows of a CSV file. Raises `Invalid` with the `errors` of `read_contents`, if there are any."""
    contents = read_contents(lines)
    if contents.errors:
        raise invalid(contents.errors)
    return contents.rows


def read_contents(lines: Iterable[str]) -> Contents:
    """The valid rows and the errors of a CSV file with a header; blank lines are skipped."""
    lines = iter(lines)
    first = next(lines, "")
    is_by_tabs = "\t" in first and "," not in first
    reader = csv.reader(chain([first], lines), strict=True, delimiter="\t" if is_by_tabs else ",")
    errors: list[dict[str, Any]] = []
    rows: dict[str, StockRow] = {}
    try:
        header = _without_empty_ends([name.strip().lower() for name in next(reader, [])])
        if sorted(header) not in (sorted(COLUMNS), sorted(COLUMNS + OPTIONAL_COLUMNS)):
            return Contents(errors=[_header_error(first)])
        for cells in reader:
            if any(cell.strip() for cell in cells):
                _read_line(reader.line_num, header, cells, rows, errors)
    except csv.Error as error:
        detail = gettext("not readable as CSV: %(error)s") % {"error": error}
        errors.append(_error(reader.line_num, "", "not_csv", detail))
    if not rows and not errors:
        errors.append(_error(1, "", "empty", gettext("no line follows: there is nothing to import")))
    return Contents(list(rows.values()), errors)


def _without_empty_ends(cells: list[str], *, least: int = 0) -> list[str]:
    """The cells without the empty ones at their end, which are of a column that was emptied."""
    while len(cells) > least and not cells[-1].strip():
        cells = cells[:-1]
    return cells


def warnings(rows: Sequence[StockRow], encoding: str) -> list[str]:
    """What an operator should know of a file: how it was read, and what looks wrong in it."""
    found = []
    if encoding != "UTF-8":
        text = gettext("The file is not UTF-8; it was read as %(encoding)s. Check that the names are right.")
        found.append(text % {"encoding": encoding})
    if shortened := [row for row in rows if SHORTENED_NUMBER.fullmatch(row.sku)]:
        text = gettext(
            "These skus look like numbers whose last digits a spreadsheet has dropped: %(skus)s. If they are "
            "barcodes, format their column as text, enter them again and save the file."
        )
        name = gettext("%(sku)s (line %(line)s)")
        names = [name % {"sku": row.sku, "line": row.line} for row in shortened[:SHORTENED_SHOWN]]
        more = ", …" if shortened[SHORTENED_SHOWN:] else ""
        found.append(text % {"skus": ", ".join(names) + more})
    return found


def _header_error(header: str) -> dict[str, Any]:
    if ";" in header and "," not in header:
        text = gettext("the cells are separated by semicolons: save the file with commas between them")
        return _error(1, "", "wrong_separator", text)
    text = gettext("the first line must name the columns %(columns)s, and may name %(optional)s")
    names = {"columns": ",".join(COLUMNS), "optional": ",".join(OPTIONAL_COLUMNS)}
    return _error(1, "", "wrong_header", text % names)


def _read_line(
    number: int, header: list[str], cells: list[str], rows: dict[str, StockRow], errors: list[dict[str, Any]]
) -> None:
    """Add the line to the rows, or its errors to the errors."""
    cells = _without_empty_ends(cells, least=len(header))
    if len(cells) != len(header):
        counts = {"count": len(cells), "expected": len(header)}
        detail = gettext("has %(count)s cells instead of %(expected)s") % counts
        errors.append(_error(number, "", "wrong_number_of_cells", detail))
        return
    try:
        line = StockRowInput.model_validate(
            {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        )
    except ValidationError as error:
        errors += _validation_errors(number, error)
        return
    if line.sku in rows:
        known = {"sku": line.sku, "line": rows[line.sku].line}
        detail = gettext("%(sku)s is on line %(line)s already") % known
        errors.append(_error(number, "sku", "repeated", detail))
        return
    rows[line.sku] = line.row(number)


def _validation_errors(line: int, error: ValidationError) -> list[dict[str, Any]]:
    named = [(str(one["loc"][0]), one["type"], one) for one in error.errors()]
    return [
        _error(line, name, code, str(PLAIN_MESSAGES.get((name, code)) or validation_texts.describe(one)))
        for name, code, one in named
    ]


def _error(line: int, field: str, code: str, detail: str) -> dict[str, Any]:
    return {"line": line, "field": field, "code": code, "detail": detail}
