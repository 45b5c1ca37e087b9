"""Reading stock from CSV, with commas or tabs: `sku,quantity` and more columns become rows to import, or a
list of errors. Without a column products keep what they have; an empty threshold means never.
"""

import csv
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from itertools import chain, islice
from typing import Annotated, Any

from django.utils.translation import gettext, gettext_lazy as _, gettext_noop
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from foundation import literals, uploaded_text
from foundation.errors import Invalid
from foundation.http import validation_texts
from foundation.http.json_format import TooLarge
from foundation.http.pages import csv_format
from foundation.http.validation import Amount, NonBlankText
from foundation.lazy_texts import mark
from foundation.normalization import normalized
from foundation.values import Values
from inventory.schemas import Sku, Threshold

LineError = dict[str, Any]
COLUMNS = ["sku", "quantity"]
OPTIONAL_COLUMNS = ["name", "price", "low_stock_threshold"]
"""A new product needs a name and a price."""
ALIASES = {
    **dict.fromkeys(("상품코드", "상품번호", "제품코드", "품번", "품목코드"), "sku"),
    **dict.fromkeys(("상품명", "제품명", "품명", "이름"), "name"),
    **dict.fromkeys(("가격", "판매가", "판매가격", "단가"), "price"),
    **dict.fromkeys(("수량", "입고수량", "재고", "재고수량", "현재고"), "quantity"),
    **dict.fromkeys(("재고부족기준", "부족기준"), "low_stock_threshold"),
}
"""Of columns, without spaces."""
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)
"""Excel's first line of a file, which names what separates the cells below."""
WRITTEN_NUMBER = re.compile(r"(?:[₩￦]|KRW)?\s?(\d{1,3}(?:,\d{3})+|\d+)\s?(?:원|개)?", re.ASCII)
POINTED_NUMBER = re.compile(r"\d{1,3}(\.\d{3})+", re.ASCII)
"""A thousand in half of Europe, and one in Korea."""
SPREADSHEET_WORD = re.compile(r"#[A-Z0-9/]+[!?]?|nan|null|none|true|false|n/a|undefined", re.IGNORECASE)
"""What spreadsheets and programs write in place of a value that they don't have."""
MONTH = "(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
DATE = re.compile(
    rf"\d{{1,2}}-{MONTH}(?:-\d{{2,4}})?|{MONTH}-\d{{2}}|\d{{1,4}}([/-])\d{{1,2}}\1\d{{1,4}}", re.IGNORECASE
)
"""As spreadsheets write what they take for a date, such as the sku 3-1."""
LARGEST_QUANTITY = 10**9
SHORTENED_NUMBER = re.compile(r"\d([.,]\d+)?E\+\d+", re.ASCII | re.IGNORECASE)
"""As spreadsheets show a long number, such as a barcode, and save it: its last digits are lost."""
SHORTENED_SHOWN = 10
MOST_ERRORS = 1_000
MOST_BYTES = 12 * 2**20
"""Of a file that a page reads: a thread of the web server takes seconds for more."""
# Messages instead of pydantic's, which quote the pattern.
PLAIN_MESSAGES = {
    ("sku", "string_pattern_mismatch"): _("must be printable ASCII without spaces, and not empty"),
    ("name", "string_pattern_mismatch"): _("must not be empty"),
}


def _whole_number(text: object) -> object:
    written = WRITTEN_NUMBER.fullmatch(str(text))
    if POINTED_NUMBER.fullmatch(str(text)):
        raise PydanticCustomError(
            "ambiguous_number", gettext_noop("may be thousands or a fraction: write it without a point")
        )
    try:
        number = literals.whole_number(written[1].replace(",", "") if written else "")
    except literals.NotOfTheForm:
        number = -1
    if number < 0:
        raise PydanticCustomError("not_a_number", gettext_noop("must be a whole number, not negative"))
    return number


WholeThreshold = Annotated[
    Threshold | None, BeforeValidator(lambda text: None if text in ("", None) else _whole_number(text))
]


