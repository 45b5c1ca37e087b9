"""Products: creating, changing, pausing and finding them, with their availability."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import partial, reduce
from operator import or_
from typing import Any, TypedDict, Unpack
from unicodedata import normalize

from django.conf import settings
from django.db import IntegrityError
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Lower

from accounts.operating import approvals, pausing
from foundation import clock, journal
from foundation.db import transactions
from foundation.errors import Rejected, required
from foundation.lazy_texts import mark
from foundation.models import JournalLine
from foundation.normalization import spellings
from foundation.values import GivenValues
from inventory import stock_levels
from inventory.models import Product


class Availability(StrEnum):
    """`RESERVED`: nothing is available now, but unpaid orders that hold stock may expire."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    SOLD_OUT = "sold_out"


class Terms(TypedDict, total=False):
    """The terms of a product that staff set, named as its columns. `price` is in minor units; `stock.low` is
    sent when what is available falls to the threshold; `limit_per_account` is of units in open and paid
    orders; None: never, no limit.
    """

    sku: str
    name: str
    price: int
    is_active: bool
    low_stock_threshold: int | None
    limit_per_account: int | None


TERMS = tuple(Terms.__annotations__)
CHANGE = "product.change"
# More than any use needs, and within the integers of every database.
LARGEST_THRESHOLD = 10**9
LARGEST_LIMIT = 10**9
INACTIVE = "inactive"
PAUSED = "paused"
OPEN = "open"
WITH_AVAILABILITY = {
    Availability.AVAILABLE: Q(on_hand__gt=F("reserved")),
    Availability.RESERVED: Q(on_hand=F("reserved"), reserved__gt=0),
    Availability.SOLD_OUT: Q(on_hand=0),
}
# No more is available than the product's threshold says.
IS_LOW = Q(low_stock_threshold__isnull=False, on_hand__lte=F("reserved") + F("low_stock_threshold"))
# The five states that operators see: a product that is not active is `inactive`, whatever its stock, and an
# active one that can't be ordered for now is `paused`.
WITH_STATE: dict[str, Q] = {
    **{
        one.value: Q(is_active=True, paused_at__isnull=True) & condition
        for one, condition in WITH_AVAILABILITY.items()
    },
    PAUSED: Q(is_active=True, paused_at__isnull=False),
    INACTIVE: Q(is_active=False),
}


def availability(product: Product) -> Availability:
    """Whether the product can be bought now, perhaps later, or not."""
    if product.available > 0:
        return Availability.AVAILABLE
    return Availability.RESERVED if product.reserved > 0 else Availability.SOLD_OUT


def state(product: Product) -> str:
    """The product's availability, or `inactive`, or `paused`, or what its sale is while that isn't open."""
    if not product.is_active:
        return INACTIVE
    if product.paused_at is not None:
        return PAUSED
    sale = product.sale and product.sale.status_at(clock.now())
    return str(sale) if sale and sale != OPEN else availability(product).value


def is_low(product: Product) -> bool:
    """Whether no more is available than the product's threshold says."""
    threshold = product.low_stock_threshold
    return threshold is not None and product.available <= threshold


def create(**terms: Unpack[Terms]) -> Product:
    """Add a product with nothing in stock. Raises `Rejected` `sku_exists`."""

    def insert() -> Product:
        product: Product = Product.objects.create(**terms)
        journal.note_all([created_line(product)])
        return product

    return _with_unique_sku(insert, terms["sku"])


def change(*, product_id: int, reason: str = "", **terms: Unpack[Terms]) -> Product:
    """Change these terms, and never the stock; orders keep the name and price they were placed at.

    A new threshold counts for later changes of the stock, a new limit for later orders. Raises `NotFound`,
    `Rejected` `sku_exists`, and `ApprovalRequired` for a price cut beyond `PRICE_CUT_PERCENT`.
    """

    def update() -> Product:
        product = lock(product_id)
        if not terms:
            return product
        require_approval(product, terms)
        if changes := set_terms(product, terms):
            product.updated_at = clock.now()
            journal.note_all([changed_line(product_id, changes, reason=reason)])
        # Orders that read price or limit without a lock find the version changed, and read them again.
        product.version += 1
        product.save(update_fields=[*terms, "updated_at", "version"])
        stock_levels.publish_on_commit([product])
        return product

    return _with_unique_sku(update, terms.get("sku"))


