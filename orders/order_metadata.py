"""What programs keep with an order: texts by their keys, which the shop itself never reads."""

from collections.abc import Mapping
from uuid import UUID

from foundation.db import transactions
from foundation.db.rows import present, save_changes
from foundation.errors import invalid_field
from foundation.lazy_texts import mark
from foundation.models import JournalLine
from orders import order_events, rows as order_rows
from orders.models import Order

MOST_TEXTS = 20
LONGEST_KEY = 40
LONGEST_TEXT = 500


def change(*, order_id: UUID, texts: Mapping[str, str | None], account_id: int | None = None) -> None:
    """Merge these texts into the order's metadata; None removes one. Durable when it returns.

    The event about it names who did it. What changes nothing is none. Raises `NotFound`, also for an order
    that is not the account's if one is given, and `Invalid` if there were too many.
    """

    def merge() -> None:
        order = order_rows.lock_order(order_id, **present(account_id=account_id))
        before = order.metadata or {}
        after = {key: text for key, text in {**before, **texts}.items() if text is not None}
        if len(after) > MOST_TEXTS:
            text = mark("An order has {most} texts at most.", most=MOST_TEXTS)
            raise invalid_field("metadata", "too_long", text)
        if after == before:
            return
        save_changes(order, metadata=after or None)
        order_events.note_updated(order, before=before)

    transactions.run(merge, transactions.REPEATABLE)


def orders_with(account_id: int) -> list[UUID]:
    """The account's orders with metadata."""
    orders = Order.objects.filter(account_id=account_id, metadata__isnull=False)
    return list(orders.values_list("id", flat=True))


def orders_noted(account_id: int) -> list[UUID]:
    """Those of whose metadata the journal tells: of orders that have none any more, a change of it."""
    orders = Order.objects.filter(account_id=account_id)
    changed = JournalLine.objects.filter(what=order_events.UPDATED, order_id__in=orders.values("id"))
    ids = changed.values_list("order_id", flat=True).distinct()
    return [*orders_with(account_id), *filter(None, ids)]


def erase(account_id: int) -> None:
    """Delete the metadata of the account's orders: it may say who the customer is."""
    found = Order.objects.filter(id__in=orders_with(account_id))
    transactions.run(lambda: found.update(metadata=None), transactions.REPEATABLE)