class StockRow(BaseModel):
    """A received quantity of a product, and its terms: those that are not given stay as they are, and a new
    product needs a name and a price. `line` is the row's in its file, or 0. A threshold of None means never.
    A quantity that `is_counted` is what is on hand; others are added to that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    line: int = 0
    sku: Sku
    name: NonBlankText = ""
    price: Annotated[Amount, BeforeValidator(_whole_number)] = 0
    quantity: Annotated[int, Field(le=LARGEST_QUANTITY), BeforeValidator(_whole_number)]
    low_stock_threshold: WholeThreshold = None
    is_counted: bool = False

    @property
    def terms(self) -> Values:
        """The terms that are given, named as the product's columns."""
        return self.model_dump(exclude={"line", "sku", "quantity", "is_counted"}, exclude_unset=True)


def invalid(errors: list[LineError]) -> Invalid:
    """The refusal of all rows because of these errors, each `{line, field, code, detail}`."""
    return Invalid(gettext("Nothing was imported; put these right first."), errors=errors)


def read_one(given: Mapping[str, str], *, line: int = 0) -> StockRow:
    """The row of one product, from text. Raises `Invalid` with an error for each wrong field."""
    try:
        named = {name: normalized(value) for name, value in given.items()}
        return StockRow.model_validate({"line": line, **named})
    except ValidationError as error:
        errors = []
        for one in error.errors():
            name = str(one["loc"][0])
            code = one["type"]
            detail = PLAIN_MESSAGES.get((name, code)) or validation_texts.describe(one)
            errors.append(_error(line, name, code, str(detail)))
        raise invalid(errors) from None


