"""Operators bring stock in by a CSV file: looked at first, and written once they confirm.

The page shows the first rows, and what the whole file comes to: all of it is checked, and all comes in.

django-import-export gives the pages. What a file says, and what becomes of it, is for the same functions as
ever (`stock_files`, `importing`): nothing while a line is bad, each named; with movements and journal.
"""

from collections import defaultdict
from collections.abc import Sequence
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import UUID

import tablib
from django.core.exceptions import ValidationError
from import_export.fields import Field
from import_export.formats.base_formats import CSV
from import_export.resources import Resource
from import_export.results import Result, RowResult
from import_export.tmp_storages import TempFolderStorage
from uuid_utils.compat import uuid7

from inventory.imports import importing, kept_uploads, stock_files
from inventory.imports.importing import Imported, Receipt
from inventory.models import Delivery
from shop.errors import FirstcomeError, Invalid, Rejected

MOST_LINES = 20_000
"""Below a file's first. All of them are in memory at once, for every upload that is looked at."""
ROWS_SHOWN = 200
"""Of what a file would do, or of what is wrong in it: a page of all lines took hundreds of MiB."""

HEADERS = ["line", "sku", "name", "price", "low stock threshold", "received", "on hand"]


class KeptUpload(TempFolderStorage):
    """An upload between its preview and its confirmation, in the machine's folder for such things.

    Its name is the delivery's id, which the page sends along: confirmed again it is the same delivery.
    """

    def save(self, data: bytes) -> None:
        # Here as well as in the sweep, which doesn't see the folder of another container.
        kept_uploads.clear()
        self.name = f"{kept_uploads.PREFIX}{uuid7()}"
        path = Path(self.get_full_path())
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(data)

    def read(self) -> str:
        """Raises `FileNotFoundError` when it is gone, or was never one of ours."""
        delivery_id(self.name)
        text: str = super().read()
        return text


def delivery_id(name: str) -> UUID:
    """The delivery whose upload has this name. Raises `FileNotFoundError` for a name of another form."""
    if not name.startswith(kept_uploads.PREFIX):
        raise FileNotFoundError(name)
    try:
        return UUID(name.removeprefix(kept_uploads.PREFIX))
    except ValueError:
        raise FileNotFoundError(name) from None


def read_delivery_of(name: str) -> Delivery | None:
    """What has been imported of the upload with this name; None for nothing."""
    try:
        return importing.read_delivery(delivery_id(name))
    except FileNotFoundError:
        return None


class StockFile(CSV):
    """A CSV file that is kept as it is: our own reader knows which line is wrong, and why."""

    def create_dataset(self, in_stream: str, **_: Any) -> tablib.Dataset:
        return tablib.Dataset([in_stream], headers=["file"])


class ImportResult(Result):
    """What a file came to, for the pages."""

    imported: Imported = Imported()

    def summary(self) -> str:
        """All that would come in, shown or not."""
        come = self.imported
        error_sentences = (
            f"{self.total_rows} rows: {come.created} products are new, {come.changed} change, "
            f"{come.received} units come in."
        )
        more = self.total_rows - len(self.rows)
        hidden = f" The first {len(self.rows)} are shown; {more} more are not, and come in with them."
        return error_sentences + hidden if more else error_sentences


class DeliveryFile(Resource):
    """A file of stock that came in."""

    sku, name, price, quantity, low_stock_threshold = (
        Field(column_name=name) for name in stock_files.COLUMNS + stock_files.OPTIONAL_COLUMNS
    )

    @classmethod
    def get_display_name(cls) -> str:
        return "delivery"

    def import_data(
        self,
        dataset: tablib.Dataset,
        dry_run: bool = False,
        file_name: str = "",
        delivery_id: UUID | None = None,
        **_: Any,
    ) -> ImportResult:
        """Do what the file says, or with `dry_run` only find out what that would come to.

        Raises `Unavailable` with the delivery perhaps half in: the same id goes on.
        """
        result = ImportResult()
        try:
            rows = stock_files.read(_lines(dataset[0][0]))
            if dry_run:
                _fill_preview(result, importing.preview(rows))
            else:
                assert delivery_id
                reason = f"import {file_name}"[:255]
                result.imported = importing.receive(rows, delivery_id=delivery_id, reason=reason)
        except (Invalid, Rejected) as error:
            _add_errors(result, error)
        return result


def error_sentences(result: Result) -> list[str]:
    """What is wrong, one sentence a line."""
    return [
        f"Line {row.number}: {field}: {detail}" if row.number else str(detail)
        for row in result.invalid_rows
        for field, details in row.error_dict.items()
        for detail in details
    ]


def _lines(text: str) -> list[str]:
    """The lines of a file, with their ends. Raises `Invalid` for too many, before anything looks at them."""
    lines = list(islice(StringIO(text, newline=""), MOST_LINES + 2))
    if len(lines) > MOST_LINES + 1:
        raise Invalid(
            f"The file has more than {MOST_LINES} lines below its first, and this page takes no more. "
            "Split it, or bring it in by the command seed_stock, which has no such limit.",
            errors=[],
        )
    return lines


def _fill_preview(result: ImportResult, imported: Imported) -> None:
    result.diff_headers, result.imported = HEADERS, imported
    for receipt in imported.receipts:
        result.totals[_kind(receipt)] += 1
    for receipt in imported.receipts[:ROWS_SHOWN]:
        result.append_row_result(_row_result(receipt))
    result.total_rows = len(imported.receipts)


def _add_errors(result: Result, error: FirstcomeError) -> None:
    """Tell what is wrong, line by line as far as it is known."""
    wrong = error.extra["errors"] if isinstance(error, Invalid) else []
    by_line: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in wrong or [{"line": 0, "field": "", "detail": error.detail}]:
        by_line[one["line"]][one["field"] or "file"].append(one["detail"])
    for line, details in islice(by_line.items(), ROWS_SHOWN):
        result.append_invalid_row(line, {}, ValidationError(dict(details)))
    if len(by_line) > ROWS_SHOWN:
        more = f"{len(by_line) - ROWS_SHOWN} more lines are wrong."
        result.append_invalid_row(0, {}, ValidationError({"file": [more]}))


def _row_result(receipt: Receipt) -> RowResult:
    row = RowResult()
    row.import_type, row.diff = _kind(receipt), _cells(receipt)
    return row


def _kind(receipt: Receipt) -> str:
    has_effect = receipt.changes or receipt.row.quantity
    known = RowResult.IMPORT_TYPE_UPDATE if has_effect else RowResult.IMPORT_TYPE_SKIP
    kind: str = RowResult.IMPORT_TYPE_NEW if receipt.is_new else known
    return kind


def _cells(receipt: Receipt) -> Sequence[str]:
    row, changes = receipt.row, receipt.changes
    is_said = {"name": row.name, "price": row.price, "low_stock_threshold": row.low_stock_threshold}
    fields = [
        f"{changes[name][0]} -> {changes[name][1]}" if name in changes else _display(value)
        for name, value in is_said.items()
    ]
    return [str(row.line), row.sku, *fields, str(row.quantity), str(receipt.on_hand_after)]


def _display(value: object) -> str:
    return "" if value is importing.KEEP or value is None else str(value)
