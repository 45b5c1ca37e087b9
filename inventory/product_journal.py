"""Journal lines about created and changed products: values before and after, and the actor."""

from collections.abc import Mapping
from typing import Any

from inventory.models import Product
from shop.events import journal
from shop.events.journal import NewJournalLine

TERMS = ("sku", "name", "price", "is_active", "low_stock_threshold", "limit_per_account")


def created(product: Product) -> NewJournalLine:
    """The line about a new product, to be noted in the transaction that creates it."""
    after = {name: getattr(product, name) for name in TERMS}
    return journal.build_line(what="product.created", subject=f"product {product.pk}", after=after)


def changed(product_id: int, changes: Mapping[str, tuple[Any, Any]], *, reason: str = "") -> NewJournalLine:
    """The line about a product, from the values of each field before and after."""
    return journal.build_line(
        what="product.changed",
        subject=f"product {product_id}",
        before={name: before for name, (before, _) in changes.items()},
        after={name: after for name, (_, after) in changes.items()},
        detail=reason,
    )
