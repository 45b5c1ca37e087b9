"""Import products and stock, from a CSV file or for one sku."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError, CommandParser
from uuid_utils.compat import uuid7

from foundation import journal
from foundation.errors import FirstcomeError, Invalid, Unavailable
from foundation.management import shell
from foundation.management.progress import progress_bar
from foundation.normalization import normalized
from foundation.values import Values
from inventory.imports import importing, stock_files
from inventory.imports.stock_files import StockRow

ERRORS_SHOWN = 50
EPILOG = """
The file's first line is sku,name,price,quantity (UTF-8, UTF-16 or CP949; prices in the currency's
minor unit), and may name low_stock_threshold as well, where an empty cell means never.
A product that is missing is created; one that exists takes the line's name and price. The quantity is
received: it is added to what is on hand. Every run is a delivery of its own, so running a file twice receives
it twice, unless the second run has the id of the first: --delivery continues where a run was interrupted, and
does nothing when the delivery is finished. --dry-run shows line by line what would happen. A file with a bad
line is not imported at all; other files are written in chunks of 500 lines, while orders continue.
"""


class Command(BaseCommand):
    help = (
        "Create products and receive stock. A file with a bad line is refused; a delivery is received once."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.epilog = EPILOG
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        parser.add_argument("file", nargs="?", type=Path, help="a CSV file: sku,name,price,quantity")
        parser.add_argument("--sku", help="instead of a file: the product whose stock was received")
        parser.add_argument("--quantity", help="how many units of the sku were received")
        parser.add_argument("--name", help="the sku's name, if it is new or has changed")
        parser.add_argument("--price", help="the sku's price, if it is new or has changed")
        parser.add_argument(
            "--delivery", type=UUID, metavar="ID", help="continue this delivery, which was interrupted"
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="show what each line would do, and change nothing"
        )

    def handle(self, *, file: Path | None, dry_run: bool, delivery: UUID | None, **options: Any) -> None:
        """Refusals are the command's errors, with a line for each bad line of the file."""
        given = {
            name: options[name] for name in ("sku", "name", "price", "quantity") if options[name] is not None
        }
        try:
            rows = self._read(file, given)
            if dry_run:
                self._dry_run(rows)
            else:
                reason = normalized(f"seed_stock {file.name}")[:255] if file else "seed_stock"
                self._receive(rows, delivery or uuid7(), reason)
        except Invalid as error:
            errors: list[Values] = error.extra["errors"]
            named = [(one["line"] and f"line {one['line']}", one["field"], one["detail"]) for one in errors]
            lines = [": ".join(filter(None, parts)) for parts in named]
            more = [f"... and {len(lines) - ERRORS_SHOWN} more"] if len(lines) > ERRORS_SHOWN else []
            raise CommandError("\n".join([str(error), *lines[:ERRORS_SHOWN], *more])) from None
        except FirstcomeError as error:
            raise CommandError(error.detail) from None

    def _read(self, file: Path | None, given: dict[str, str]) -> list[StockRow]:
        if not file and {"sku", "quantity"} <= given.keys():
            return [stock_files.read_one(given)]
        if not file or given:
            raise CommandError("Give either a CSV file, or --sku and --quantity.")
        try:
            rows, warnings = stock_files.read_file(file.read_bytes())
        except OSError as error:
            raise CommandError(f"{file} can't be read: {error.strerror}.") from error
        for warning in warnings:
            self.stderr.write(warning)
        return rows

    def _dry_run(self, rows: Sequence[StockRow]) -> None:
        imported = importing.preview(rows)
        if same := importing.find_same(rows):
            self.stderr.write(
                f"The same rows were imported before, by delivery {same.pk}, {same.started_at}."
            )
        for receipt in imported.receipts:
            self.stdout.write(_receipt_line(receipt))
        self.stdout.write(f"Dry run, nothing was written: {importing.summary(imported)}")

    def _receive(self, rows: Sequence[StockRow], delivery_id: UUID, reason: str) -> None:
        # Printed first, because a run that is killed can't print it later.
        self.stderr.write(f"Delivery {delivery_id}; if this is interrupted, continue with --delivery.")
        try:
            with journal.acting(shell.operator()), progress_bar("Importing stock", len(rows)) as advance:
                imported = importing.receive(
                    rows,
                    delivery_id=delivery_id,
                    reason=reason,
                    on_progress=lambda _done: advance(importing.ROWS_AT_ONCE),
                )
        except Unavailable as error:
            raise CommandError(
                f"{error.detail} A part may be imported: continue with --delivery {delivery_id}."
            ) from None
        before = "It was imported before, nothing was received again: " if imported.is_repeat else ""
        self.stdout.write(f"{before}{importing.summary(imported)}")


def _receipt_line(receipt: importing.Receipt) -> str:
    row = receipt.row
    changes = [f"{field} {before!r} -> {after!r}" for field, (before, after) in receipt.changes.items()]
    parts = ["new"] if receipt.is_new else changes
    if row.quantity:
        parts.append(f"{row.quantity} received, {receipt.on_hand[1]} on hand afterwards")
    where = f"line {row.line}: " if row.line else ""
    return f"{where}{row.sku}: {', '.join(parts) or 'stays as it is'}"
