"""Operators bring stock in by a CSV file: shown line by line first, and written once they confirm.

django-import-export gives the pages. What a file says, and what becomes of it, is for the same functions as
ever (`stock_files`, `importing`): nothing while a line is bad, each named; with movements and journal.
"""

from collections import defaultdict
from collections.abc import Sequence
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

from inventory import importing, kept_uploads, stock_files
from inventory.importing import Imported, Receipt
from inventory.models import Delivery
from shop.errors import FirstcomeError, Invalid, Rejected

SHOWN = ["line", "sku", "name", "price", "low stock threshold", "received", "on hand"]


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


class Delivered(Result):
    """What a file came to, for the pages."""

    imported: Imported = Imported()


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
    ) -> Delivered:
        """Do what the file says, or with `dry_run` only find out what that would come to.

        Raises `Unavailable` with the delivery perhaps half in: the same id goes on.
        """
        result = Delivered()
        try:
            rows = stock_files.read(dataset[0][0].splitlines(keepends=True))
            if dry_run:
                _show(result, importing.preview(rows))
            else:
                assert delivery_id
                reason = f"import {file_name}"[:255]
                result.imported = importing.receive(rows, delivery_id=delivery_id, reason=reason)
        except (Invalid, Rejected) as error:
            _refuse(result, error)
        return result


def told(result: Result) -> list[str]:
    """What is wrong, one sentence a line."""
    return [
        f"Line {row.number}: {field}: {detail}" if row.number else str(detail)
        for row in result.invalid_rows
        for field, details in row.error_dict.items()
        for detail in details
    ]


def _show(result: Delivered, imported: Imported) -> None:
    result.diff_headers, result.imported = SHOWN, imported
    for receipt in imported.receipts:
        row = _row(receipt)
        result.append_row_result(row)
        result.increment_row_result_total(row)
    result.total_rows = len(imported.receipts)


def _refuse(result: Result, error: FirstcomeError) -> None:
    """Tell what is wrong, line by line as far as it is known."""
    wrong = error.extra["errors"] if isinstance(error, Invalid) else []
    by_line: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in wrong or [{"line": 0, "field": "", "detail": error.detail}]:
        by_line[one["line"]][one["field"] or "file"].append(one["detail"])
    for line, details in by_line.items():
        result.append_invalid_row(line, {}, ValidationError(dict(details)))


def _row(receipt: Receipt) -> RowResult:
    row = RowResult()
    has_effect = receipt.changes or receipt.row.quantity
    known = RowResult.IMPORT_TYPE_UPDATE if has_effect else RowResult.IMPORT_TYPE_SKIP
    row.import_type = RowResult.IMPORT_TYPE_NEW if receipt.is_new else known
    row.diff = _cells(receipt)
    return row


def _cells(receipt: Receipt) -> Sequence[str]:
    row, changes = receipt.row, receipt.changes
    is_said = {"name": row.name, "price": row.price, "low_stock_threshold": row.low_stock_threshold}
    fields = [
        f"{changes[name][0]} -> {changes[name][1]}" if name in changes else _shown(value)
        for name, value in is_said.items()
    ]
    return [str(row.line), row.sku, *fields, str(row.quantity), str(receipt.on_hand_after)]


def _shown(value: object) -> str:
    return "" if value is importing.KEEP or value is None else str(value)
