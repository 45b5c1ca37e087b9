"""Products: creating, changing and finding them, with their availability."""

from collections.abc import Callable
from enum import Enum, StrEnum
from functools import reduce
from operator import or_
from typing import Final
from unicodedata import normalize

from django.db import IntegrityError
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Lower

from inventory import product_journal, stock_levels
from inventory.models import Product
from shop.db import transactions
from shop.errors import NotFound, Rejected
from shop.events import journal
from shop.lazy_texts import mark as _
from shop.normalization import spellings


class Availability(StrEnum):
    """`RESERVED`: nothing is available now, but unpaid orders that hold stock may expire."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    SOLD_OUT = "sold_out"


class Keep(Enum):
    """Stands for "don't change" where None is a value."""

    KEEP = "as it is"


KEEP: Final = Keep.KEEP
# More than any use needs, and within the integers of every database.
LARGEST_THRESHOLD = 10**9
LARGEST_LIMIT = 10**9
INACTIVE, PAUSED = "inactive", "paused"
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
    """The product's availability, or `inactive`, or `paused`."""
    if not product.is_active:
        return INACTIVE
    return availability(product).value if product.paused_at is None else PAUSED


def is_low(product: Product) -> bool:
    """Whether no more is available than the product's threshold says."""
    threshold = product.low_stock_threshold
    return threshold is not None and product.available <= threshold


def create(
    *,
    sku: str,
    name: str,
    price: int,
    is_active: bool = True,
    low_stock_threshold: int | None = None,
    limit_per_account: int | None = None,
) -> Product:
    """Add a product with nothing in stock; `price` is in minor units. Raises `Rejected` `sku_exists`.

    `stock.low` is sent when what is available falls to the threshold; `limit_per_account` is of units in open
    and paid orders; None: never, no limit.
    """

    def insert() -> Product:
        product = Product.objects.create(
            sku=sku,
            name=name,
            price=price,
            is_active=is_active,
            low_stock_threshold=low_stock_threshold,
            limit_per_account=limit_per_account,
        )
        journal.note_all([product_journal.created(product)])
        return product

    return _with_unique_sku(insert, sku)


def change(
    *,
    product_id: int,
    sku: str | None = None,
    name: str | None = None,
    price: int | None = None,
    is_active: bool | None = None,
    low_stock_threshold: int | Keep | None = KEEP,
    limit_per_account: int | Keep | None = KEEP,
    reason: str = "",
) -> Product:
    """Change the given fields, and never the stock; orders keep the name and price they were placed at.

    A threshold or limit of None removes it. A new threshold counts for later changes of the stock, a new
    limit for later orders. Raises `NotFound`, and `Rejected` `sku_exists`.
    """
    given = {"sku": sku, "name": name, "price": price, "is_active": is_active}
    changes: dict[str, object] = {field: value for field, value in given.items() if value is not None}
    if low_stock_threshold is not KEEP:
        changes["low_stock_threshold"] = low_stock_threshold
    if limit_per_account is not KEEP:
        changes["limit_per_account"] = limit_per_account

    def update() -> Product:
        product = lock(product_id)
        if not changes:
            return product
        before = {field: getattr(product, field) for field in changes}
        for field, value in changes.items():
            setattr(product, field, value)
        if differing := {name: (before[name], new) for name, new in changes.items() if before[name] != new}:
            journal.note_all([product_journal.changed(product_id, differing, reason=reason)])
        # Orders that read price or limit without a lock find the version changed, and read them again.
        product.version += 1
        product.save(update_fields=[*changes, "version"])
        stock_levels.publish_on_commit([product])
        return product

    return _with_unique_sku(update, sku)


def get(*, product_id: int, include_inactive: bool) -> Product:
    """The product. Raises `NotFound`, for an inactive one too unless `include_inactive`."""
    return _found(_visible(include_inactive=include_inactive), product_id)


def lock(product_id: int) -> Product:
    """The product, locked until the caller's transaction ends. Raises `NotFound`."""
    return _found(Product.objects.select_for_update(), product_id)


def _found(products: "QuerySet[Product]", product_id: int) -> Product:
    product = products.filter(id=product_id).first()
    if product is None:
        raise NotFound(_("There is no product {product_id}.", product_id=product_id))
    return product


def find(
    *, search: str = "", with_availability: Availability | None = None, include_inactive: bool
) -> "QuerySet[Product]":
    """The products whose sku or name contains every word of `search`, in any case and spelling."""
    found = _visible(include_inactive=include_inactive).alias(lowered_sku=Lower("sku"))
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
        text = _("There is a product with the sku {sku} already.", sku=sku)
        raise Rejected(text, code="sku_exists") from None