def read_file(data: bytes, *, most_lines: int | None = None) -> tuple[list[StockRow], list[str]]:
    """The rows of a CSV file, and what an operator should know of it: how it was read, and what looks wrong.

    Raises `Invalid` as `read` does, for files of another kind, and for more than `most_lines` below the first
    before any is parsed. With `most_lines` it ends at `MOST_ERRORS`, and raises `TooLarge`.
    """
    if most_lines and len(data) > MOST_BYTES:
        raise TooLarge(mark("The upload is larger than {size} MiB.", size=MOST_BYTES // 2**20))
    warnings: list[str] = []
    decoded = uploaded_text.decode(data)
    lines: Iterable[str] = StringIO(decoded.text, newline="")
    if most_lines is not None:
        lines = list(islice(lines, most_lines + 2))
        if len(lines) > most_lines + 1:
            text = gettext(
                "The file has more than %(lines)s lines below its first, and this page takes no more. "
                "Split it, or import it by the command seed_stock, which has no such limit."
            )
            raise Invalid(text % {"lines": most_lines}, errors=[])
    rows = read(lines, most_errors=most_lines and MOST_ERRORS, warnings=warnings)
    if decoded.encoding != "UTF-8":
        text = gettext("The file is not UTF-8; it was read as %(encoding)s. Check that the names are right.")
        warnings.append(text % {"encoding": decoded.encoding})
    if shortened := [row for row in rows if SHORTENED_NUMBER.fullmatch(row.sku)]:
        text = gettext(
            "These skus look like numbers whose last digits a spreadsheet has dropped: %(skus)s. If they are "
            "barcodes, format their column as text, enter them again and save the file."
        )
        warnings.append(text % {"skus": _listed([(row.sku, row.line) for row in shortened])})
    odd = [(row.sku, row.line) for row in rows if DATE.fullmatch(row.sku)]
    odd += [(one, row.line) for row in rows for one in (row.sku, row.name) if SPREADSHEET_WORD.fullmatch(one)]
    if odd:
        text = gettext("A spreadsheet seems to have changed these cells: %(cells)s. Check them.")
        warnings.append(text % {"cells": _listed(odd)})
    return rows, warnings


def _listed(cells: list[tuple[str, int]]) -> str:
    """The first of these cells, each with its line."""
    name = gettext("%(sku)s (line %(line)s)")
    names = [name % {"sku": text, "line": line} for text, line in cells[:SHORTENED_SHOWN]]
    return ", ".join(names) + (", …" if cells[SHORTENED_SHOWN:] else "")


def read(
    lines: Iterable[str], *, most_errors: int | None = None, warnings: list[str] | None = None
) -> list[StockRow]:
    """The rows of CSV with a header; blank lines are skipped, and so are columns of other names, of which
    there is one of the `warnings` then. Raises `Invalid` with its errors.
    """
    lines = iter(lines)
    first = next(lines, "")
    skipped = 1 if SEPARATOR_LINE.fullmatch(first) else 0
    first = next(lines, "") if skipped else first
    is_by_tabs = "\t" in first and "," not in first
    reader = csv.reader(chain([first], lines), strict=True, delimiter="\t" if is_by_tabs else ",")
    errors: list[LineError] = []
    rows: dict[str, StockRow] = {}
    try:
        titles = _without_empty_ends(next(reader, []))
        header = [_column(title) for title in titles]
        known = [name for name in header if name]
        if not set(COLUMNS) <= set(known) or len(set(known)) < len(known):
            raise invalid([_header_error(first)])
        # A program's index has no title.
        others = [titles[at].strip() or f"#{at + 1}" for at, name in enumerate(header) if not name]
        if others and warnings is not None:
            warnings.append(
                gettext("These columns were ignored: %(names)s.")
                % {"names": ", ".join(others[:SHORTENED_SHOWN])}
            )
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            try:
                row = _read_line(reader.line_num + skipped, header, cells, rows)
                rows[row.sku] = row
            except Invalid as refused:
                errors += refused.extra["errors"]
                if most_errors and len(errors) >= most_errors:
                    break
    except csv.Error as error:
        detail = gettext("not readable as CSV: %(error)s") % {"error": error}
        errors.append(_error(reader.line_num + skipped, "", "not_csv", detail))
    if not rows and not errors:
        errors.append(_error(1, "", "empty", gettext("no line follows: there is nothing to import")))
    if errors:
        raise invalid(errors)
    return list(rows.values())


def _column(title: str) -> str:
    """The column with this title, in English or Korean; empty for another."""
    plain = normalized(title).strip().lower()
    name = ALIASES.get(plain.replace(" ", ""), plain.replace(" ", "_"))
    return name if name in COLUMNS + OPTIONAL_COLUMNS else ""


def _without_empty_ends(cells: list[str], *, least: int = 0) -> list[str]:
    """The cells without the empty ones at their end, which are of a column that was emptied."""
    end = len(cells)
    while end > least and not cells[end - 1].strip():
        end -= 1
    return cells[:end]


def _header_error(header: str) -> LineError:
    if ";" in header and "," not in header:
        text = gettext("the cells are separated by semicolons: save the file with commas between them")
        return _error(1, "", "wrong_separator", text)
    text = gettext("the first line must name the columns %(columns)s, and may name %(optional)s")
    names = {"columns": ",".join(COLUMNS), "optional": ",".join(OPTIONAL_COLUMNS)}
    return _error(1, "", "wrong_header", text % names)


def _read_line(number: int, header: list[str], cells: list[str], known: dict[str, StockRow]) -> StockRow:
    """The line's row. Raises `Invalid` with its errors, as for a sku that is `known` from a line before."""
    cells = _without_empty_ends(cells, least=len(header))
    if len(cells) != len(header):
        counts = {"count": len(cells), "expected": len(header)}
        detail = gettext("has %(count)s cells instead of %(expected)s") % counts
        raise invalid([_error(number, "", "wrong_number_of_cells", detail)])
    texts = map(csv_format.read_cell, cells)
    row = read_one({name: text for name, text in zip(header, texts, strict=True) if name}, line=number)
    if before := known.get(row.sku):
        detail = gettext("%(sku)s is on line %(line)s already") % {"sku": row.sku, "line": before.line}
        raise invalid([_error(number, "sku", "repeated", detail)])
    return row


def _error(line: int, field: str, code: str, detail: str) -> LineError:
    return {"line": line, "field": field, "code": code, "detail": detail}
