"""Helpers for tests of archives: a shop that has sold, in a month that ended long ago, and its rows."""

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from events.tests.delivering import deliver_all
from inventory.models import StockMovement
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from shop import clock
from shop.db.pacing import Pace
from shop.management.archives import TABLES
from shop.models import ArchivedMonth, JournalLine
from shop.operations.archives import archiving, restoring
from shop.operations.archives.archive_tables import ArchiveTable
from shop.operations.archives.archiving import Archived, Options
from shop.operations.archives.restoring import Restored
from shop.tests import commands

WHY = "The disk is full."
JOURNAL, MOVEMENTS = TABLES["journal"], TABLES["movements"]
QUICK = Pace(size=4, share=1.0)


def long_ago() -> datetime:
    """An instant in the middle of a month that ended more than 90 days ago."""
    return (clock.now() - timedelta(days=200)).replace(day=15)


def old_month() -> str:
    return f"{long_ago():%Y-%m}"


def sell(orders: int = 3) -> list[Order]:
    """Paid orders of one product each, whose events are delivered."""
    product = ProductFactory.create(on_hand=100, price=500)
    return [
        buying.advance(buying.place(buying.account().id, {product: 1}, token="tok_ok")) for _ in range(orders)
    ]


def age() -> None:
    """Move all lines and movements into the old month, in their order, with every event delivered."""
    for model in (JournalLine, StockMovement):
        for number, row in enumerate(model.objects.order_by("pk")):
            model.objects.filter(pk=row.pk).update(at=long_ago() + timedelta(seconds=number))
    deliver_all()


def options(failpoint: Callable[[str], None] = lambda point: None, **more: Any) -> Options:
    return Options(reason=WHY, failpoint=failpoint, **{"pace": QUICK} | more)


def archive(
    folder: Path, table: ArchiveTable = JOURNAL, failpoint: Callable[[str], None] = lambda point: None
) -> Archived:
    done = archiving.archive(table, old_month(), folder=folder, options=options(failpoint))
    assert done is not None
    return done


def restore(path: Path, failpoint: Callable[[str], None] = lambda point: None) -> Restored:
    return restoring.restore(path, TABLES, options=options(failpoint))


def file_of(folder: Path, table: ArchiveTable = JOURNAL) -> Path:
    """The table's one archived file."""
    return folder / ArchivedMonth.objects.get(table=table.name).file


def rows_of(table: ArchiveTable = JOURNAL) -> list[tuple[Any, ...]]:
    """All rows of the table, by their keys; of the journal without those that say what the archives did."""
    rows = table.model._default_manager.order_by("pk")
    if table is JOURNAL:
        rows = rows.exclude(what__startswith="archive.")
    return list(rows.values_list(*table.columns))


def ready_keys(table: ArchiveTable = JOURNAL) -> set[Any]:
    """The keys of the rows that an archiving would take."""
    begin = long_ago().replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    pages = table.month_rows(begin, begin + timedelta(days=28))
    return {row[table.key] for page in pages for row in page}


def damage(path: Path) -> None:
    """Change a bit in the middle of the file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def run(*words: str) -> str:
    """What the command prints."""
    return commands.run(*words)[1]


def broken() -> dict[str, list[str]]:
    return {report.law: report.offenders for report in buying.broken_laws()}
