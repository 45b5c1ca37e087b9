"""Operators' uploads of stock as CSV: previewed first, and imported as `seed_stock` does after they confirm.
The form's id is the delivery's: a file confirmed twice is one delivery.
"""

from collections.abc import Mapping
from io import StringIO
from itertools import islice
from typing import Any, BinaryIO

from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, gettext_lazy as _

from inventory.imports import importing, stock_files
from inventory.imports.importing import Imported, Receipt, StockRow
from shop import uploaded_text
from shop.admin_base import uploads
from shop.admin_base.actions import Action, ActionPreview
from shop.errors import Invalid, Rejected, Unavailable
from shop.lazy_texts import mark

MOST_LINES = 20_000
"""Without the header. All lines of a file are in memory at once, for every preview."""
ROWS_SHOWN = 200
"""Of the preview: a page of all lines took hundreds of MiB."""
HEADERS = [
    _("line"),
    _("sku"),
    _("name"),
    _("price"),
    _("low stock threshold"),
    _("received"),
    _("on hand"),
    _("state"),
]


def import_stock() -> Action:
    """The action that imports a file."""

    def preview(data: Mapping[str, Any]) -> ActionPreview:
        with uploads.opened(data, is_confirmed=False) as file:
            return _preview(*_read(file))

    return Action(
        title=gettext("Import stock"),
        description=format_html(
            gettext("A CSV file: {columns}, and perhaps {optional}."),
            columns=format_html("<code>{}</code>", ",".join(stock_files.COLUMNS)),
            optional=format_html("<code>{}</code>", ",".join(stock_files.OPTIONAL_COLUMNS)),
        ),
        submit=gettext("Import"),
        form_class=uploads.UploadForm,
        preview=preview,
        perform=_import,
        report=_done_text,
        once="import stock",
        is_one_transaction=False,
        back=reverse("admin:inventory_product_changelist"),
    )


def _import(data: Mapping[str, Any]) -> Imported:
    """Raises `Unavailable` when a part of the delivery may be imported: the same form continues it."""
    delivery = importing.read_delivery(data["form_id"])
    if delivery and not delivery.finished_at and not data["path"].exists():
        raise Rejected(
            mark(
                "{done} of {total} rows are imported; the delivery's file is not on this server: confirm it "
                "where it was uploaded, and don't upload it again.",
                done=delivery.rows_done,
                total=delivery.rows_total,
            ),
            code="upload_gone",
        )
    try:
        with uploads.opened(data, is_confirmed=True) as file:
            rows, _encoding = _read(file)
            return importing.receive(rows, delivery_id=data["form_id"], reason=data["reason"])
    except Unavailable as error:
        again = gettext("Confirm again to continue.")
        raise Unavailable(f"{error.detail} {again}") from error


def _read(file: BinaryIO) -> tuple[list[StockRow], str]:
    """The rows of the file, and the name of the encoding in which it was read.

    Raises `Invalid` with its wrong lines, and for too many before any is parsed.
    """
    decoded = uploaded_text.decode(file.read())
    lines = list(islice(StringIO(decoded.text, newline=""), MOST_LINES + 2))
    if len(lines) > MOST_LINES + 1:
        raise Invalid(
            gettext(
                "The file has more than %(lines)s lines below its first, and this page takes no more. "
                "Split it, or import it by the command seed_stock, which has no such limit."
            )
            % {"lines": MOST_LINES},
            errors=[],
        )
    return stock_files.read(lines), decoded.encoding


def _preview(rows: list[StockRow], encoding: str) -> ActionPreview:
    """What the whole file would do, and the first of its rows."""
    imported, warnings = importing.preview(rows), stock_files.warnings(rows, encoding)
    if same := importing.find_same(rows):
        text = gettext(
            "The same rows were imported before, at %(at)s (%(reason)s): they would be received again."
        )
        warnings.append(text % {"at": f"{same.started_at:%Y-%m-%d %H:%M:%S} UTC", "reason": same.reason})
    sentence = gettext(
        "%(rows)s rows: %(created)s products are new, %(changed)s change, %(units)s units are received."
    ) % {
        "rows": len(imported.receipts),
        "created": imported.created,
        "changed": imported.changed,
        "units": imported.received,
    }
    shown = imported.receipts[:ROWS_SHOWN]
    if more := len(imported.receipts) - len(shown):
        hidden = gettext("The first %(shown)s are shown; %(more)s more are not, and are imported with them.")
        sentence = f"{sentence} {hidden % {'shown': len(shown), 'more': more}}"
    return ActionPreview(
        sentence,
        warning=" ".join(warnings),
        table={"headers": HEADERS, "rows": [_cells(receipt) for receipt in shown]},
    )


def _done_text(done: Imported) -> str:
    counts = {"created": done.created, "changed": done.changed, "units": done.received}
    text = gettext("%(created)s products created, %(changed)s changed, %(units)s units received.") % counts
    repeat = gettext("The delivery was imported before; nothing was imported again.")
    return f"{text} {repeat}" if done.is_repeat else text


def _cells(receipt: Receipt) -> list[str]:
    row, changes = receipt.row, receipt.changes
    values = {"name": row.name, "price": row.price, "low_stock_threshold": row.low_stock_threshold}
    fields = [
        f"{changes[name][0]} -> {changes[name][1]}"
        if name in changes
        else ("" if value is importing.KEEP or value is None else str(value))
        for name, value in values.items()
    ]
    kind = gettext("new") if receipt.is_new else ""
    return [str(row.line), row.sku, *fields, str(row.quantity), str(receipt.on_hand_after), kind]
