"""Pausing and resuming a sale: while it is paused none of its products can be ordered; see `shop.pausing`.

A pause stops the clocks of admitted entries, whose `admitted_until` moves by its length when it ends, and
no other entry is admitted. Accounts may still join the waiting room.
"""

from datetime import datetime
from functools import partial

from django.db.models import F

from inventory import sale_terms
from sales import terms
from sales.models import Sale, SaleEntry
from shop import clock, pausing


def set_paused(*, sale_id: int, is_paused: bool, reason: str) -> Sale:
    """Pause the sale, or end its pause; admitted entries have as long left then as they had when it began.

    Once a pause returns, no process places an order of its products until it is resumed. Durable on return; a
    sale that is so already stays as it is. Raises `NotFound`, and `Invalid` without a reason.
    """

    def lock() -> Sale:
        terms.get(sale_id=sale_id)
        return terms.lock(sale_id)

    def prepare(sale: Sale) -> None:
        # From here on no order of these products commits that was decided before.
        sale_terms.lock(terms.product_ids_of(sale_id))
        if sale.paused_at is not None:
            # Their locks may have taken a while, of which admitted accounts lose nothing.
            _move_clocks(sale_id, since=sale.paused_at, now=clock.now())

    return pausing.set_paused(lock, "sale", is_paused=is_paused, reason=reason, prepare=prepare)


pause, resume = partial(set_paused, is_paused=True), partial(set_paused, is_paused=False)


def _move_clocks(sale_id: int, *, since: datetime, now: datetime) -> None:
    """Let each entry that was admitted when the pause began keep the time that it had left."""
    admitted = SaleEntry.objects.filter(
        sale_id=sale_id, status=SaleEntry.Status.ADMITTED, admitted_until__gt=since
    )
    admitted.update(admitted_until=F("admitted_until") + (now - since))
