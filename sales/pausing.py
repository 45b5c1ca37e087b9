"""Pausing and resuming a sale: while it is paused none of its products can be ordered; see `shop.pausing`.

A pause stops the clocks of admitted entries, whose `admitted_until` moves by its length when it ends, and
no other entry is admitted. Accounts may still join the waiting room.
"""

from datetime import datetime

from django.db.models import F

from inventory import sale_terms
from sales import terms
from sales.models import Sale, SaleEntry
from shop import clock, pausing
from shop.db import transactions


def pause(*, sale_id: int, reason: str) -> Sale:
    """Pause the sale: once this returns, no process places an order of its products until it is resumed.

    Durable on return; a sale that is paused already stays as it is. Raises `NotFound`, and `Invalid` without
    a reason.
    """
    return _change(sale_id, is_paused=True, reason=reason)


def resume(*, sale_id: int, reason: str) -> Sale:
    """End the sale's pause; admitted entries have as long left as they had when it began.

    Durable on return; a sale that is not paused stays as it is. Raises `NotFound`, and `Invalid` without a
    reason.
    """
    return _change(sale_id, is_paused=False, reason=reason)


def _change(sale_id: int, *, is_paused: bool, reason: str) -> Sale:
    given = pausing.check_reason(reason)
    terms.get(sale_id=sale_id)

    def work() -> Sale:
        sale = terms.lock(sale_id)
        before = sale.paused_at
        if (before is not None) == is_paused:
            return sale
        # From here on no order of these products commits that was decided before.
        sale_terms.lock(terms.product_ids_of(sale_id))
        # Their locks may have taken a while, of which admitted accounts lose nothing.
        now = clock.now()
        if before is not None:
            _move_clocks(sale_id, since=before, now=now)
        sale.paused_at = now if is_paused else None
        sale.version += 1
        sale.save(update_fields=["paused_at", "version"])
        pausing.note(
            what="sale.paused" if is_paused else "sale.resumed",
            subject=f"sale {sale_id}",
            before=before,
            after=sale.paused_at,
            reason=given,
        )
        return sale

    return transactions.run_or_savepoint(work, transactions.ONCE)


def _move_clocks(sale_id: int, *, since: datetime, now: datetime) -> None:
    """Let each entry that was admitted when the pause began keep the time that it had left."""
    admitted = SaleEntry.objects.filter(
        sale_id=sale_id, status=SaleEntry.Status.ADMITTED, admitted_until__gt=since
    )
    admitted.update(admitted_until=F("admitted_until") + (now - since))
