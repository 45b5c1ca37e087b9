"""The bodies of requests and answers about sales, entries and draws."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from foundation import clock
from foundation.errors import invalid_field
from foundation.http.json_format import JsonObject
from foundation.http.validation import (
    UNCHANGED,
    ChangeInput,
    Id,
    Input,
    Instant,
    NonBlankText,
    Query,
    body,
    changes,
)
from foundation.lazy_texts import mark
from sales import terms
from sales.models import Sale
from sales.waiting_room.entries import Entry

Admission = Literal["open", "queue"]
SaleStatus = Literal["scheduled", "open", "paused", "closed"]
EntryStatus = Literal["waiting", "admitted", "used", "expired", "over"]
Rate = Annotated[int, Field(ge=1, le=terms.HIGHEST_RATE)]
AdmittedFor = Annotated[int, Field(ge=1, le=terms.LONGEST_ADMISSION_SECONDS)]
ProductIds = Annotated[list[Id], Field(max_length=terms.MOST_PRODUCTS)]


class CreateSaleInput(Input):
    """A new sale: a window of time in which products are sold."""

    name: NonBlankText
    products: Annotated[ProductIds, Field(min_length=1)]
    opens_at: Instant
    closes_at: Instant
    admission: Admission = "open"
    rate_per_minute: Rate = terms.DEFAULT_RATE
    admitted_for_seconds: AdmittedFor = terms.DEFAULT_ADMITTED_FOR_SECONDS


class ChangeSaleInput(ChangeInput):
    """Changes of a sale. Only the given fields change."""

    name: NonBlankText = UNCHANGED
    products: ProductIds | None = UNCHANGED
    opens_at: Instant = UNCHANGED
    closes_at: Instant = UNCHANGED
    admission: Admission = UNCHANGED
    rate_per_minute: Rate = UNCHANGED
    admitted_for_seconds: AdmittedFor = UNCHANGED


class ListSalesQuery(Query):
    """Which sales are listed."""

    status: SaleStatus | None = None


class SaleBody(BaseModel):
    """A sale: a window of time in which products are sold."""

    id: int
    name: str
    products: list[int]
    opens_at: datetime
    closes_at: datetime
    admission: Admission
    rate_per_minute: int
    admitted_for_seconds: int
    seed_hash: str
    seed: str | None
    status: SaleStatus
    created_at: datetime
    updated_at: datetime


class SaleEntryBody(BaseModel):
    """An account's place in the waiting room of a sale."""

    id: UUID
    sale: int
    account: int
    status: EntryStatus
    ahead: int | None
    estimated_wait_seconds: int | None
    admitted_until: datetime | None


class DrawBody(BaseModel):
    """By these values anyone can check the order in which early entries were drawn."""

    seed_hash: str
    seed: str | None
    entries_hash: str | None
    count: int


def given_terms(given: CreateSaleInput | ChangeSaleInput) -> JsonObject:
    """The arguments of `terms.create` and `terms.change`. Raises `Invalid` for a product given twice."""
    fields = changes(given, products=[]) if isinstance(given, ChangeSaleInput) else given.model_dump()
    product_ids = fields.pop("products", None)
    if product_ids is not None:
        if len(set(product_ids)) < len(product_ids):
            raise invalid_field("products", "duplicate", mark("A product is given twice."))
        fields["product_ids"] = product_ids
    return fields


def sale_body(sale: Sale) -> JsonObject:
    return body(
        SaleBody,
        sale,
        products=sorted([one.product_id for one in sale.sale_products.all()]),
        seed=public_seed(sale),
        status=sale.status_at(clock.now()).value,
        updated_at=sale.changed_at,
    )


def draw_body(sale: Sale) -> JsonObject:
    entries_hash = sale.entries_hash or None
    return body(DrawBody, sale, seed=public_seed(sale), entries_hash=entries_hash, count=sale.drawn_count)


def public_seed(sale: Sale) -> str | None:
    """The seed, once nothing that is still to come can depend on it."""
    return sale.seed if sale.drawn_at is not None else None


def entry_body(entry: Entry, estimated_wait_seconds: int | None) -> JsonObject:
    return body(
        SaleEntryBody,
        entry,
        sale=entry.sale_id,
        account=entry.account_id,
        status=entry.status.value,
        estimated_wait_seconds=estimated_wait_seconds,
    )
