"""Stock as CSV: `sku,name,price,quantity` becomes rows to import, and a list of what is wrong.

A column `low_stock_threshold` may follow: without it products keep theirs, and an empty cell means never.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from inventory.imports.importing import LARGEST_QUANTITY, Row
from inventory.products import KEEP
from inventory.schemas import Sku, Threshold
from shop.errors import Invalid
from shop.http.validation import Amount, Words

COLUMNS = ["sku", "name", "price", "quantity"]
OPTIONAL_COLUMNS = ["low_stock_threshold"]
# What patterns mean, for people who don't read them.
PLAINLY = {
    ("sku", "string_pattern_mismatch"): "must be printable ASCII without spaces, and not empty",
    ("name", "string_pattern_mismatch"): "must not be empty",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file says: its good rows, and `{line, field, code, detail}` for everything that is wrong."""

    rows: list[Row] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)


def _whole(text: object) -> object:
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        raise PydanticCustomError("not_a_number", "must be a whole number, not negative")
    return int(text)


Quantity = Annotated[int, Field(le=LARGEST_QUANTITY), BeforeValidator(_whole)]
Price = Annotated[Amount, BeforeValidator(_whole)]


def _whole_or_never(text: object) -> object:
    return None if text == "" else _whole(text)


WholeThreshold = Annotated[Threshold | None, BeforeValidator(_whole_or_never)]


class Delivery(BaseModel):
    """What came in of one product; its name and price where they are new."""

    model_config = ConfigDict(extra="forbid")

    sku: Sku
    name: Words | None = None
    price: Price | None = None
    quantity: Quantity
    low_stock_threshold: WholeThreshold = None

    def row(self, line: int) -> Row:
        """The row that this is. What the file doesn't speak of stays as it is."""
        given = self.model_dump()
        if "low_stock_threshold" not in self.model_fields_set:
            given["low_stock_threshold"] = KEEP
        return Row(line=line, **given)


class StockLine(Delivery):
    """One line of a file: all of it is there."""

    name: Words
    price: Price


def read_one(**given: str | None) -> Row:
    """The row of one product, from text. Raises `Invalid` as `read` does, with 0 for the line."""
    try:
        return Delivery.model_validate(_present(given)).row(0)
    except ValidationError as error:
        raise invalid(_all_wrong(0, error)) from None


def read(lines: Iterable[str]) -> list[Row]:
    """The rows of a CSV file. Raises `Invalid` with the `errors` of `look_through`, if there are any."""
    contents = look_through(lines)
    if contents.errors:
        raise invalid(contents.errors)
    return contents.rows


def look_through(lines: Iterable[str]) -> Contents:
    """All that a CSV file with its header says, good and bad; blank lines are passed over."""
    reader = csv.reader(lines, strict=True)
    errors: list[dict[str, Any]] = []
    rows: dict[str, Row] = {}
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        if not _has_columns(header):
            return Contents(errors=[_wrong(1, "", "wrong_header", _wrong_header())])
        for cells in reader:
            if any(cell.strip() for cell in cells):
                _read_line(reader.line_num, header, cells, rows, errors)
    except csv.Error as error:
        errors.append(_wrong(reader.line_num, "", "not_csv", f"not readable as CSV: {error}"))
    return Contents(list(rows.values()), errors)


def _has_columns(header: list[str]) -> bool:
    return sorted(header) in (sorted(COLUMNS), sorted(COLUMNS + OPTIONAL_COLUMNS))


def _wrong_header() -> str:
    return (
        f"the first line must name the columns {','.join(COLUMNS)}, and may name {','.join(OPTIONAL_COLUMNS)}"
    )


def _read_line(
    number: int, header: list[str], cells: list[str], rows: dict[str, Row], errors: list[dict[str, Any]]
) -> None:
    """Add the line to the rows, or what is wrong with it to the errors."""
    if len(cells) != len(header):
        detail = f"has {len(cells)} cells instead of {len(header)}"
        errors.append(_wrong(number, "", "wrong_number_of_cells", detail))
        return
    try:
        line = StockLine.model_validate(
            {name: cell.strip() for name, cell in zip(header, cells, strict=True)}
        )
    except ValidationError as error:
        errors += _all_wrong(number, error)
        return
    if line.sku in rows:
        detail = f"{line.sku} is on line {rows[line.sku].line} already"
        errors.append(_wrong(number, "sku", "repeated", detail))
        return
    rows[line.sku] = line.row(number)


def _present(given: dict[str, str | None]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _all_wrong(line: int, error: ValidationError) -> list[dict[str, Any]]:
    wrong = [(str(one["loc"][0]), one["type"], one["msg"]) for one in error.errors()]
    return [_wrong(line, name, code, PLAINLY.get((name, code), detail)) for name, code, detail in wrong]


def _wrong(line: int, field: str, code: str, detail: str) -> dict[str, Any]:
    return {"line": line, "field": field, "code": code, "detail": detail}


def invalid(errors: list[dict[str, Any]]) -> Invalid:
    """The refusal of a whole file for what is wrong in it."""
    return Invalid("Nothing was imported; put these right first.", errors=errors)