def set_terms(product: Product, terms: GivenValues) -> dict[str, tuple[Any, Any]]:
    """Set these terms, without saving, and return the values before and after of those that differ."""
    given = {name: (getattr(product, name), value) for name, value in terms.items()}
    changes = {name: pair for name, pair in given.items() if pair[0] != pair[1]}
    for name, pair in changes.items():
        setattr(product, name, pair[1])
    return changes


def require_approval(product: Product, terms: GivenValues) -> None:
    """Raise `ApprovalRequired` for terms with a price that one operator may not cut so far alone.

    A cut counts from the highest price within a day, by the journal, so that small ones add up. Exact for a
    product that is locked.
    """
    percent = settings.PRICE_CUT_PERCENT
    price = terms.get("price")
    subject = f"product {product.pk}"
    if percent is None or price is None or price >= product.price or not approvals.is_bound():
        return
    since = clock.now() - timedelta(days=1)
    lines = JournalLine.objects.filter(subject=subject, what="product.changed", at__gte=since)
    earlier = lines.values_list("before__price", flat=True)
    if price * 100 < max([product.price, *filter(None, earlier)]) * (100 - percent):
        text = mark(
            "{product}: a price cut of more than {percent} % within a day takes two operators, and is asked "
            "for in the admin.",
            product=product.sku,
            percent=percent,
        )
        asked = {**terms, "product_id": product.pk}
        raise approvals.ApprovalRequired(text, kind=CHANGE, subject=subject, terms=asked)


def created_line(product: Product) -> journal.NewJournalLine:
    """The journal's line about a new product."""
    after = {name: getattr(product, name) for name in TERMS}
    return journal.build_line(what="product.created", subject=f"product {product.pk}", after=after)


def changed_line(
    product_id: int, changes: Mapping[str, tuple[Any, Any]], *, reason: str = ""
) -> journal.NewJournalLine:
    """The journal's line about a product, from the values of each field before and after."""
    return journal.build_line(
        what="product.changed",
        subject=f"product {product_id}",
        before={name: before for name, (before, _) in changes.items()},
        after={name: after for name, (_, after) in changes.items()},
        detail=reason,
    )


def get(*, product_id: int, include_inactive: bool) -> Product:
    """The product. Raises `NotFound`, for an inactive one too unless `include_inactive`."""
    return _found(_visible(include_inactive=include_inactive), product_id)


def lock(product_id: int) -> Product:
    """The product, locked until the caller's transaction ends. Raises `NotFound`."""
    return _found(Product.objects.select_for_update(), product_id)


def set_paused(*, product_id: int, is_paused: bool, reason: str | None) -> Product:
    """Pause the product, or end its pause, after which it can be ordered if it is active and in stock.

    Once a pause returns, no process places an order of it until it is resumed. Durable on return; a product
    that is so already stays as it is. With None, `pausing.explain` adds the reason. Raises
    `NotFound`, and `Invalid` for an empty reason.
    """
    product = pausing.set_paused(partial(lock, product_id), "product", is_paused=is_paused, reason=reason)
    stock_levels.publish_on_commit([product])
    return product


def _found(products: "QuerySet[Product]", product_id: int) -> Product:
    found = products.filter(id=product_id).first()
    return required(found, mark("There is no product {product_id}.", product_id=product_id))


def find(
    *, sku: str = "", search: str = "", with_availability: Availability | None = None, include_inactive: bool
) -> "QuerySet[Product]":
    """The products with this `sku`, and whose sku or name contains every word of `search`, in any case and
    spelling.
    """
    found = _visible(include_inactive=include_inactive).alias(lowered_sku=Lower("sku"))
    if sku:
        found = found.filter(sku=sku)
    for word in search.split():
        of_sku = Q(lowered_sku__contains=normalize("NFKC", word).lower())
        found = found.filter(reduce(or_, (Q(name__icontains=one) for one in spellings(word)), of_sku))
    if with_availability:
        found = found.filter(WITH_AVAILABILITY[with_availability])
    return found


def _visible(*, include_inactive: bool) -> "QuerySet[Product]":
    return Product.objects.all() if include_inactive else Product.objects.filter(is_active=True)


def _with_unique_sku(work: Callable[[], Product], sku: str | None) -> Product:
    """Run `work` in one transaction. The constraint refuses a sku that exists; no query checks it before."""
    try:
        return transactions.run_or_savepoint(work, transactions.ONCE)
    except IntegrityError:
        if sku is None or not Product.objects.filter(sku=sku).exists():
            raise
        text = mark("There is a product with the sku {sku} already.", sku=sku)
        raise Rejected(text, code="sku_exists") from None


approvals.register_terms(
    CHANGE, title=mark("Change a product"), permission="inventory.change_product", write=change
)
