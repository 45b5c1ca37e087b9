"""Pausing and resuming a sale: while it is paused none of its products can be ordered, and no entry is
admitted; the clocks of admitted entries stop. See `shop.pausing`.
"""

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

    def prepare(sale: Sale) -> None:
        # From here on no order of these products commits that was decided before.
        sale_terms.lock(terms.product_ids_of(sale_id))
        if sale.paused_at is not None:
            # By now: their locks may have taken a while, of which admitted accounts lose nothing.
            admitted = SaleEntry.objects.filter(sale_id=sale_id, status=SaleEntry.Status.ADMITTED)
            admitted.filter(admitted_until__gt=sale.paused_at).update(
                admitted_until=F("admitted_until") + (clock.now() - sale.paused_at)
            )

    lock = partial(terms.lock, sale_id)
    return pausing.set_paused(lock, "sale", is_paused=is_paused, reason=reason, prepare=prepare)


pause, resume = partial(set_paused, is_paused=True), partial(set_paused, is_paused=False)
