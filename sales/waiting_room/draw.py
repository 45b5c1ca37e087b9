"""The draw: entries that were made before a sale opened get their places by lot, and anyone can check it
(`docs/howto/check-a-draw.md`): commit and reveal (Blum, Coin Flipping by Telephone, 1981).

The places are in ascending order of HMAC-SHA256(seed, entries_hash + entry id). SHA-256 of the seed is public
from the sale's creation on, so the shop can't choose another; `entries_hash` is SHA-256 over the sorted ids
of all that take part, so the places of all change if one more joins or is left out.

So that it holds the sale's lock only while the ids are read, `close` fixes who takes part, and `order` writes
the places, which follow from it.
"""

import hashlib
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db.models import Q

from sales import terms
from sales.models import Sale, SaleEntry
from shop import clock
from shop.db import bulk_sql, open_transaction, transactions
from shop.journal import journal

# A statement compares each row with half of its cases on average.
ROWS_PER_STATEMENT = 500
POSITION = "UPDATE sales_saleentry SET position = CASE id{cases} END WHERE id IN ({ids})"
# As long as the process that closed the draw may take to order it, before another one does.
ORDERED_WITHIN = timedelta(seconds=10)
# The sales whose draw this process has closed, by a join, a reading of the seed or a tick, and not ordered.
_closed_here: set[int] = set()


def hash_entries(entry_ids: Iterable[UUID]) -> str:
    """SHA-256 over the sorted ids, each of 36 characters, with nothing between them; hexadecimal."""
    return hashlib.sha256("".join(sorted(map(str, entry_ids))).encode()).hexdigest()


def ordered(entry_ids: Iterable[UUID], *, seed: str, entries_hash: str) -> list[UUID]:
    """These entries in the order that the draw gives them."""

    return sorted(
        entry_ids,
        key=lambda entry_id: hmac.digest(seed.encode(), f"{entries_hash}{entry_id}".encode(), hashlib.sha256),
    )


def is_due(sale: Sale, now: datetime) -> bool:
    """Whether the sale has opened, and who takes part in its draw is not fixed yet."""
    return sale.drawn_at is None and now >= sale.opens_at


def close(sale: Sale, now: datetime) -> None:
    """Fix which entries take part in a draw that is due; the sale must be locked. Later ones follow."""
    open_transaction.assert_inside()
    entry_ids = list(SaleEntry.objects.filter(sale=sale).values_list("id", flat=True))
    _closed_here.add(sale.pk)
    sale.drawn_at, sale.drawn_count = now, len(entry_ids)
    sale.entries_hash = hash_entries(entry_ids)
    sale.last_position = len(entry_ids)
    sale.is_ordered = not entry_ids
    sale.save(update_fields=["drawn_at", "drawn_count", "entries_hash", "last_position", "is_ordered"])
    journal.note(
        what="sale.drawn",
        subject=f"sale {sale.pk}",
        after={"count": sale.drawn_count, "entries_hash": sale.entries_hash, "seed": sale.seed},
        at=now,
        by=journal.SYSTEM,
    )


def close_if_due(sale: Sale) -> Sale:
    """The sale, after its draw was closed if that was due: from its opening on the seed is public."""
    if not is_due(sale, clock.now()):
        return sale

    def work() -> Sale:
        locked = terms.lock(sale.pk)
        if is_due(locked, clock.now()):
            close(locked, clock.now())
        return locked

    return transactions.run_or_savepoint(work, transactions.ONCE)


def needs_ordering(sale: Sale, now: datetime) -> bool:
    """Whether this process should order the draw: it closed it, or the one that did has not for too long."""
    if sale.drawn_at is None or sale.is_ordered:
        return False
    # Either way: the clock may have gone back since.
    return sale.pk in _closed_here or abs(now - sale.drawn_at) > ORDERED_WITHIN


def order(sale: Sale) -> None:
    """Write the places of a closed draw. Safe to repeat, and beside another process that does the same."""
    taking_part = Q(position__isnull=True) | Q(position__lte=sale.drawn_count)
    entry_ids = transactions.read(
        lambda: list(SaleEntry.objects.filter(taking_part, sale=sale).values_list("id", flat=True))
    )
    places = list(enumerate(ordered(entry_ids, seed=sale.seed, entries_hash=sale.entries_hash), start=1))
    for start in range(0, len(places), ROWS_PER_STATEMENT):
        cells, some = bulk_sql.SqlLiterals(), places[start : start + ROWS_PER_STATEMENT]
        cases = "".join([f" WHEN {cells[entry_id]} THEN {place:d}" for place, entry_id in some])
        statement = POSITION.format(cases=cases, ids=cells.listed([entry_id for _, entry_id in some]))
        transactions.run(partial(bulk_sql.execute_deferred, statement), transactions.REPEATABLE)
    transactions.run(lambda: Sale.objects.filter(pk=sale.pk).update(is_ordered=True), transactions.REPEATABLE)
    _closed_here.discard(sale.pk)
