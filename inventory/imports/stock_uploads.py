"""Operators' uploads of stock as CSV: previewed first, and imported after they confirm.

The page shows the first rows and the totals of the file; the whole file is checked and imported.

django-import-export provides the pages. `stock_files` reads the file and `importing` imports it, as they do
for the command `seed_stock`: nothing is imported while a line is wrong, each wrong line is listed, and
movements and journal lines are written.
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
from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_lazy as _
from import_export.fields import Field
from import_export.formats.base_formats import CSV
from import_export.resources import Resource
from import_export.results import Result, RowResult
from import_export.tmp_storages import TempFolderStorage
from uuid_utils.compat import uuid7

from inventory.imports import importing, kept_uploads, stock_files
from inventory.imports.importing import Imported, Receipt, StockRow
from inventory.models import Delivery
from shop import uploaded_text
from shop.errors import FirstcomeError, Invalid, Rejected
from shop.events import journal

MOST_LINES = 20_000
"""Without the header. All lines of a file are in memory at once, for every preview."""
ROWS_SHOWN = 200
"""Of the preview, or of the errors: a page of all lines took hundreds of MiB."""

HEADERS = [
    _("line"),
    _("sku"),
    _("name"),
    _("price"),
    _("low stock threshold"),
    _("received"),
    _("on hand"),
]


class KeptUpload(TempFolderStorage):
    """An upload between its preview and its confirmation, in the machine's folder for temporary files.

    Its name has the operator's id and the delivery's, and the page sends it along: a file confirmed twice is
    one delivery.
    """

    def save(self, data: bytes) -> None:
        # Cleared here as well as in the sweep, which doesn't see the folder of another container.
        kept_uploads.clear()
        owner = str(journal.current_actor().id or 0)
        kept_uploads.make_room(owner, len(data))
        self.name = f"{kept_uploads.PREFIX}{owner}.{uuid7()}"
        path = Path(self.get_full_path())
        path.touch(mode=0o600, exist_ok=False)
        path.write_bytes(data)

    def read(self) -> bytes:
        """The upload. Raises `FileNotFoundError` when it is gone, or the name is not of an upload."""
        delivery_id(self.name)
        data: bytes = super().read()
        return data


def delivery_id(name: str) -> UUID:
    """The id of the delivery whose upload has this name. Raises `FileNotFoundError` for any other name."""
    owner, _, id = name.removeprefix(kept_uploads.PREFIX).rpartition(".")
    if not name.startswith(kept_uploads.PREFIX) or not owner.isdecimal():
        raise FileNotFoundError(name)
    try:
        return UUID(id)
    except ValueError:
        raise FileNotFoundError(name) from None


def read_delivery_of(name: str) -> Delivery | None:
    """The delivery that was started from the upload with this name, if there is one."""
    try:
        return importing.read_delivery(delivery_id(name))
    except FileNotFoundError:
        return None


class StockFile(CSV):
    """A CSV file that is decoded and passed on, because `stock_files` reads it and names the wrong lines."""

    def is_binary(self) -> bool:
        return True

    def get_read_mode(self) -> str:
        return "rb"

    def create_dataset(self, in_stream: bytes, **_: Any) -> tablib.Dataset:
        """Raises `Invalid` for a file that is no text."""
        return tablib.Dataset([uploaded_text.decode(in_stream)], headers=["file"])


class ImportResult(Result):
    """The result of a preview or an import, for the pages."""

    imported: Imported = Imported()
    warnings: Sequence[str] = ()
    """Of a preview: what an operator should know before confirming."""

    def summary(self) -> str:
        """What the whole file would do, with the rows that are not shown."""
        totals = self.imported
        sentence = gettext(
            "%(rows)s rows: %(created)s products are new, %(changed)s change, %(units)s units are received."
        ) % {
            "rows": self.total_rows,
            "created": totals.created,
            "changed": totals.changed,
            "units": totals.received,
        }
        more = self.total_rows - len(self.rows)
        if not more:
            return sentence
        hidden = gettext("The first %(shown)s are shown; %(more)s more are not, and are imported with them.")
        return f"{sentence} {hidden % {'shown': len(self.rows), 'more': more}}"


class DeliveryFile(Resource):
    """A file of received stock."""

    sku, name, price, quantity, low_stock_threshold = (
        Field(column_name=name) for name in stock_files.COLUMNS + stock_files.OPTIONAL_COLUMNS
    )

    @classmethod
    def get_display_name(cls) -> str:
        return pgettext("stock", "delivery")

    def import_data(
        self,
        dataset: tablib.Dataset,
        dry_run: bool = False,
        file_name: str = "",
        delivery_id: UUID | None = None,
        **_: Any,
    ) -> ImportResult:
        """Import the file, or with `dry_run` preview it.

        When it raises `Unavailable` a part of the delivery may be imported: the same id continues it.
        """
        result = ImportResult()
        try:
            file: uploaded_text.DecodedFile = dataset[0][0]
            rows = stock_files.read(_lines(file.text))
            if dry_run:
                _fill_preview(result, importing.preview(rows))
                result.warnings = _warnings(rows, file.encoding)
            else:
                assert delivery_id
                reason = f"import {file_name}"[:255]
                result.imported = importing.receive(rows, delivery_id=delivery_id, reason=reason)
        except (Invalid, Rejected) as error:
            _add_errors(result, error)
        return result


def error_sentences(result: Result) -> list[str]:
    """The errors, a sentence each."""
    return [
        gettext("Line %(line)s: %(field)s: %(detail)s")
        % {"line": row.number, "field": field, "detail": detail}
        if row.number
        else str(detail)
        for row in result.invalid_rows
        for field, details in row.error_dict.items()
        for detail in details
    ]


def _lines(text: str) -> list[str]:
    """The lines of a file, with their ends. Raises `Invalid` for too many, before any is parsed."""
    lines = list(islice(StringIO(text, newline=""), MOST_LINES + 2))
    if len(lines) > MOST_LINES + 1:
        raise Invalid(
            gettext(
                "The file has more than %(lines)s lines below its first, and this page takes no more. "
                "Split it, or import it by the command seed_stock, which has no such limit."
            )
            % {"lines": MOST_LINES},
            errors=[],
        )
    return lines


def _warnings(rows: Sequence[StockRow], encoding: str) -> list[str]:
    """What an operator should know of the file, and of an import of the same."""
    found = stock_files.warnings(rows, encoding)
    if same := importing.find_same(rows):
        text = gettext(
            "The same rows were imported before, at %(at)s (%(reason)s): they would be received again."
        )
        found.append(text % {"at": f"{same.started_at:%Y-%m-%d %H:%M:%S} UTC", "reason": same.reason})
    return found


def _fill_preview(result: ImportResult, imported: Imported) -> None:
    result.diff_headers, result.imported = HEADERS, imported
    for receipt in imported.receipts:
        result.totals[_kind(receipt)] += 1
    for receipt in imported.receipts[:ROWS_SHOWN]:
        result.append_row_result(_row_result(receipt))
    result.total_rows = len(imported.receipts)


def _add_errors(result: Result, error: FirstcomeError) -> None:
    """Add the errors to the result, by line where the line is known."""
    wrong = error.extra["errors"] if isinstance(error, Invalid) else []
    by_line: dict[int, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for one in wrong or [{"line": 0, "field": "", "detail": error.detail}]:
        by_line[one["line"]][one["field"] or "file"].append(one["detail"])
    for line, details in islice(by_line.items(), ROWS_SHOWN):
        result.append_invalid_row(line, {}, ValidationError(dict(details)))
    if len(by_line) > ROWS_SHOWN:
        more = gettext("%(count)s more lines are wrong.") % {"count": len(by_line) - ROWS_SHOWN}
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
    values = {"name": row.name, "price": row.price, "low_stock_threshold": row.low_stock_threshold}
    fields = [
        f"{changes[name][0]} -> {changes[name][1]}" if name in changes else _display(value)
        for name, value in values.items()
    ]
    return [str(row.line), row.sku, *fields, str(row.quantity), str(receipt.on_hand_after)]


def _display(value: object) -> str:
    return "" if value is importing.KEEP or value is None else str(value)
