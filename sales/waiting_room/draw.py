"""The draw: entries that were made before a sale opened get their places by lot, and anyone can check it
(`docs/howto/check-a-draw.md`): commit and reveal (Blum, Coin Flipping by Telephone, 1981).

The places are in ascending order of HMAC-SHA256(seed, entries_hash + entry id). SHA-256 of the seed is public
from the sale's creation on, so the shop can't choose another; `entries_hash` is SHA-256 over the sorted ids
of all that take part, so the places of all change if one more joins or is left out.

So that it holds the sale's lock only while the ids are read, `close` fixes who takes part, and `order` writes
the places, which follow from it, in ascending order: a process that finds the lease of another lapsed goes on
after the last one.
"""

import hashlib
import hmac
import time
from collections.abc import Iterable
from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

from django.db.models import Max, Q
from structlog import get_logger

from foundation import clock, journal
from foundation.db import open_transaction, transactions
from foundation.db.rows import save_changes
from foundation.repeated_work import start_once
from sales import terms
from sales.models import Sale
from sales.waiting_room import rows

log = get_logger(__name__)
ROWS_PER_TRANSACTION = 1_000
# Between two transactions, as a share of the last one's time: others need the database too.
REST = 0.25
# A larger draw is ordered in a thread of its own, for it takes longer than the pause between two ticks.
ORDERED_AT_ONCE = 5_000
# A process that orders a draw renews its lease each third of it.
LEASE = timedelta(seconds=10)


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
    entry_ids = list(sale.entries.values_list("id", flat=True))
    save_changes(
        sale,
        drawn_at=now,
        drawn_count=len(entry_ids),
        entries_hash=hash_entries(entry_ids),
        last_position=len(entry_ids),
        is_ordered=not entry_ids,
    )
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


def claim(sale: Sale, now: datetime) -> bool:
    """Whether this process is to order the draw: no other one does, as far as leases say."""
    if sale.drawn_at is None or sale.is_ordered:
        return False
    # One too far ahead is of a clock that has gone back since; clocks of hosts differ by less than a lease.
    is_free = Q(ordering_until=None) | Q(ordering_until__lte=now) | Q(ordering_until__gt=now + 2 * LEASE)
    unordered = Sale.objects.filter(is_free, pk=sale.pk, is_ordered=False)
    return bool(
        transactions.run(partial(unordered.update, ordering_until=now + LEASE), transactions.REPEATABLE)
    )


def start_ordering(sale: Sale) -> None:
    """Order a draw that this process has claimed: a large one in a thread, so that other sales don't wait."""
    if sale.drawn_count <= ORDERED_AT_ONCE:
        order(sale)
    else:
        start_once(f"draw of sale {sale.pk}", partial(order, sale)).add_done_callback(_log_failure)


def _log_failure(run: "Future[None]") -> None:
    if error := run.exception():
        log.warning("a draw is not ordered yet; a process goes on when the lease ends", error=error)


def order(sale: Sale) -> None:
    """Write the places of a closed draw that are not written yet, and renew the lease meanwhile. Safe to
    repeat, and beside another process that does the same.
    """
    of_draw = sale.entries.exclude(position__gt=sale.drawn_count)
    entry_ids = transactions.read(lambda: list(of_draw.values_list("id", flat=True)))
    places = list(enumerate(ordered(entry_ids, seed=sale.seed, entries_hash=sale.entries_hash), start=1))
    written = transactions.read(lambda: of_draw.aggregate(last=Max("position"))["last"]) or 0
    unordered = Sale.objects.filter(pk=sale.pk, is_ordered=False)
    renew_at = time.monotonic()
    for start in range(written, len(places), ROWS_PER_TRANSACTION):
        began_at = time.monotonic()
        if began_at >= renew_at:
            renew = partial(unordered.update, ordering_until=clock.now() + LEASE)
            transactions.run(renew, transactions.REPEATABLE)
            renew_at = began_at + LEASE.total_seconds() / 3
        some = places[start : start + ROWS_PER_TRANSACTION]
        transactions.run(partial(rows.write_places, some), transactions.REPEATABLE)
        if start + len(some) < len(places):
            time.sleep(REST * (time.monotonic() - began_at))
    transactions.run(partial(unordered.update, is_ordered=True), transactions.REPEATABLE)
