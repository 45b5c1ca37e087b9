"""Sales: creating, changing, pausing and finding them. A change of what orders depend on locks the sale and
then its products, whose versions it increments: see `inventory.sale_terms`.
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypedDict, Unpack

from django.db.models import F, QuerySet

from accounts.operating import pausing
from foundation import clock, journal, lazy_texts
from foundation.db import transactions
from foundation.errors import Invalid, Rejected, invalid_field, required
from foundation.lazy_texts import mark
from foundation.values import GivenValues
from inventory import sale_terms
from sales import sale_states
from sales.models import Sale, SaleEntry, SaleProduct

SEED_BYTES = 32
MOST_PRODUCTS = 1_000
DEFAULT_RATE = 600
DEFAULT_ADMITTED_FOR_SECONDS = 300
# More than any use needs, and within the integers of every database.
HIGHEST_RATE = 10**6
LONGEST_ADMISSION_SECONDS = 7 * 24 * 3600


class Terms(TypedDict, total=False):
    """The terms of a sale that staff set, named as its columns."""

    name: str
    opens_at: datetime
    closes_at: datetime
    admission: str
    rate_per_minute: int
    admitted_for_seconds: int


TERMS = tuple(Terms.__annotations__)
# Once it has opened, entries are drawn, and orders were placed under its admission.
FIXED_ONCE_OPEN = ("opens_at", "admission")
KEPT_ONCE_CLOSED = ("name",)


def create(*, product_ids: Collection[int], reason: str = "", **terms: Unpack[Terms]) -> Sale:
    """Create a sale of these products; from its commit on, orders of them are decided by its terms.

    Its seed is drawn here: only the hash is public until it opens. Raises `Invalid` with every field that is
    wrong, and `Rejected` `product_in_sale` with `products`, those that are in another sale that is not over.
    """
    seed = secrets.token_hex(SEED_BYTES)
    given: Any = {**terms, "seed": seed, "seed_hash": hashlib.sha256(seed.encode()).hexdigest()}
    _require_closing_after_opening(Sale(**given), is_new=True)

    def insert() -> Sale:
        sale = Sale.objects.create(**given)
        _replace_products(sale, set(product_ids), before=set())
        after = {name: getattr(sale, name) for name in TERMS}
        journal.note(
            what="sale.created",
            subject=f"sale {sale.pk}",
            after=after | {"products": sorted(product_ids)},
            detail=reason,
        )
        return sale

    return transactions.run_or_savepoint(insert, transactions.ONCE)


def change(
    *, sale_id: int, product_ids: Collection[int] | None = None, reason: str = "", **terms: Unpack[Terms]
) -> Sale:
    """Change these terms, and the products if given; every process obeys once this returns.

    Raises `NotFound`; `Invalid`; `Rejected` `product_in_sale`, `sale_has_opened` for terms that can't change
    any more, `sale_has_entries` if its waiting room would go, and `sale_closed` for a sale that is over, of
    which only name and products can change: a product that it gives up can be ordered without it.
    """

    def work() -> Sale:
        sale = lock(sale_id)
        before = product_ids_of(sale_id)
        after = before if product_ids is None else set(product_ids)
        changed = {name: value for name, value in terms.items() if value != getattr(sale, name)}
        if not changed and before == after:
            return sale
        _require_changeable(sale, changed)
        old = {name: getattr(sale, name) for name in changed}
        for name, value in changed.items():
            setattr(sale, name, value)
        _require_closing_after_opening(sale)
        _replace_products(sale, after, before=before)
        if "closes_at" in changed and sale.closes_at > clock.now():
            # A process whose clock was ahead may have ended it already.
            sale.ended_at = None
        sale.version += 1
        sale.updated_at = clock.now()
        sale.save(update_fields=[*changed, "ended_at", "updated_at", "version"])
        products = {} if before == after else {"products": sorted(after)}
        journal.note(
            what="sale.changed",
            subject=f"sale {sale.pk}",
            before=old | ({"products": sorted(before)} if products else {}),
            after=changed | products,
            detail=reason,
        )
        return sale

    return transactions.run_or_savepoint(work, transactions.ONCE)


def get(*, sale_id: int) -> Sale:
    """The sale. Raises `NotFound`."""
    return _found(Sale.objects.all(), sale_id)


def find(*, status: str | None = None) -> "QuerySet[Sale]":
    """All sales, or those with this status now, and their products; the caller orders them."""
    found = Sale.objects.filter(Sale.in_status(status, clock.now())) if status else Sale.objects.all()
    return found.prefetch_related("sale_products")


def lock(sale_id: int) -> Sale:
    """The sale, locked until the transaction ends. Raises `NotFound`."""
    return _found(Sale.objects.select_for_update(), sale_id)


def set_paused(*, sale_id: int, is_paused: bool, reason: str | None) -> Sale:
    """Pause the sale, or end its pause; admitted entries have as long left then as they had when it began.

    Once a pause returns, no process places an order of its products until it is resumed. Durable on return; a
    sale that is so already stays as it is. With None, `pausing.explain` adds the reason. Raises
    `NotFound`, and `Invalid` for an empty reason.
    """

    def prepare(sale: Sale) -> None:
        # From here on no order of these products commits that was decided before.
        sale_terms.lock(product_ids_of(sale_id))
        if sale.paused_at is not None:
            # By now: their locks may have taken a while, of which admitted accounts lose nothing.
            admitted = SaleEntry.objects.filter(sale_id=sale_id, status=SaleEntry.Status.ADMITTED)
            admitted.filter(admitted_until__gt=sale.paused_at).update(
                admitted_until=F("admitted_until") + (clock.now() - sale.paused_at)
            )

    return pausing.set_paused(
        partial(lock, sale_id), "sale", is_paused=is_paused, reason=reason, prepare=prepare
    )


def _found(sales: "QuerySet[Sale]", sale_id: int) -> Sale:
    return required(sales.filter(pk=sale_id).first(), sale_states.no_sale(sale_id).detail)


def product_ids_of(sale_id: int) -> set[int]:
    """The products of the sale."""
    return set(SaleProduct.objects.filter(sale_id=sale_id).values_list("product_id", flat=True))


def _replace_products(sale: Sale, after: set[int], *, before: set[int]) -> None:
    """Lock all products of both sets, so that no order commits by the old terms, and write the difference."""
    if len(after) > MOST_PRODUCTS:
        raise invalid_field(
            "products", "too_long", mark("A sale may have {most} products.", most=MOST_PRODUCTS)
        )
    removed = before - after
    current = sale_terms.lock(after | before)
    missing = sorted(after - before - current.keys())
    if missing:
        names = ", ".join(map(str, missing))
        raise invalid_field("products", "not_found", mark("There is no product {products}.", products=names))
    # Of a sale that is not over also those that another sale took while this one seemed to be over.
    is_over = clock.now() >= sale.closes_at
    added = {id for id in after if id not in before or (not is_over and current.get(id) != sale.pk)}
    _require_free(sale, {id: current[id] for id in added})
    sale_terms.assign([id for id in removed if current.get(id) == sale.pk], sale_id=None)
    sale.sale_products.filter(product_id__in=removed).delete()
    sale_terms.assign(added, sale_id=sale.pk)
    new = sorted(added - before)
    SaleProduct.objects.bulk_create([SaleProduct(sale=sale, product_id=id) for id in new])


def _require_free(sale: Sale, current: Mapping[int, int | None]) -> None:
    """Require that none of these products is in another sale that is not over. They must be locked."""
    others = {id for id in current.values() if id not in (None, sale.pk)}
    running = set(Sale.objects.filter(pk__in=others, closes_at__gt=clock.now()).values_list("pk", flat=True))
    taken = sorted(id for id, other in current.items() if other in running)
    if taken:
        names = lazy_texts.join(", ", [mark("product {product}", product=id) for id in taken])
        raise Rejected(
            mark("In another sale that is not over: {products}.", products=names),
            code="product_in_sale",
            products=taken,
        )


def _require_changeable(sale: Sale, changed: GivenValues) -> None:
    now = clock.now()
    if now >= sale.closes_at and changed.keys() - set(KEPT_ONCE_CLOSED):
        raise Rejected(
            mark("The sale is over; only its name and its products can change."), code="sale_closed"
        )
    fixed = [name for name in FIXED_ONCE_OPEN if name in changed]
    if fixed and (now >= sale.opens_at or sale.drawn_at is not None):
        raise Rejected(
            mark("The sale has opened; {terms} can't change any more.", terms=", ".join(fixed)),
            code="sale_has_opened",
        )
    if "admission" in changed and sale.entries.exists():
        raise Rejected(
            mark("Accounts are in its waiting room already; the admission can't change any more."),
            code="sale_has_entries",
        )


def _require_closing_after_opening(sale: Sale, *, is_new: bool = False) -> None:
    """The database has the same constraint, which names no field. A new sale must close in the future."""
    faults = {}
    if sale.closes_at <= sale.opens_at:
        faults["not_after_opening"] = mark("The sale must close after it opens.")
    if is_new and sale.closes_at <= clock.now():
        faults["not_in_future"] = mark("The sale must close in the future (times are UTC).")
    if faults:
        errors = [{"field": "closes_at", "code": code, "detail": detail} for code, detail in faults.items()]
        raise Invalid(lazy_texts.join(" ", [*faults.values()]), errors=errors)
