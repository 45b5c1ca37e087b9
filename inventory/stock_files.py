"""Stock as CSV: `sku,name,price,quantity` becomes rows to import, or a list of wrong lines."""

import csv
from collections.abc import Iterable
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from inventory.bodies import Sku, Words
from inventory.importing import LARGEST_QUANTITY, Row
from shop.errors import Invalid
from shop.reading import Amount

COLUMNS = ["sku", "name", "price", "quantity"]


def _whole(text: object) -> object:
    if not (isinstance(text, str) and text.isascii() and text.isdigit()):
        raise PydanticCustomError("not_a_number", "must be a whole number, not negative")
    return int(text)


Quantity = Annotated[int, Field(le=LARGEST_QUANTITY), BeforeValidator(_whole)]
Price = Annotated[Amount, BeforeValidator(_whole)]


class Delivery(BaseModel):
    """What came in of one product; its name and price where they are new."""

    model_config = ConfigDict(extra="forbid")

    sku: Sku
    name: Words | None = None
    price: Price | None = None
    quantity: Quantity


class StockLine(Delivery):
    """One line of a file: all of it is there."""

    name: Words
    price: Price


def read_one(**given: str | None) -> Row:
    """The row of one product, from text. Raises `Invalid` as `read` does, with 0 for the line."""
    try:
        return Row(line=0, **Delivery.model_validate(_present(given)).model_dump())
    except ValidationError as error:
        raise _invalid(_all_wrong(0, error)) from None


def read(lines: Iterable[str]) -> list[Row]:
    """The rows of a CSV file with its header; blank lines are passed over.

    Raises `Invalid` with `errors`: `{line, field, code, detail}` for everything that is wrong.
    """
    reader = csv.reader(lines, strict=True)
    errors: list[dict[str, Any]] = []
    rows: dict[str, Row] = {}
    try:
        header = [name.strip().lower() for name in next(reader, [])]
        _insist_on_columns(header)
        for cells in reader:
            if any(cell.strip() for cell in cells):
                _read_line(reader.line_num, header, cells, rows, errors)
    except csv.Error as error:
        errors.append(_wrong(reader.line_num, "", "not_csv", f"not readable as CSV: {error}"))
    if errors:
        raise _invalid(errors)
    return list(rows.values())


def _insist_on_columns(header: list[str]) -> None:
    if sorted(header) != sorted(COLUMNS):
        detail = f"the first line must name the columns {','.join(COLUMNS)}"
        raise _invalid([_wrong(1, "", "wrong_header", detail)])


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
    rows[line.sku] = Row(line=number, **line.model_dump())


def _present(given: dict[str, str | None]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _all_wrong(line: int, error: ValidationError) -> list[dict[str, Any]]:
    return [_wrong(line, str(one["loc"][0]), one["type"], one["msg"]) for one in error.errors()]


def _wrong(line: int, field: str, code: str, detail: str) -> dict[str, Any]:
    return {"line": line, "field": field, "code": code, "detail": detail}


def _invalid(errors: list[dict[str, Any]]) -> Invalid:
    return Invalid("Nothing was imported; put these right first.", errors=errors)
