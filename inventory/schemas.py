"""The bodies of requests and answers about products and stock."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.conf import settings
from pydantic import BaseModel, Field

from foundation.http.json_format import JsonObject
from foundation.http.validation import (
    FROM_TEXT,
    UNCHANGED,
    Amount,
    ChangeInput,
    Day,
    Input,
    NonBlankText,
    Query,
    SearchWords,
    body,
)
from inventory import products, ranking
from inventory.adjustments import LARGEST_DELTA
from inventory.models import Product, StockMovement

# Printable ASCII without spaces: programs compare skus and people type them.
SKU_PATTERN = r"^[!-~]+$"
Sku = Annotated[str, Field(max_length=64, pattern=SKU_PATTERN)]
MovementKind = Literal["received", "adjusted", "sold", "returned"]
Threshold = Annotated[int, Field(ge=0, le=products.LARGEST_THRESHOLD)]
Limit = Annotated[int, Field(ge=1, le=products.LARGEST_LIMIT)]
Delta = Annotated[int, Field(ge=-LARGEST_DELTA, le=LARGEST_DELTA, json_schema_extra={"not": {"const": 0}})]


class CreateProductInput(Input):
    """A new product, with nothing in stock."""

    sku: Sku
    name: NonBlankText
    price: Amount
    is_active: bool = True
    low_stock_threshold: Threshold | None = None
    limit_per_account: Limit | None = None


class ChangeProductInput(ChangeInput):
    """Changes of a product. Only the given fields change; orders keep the name and price they began with."""

    sku: Sku = UNCHANGED
    name: NonBlankText = UNCHANGED
    price: Amount = UNCHANGED
    is_active: bool = UNCHANGED
    low_stock_threshold: Threshold | None = UNCHANGED
    limit_per_account: Limit | None = UNCHANGED


class AdjustStockInput(Input):
    """A correction of what is on hand."""

    delta: Delta
    reason: NonBlankText


class FindProductsQuery(Query):
    """Which products are listed."""

    sku: str = ""
    search: Annotated[SearchWords, Field(max_length=100)] = ""
    availability: products.Availability | None = None


class RankingQuery(Query):
    """Which days are ranked."""

    days: Annotated[int, Field(ge=1, le=ranking.MOST_DAYS), FROM_TEXT] = ranking.RANK_DAYS
    limit: Annotated[int, Field(ge=1, le=ranking.MOST_RANKED), FROM_TEXT] = 5
    date: Day | None = None


class ProductBody(BaseModel):
    """A product."""

    id: int
    sku: str
    name: str
    price: int
    currency: str
    available: int
    availability: products.Availability
    is_active: bool
    limit_per_account: int | None
    rank: int | None
    created_at: datetime
    updated_at: datetime


class RankedBody(BaseModel):
    """A product by its place."""

    rank: int
    product: int
    sku: str
    name: str
    units: int
    available: int
    availability: products.Availability


class RankingBody(BaseModel):
    """The most popular products."""

    results: list[RankedBody]
    days: int
    as_of: datetime


class StockBody(BaseModel):
    """A product's stock in units."""

    on_hand: int
    reserved: int
    available: int


class StockMovementBody(BaseModel):
    """A change of what is on hand; what is reserved is not moved."""

    id: int
    kind: MovementKind
    delta: int
    on_hand_after: int
    order: UUID | None
    reason: str
    at: datetime


def product_body(product: Product) -> JsonObject:
    return body(
        ProductBody,
        product,
        currency=settings.CURRENCY,
        availability=products.availability(product),
        rank=ranking.rank_of(product.pk),
        updated_at=product.changed_at,
    )


def ranking_body(found: ranking.Ranking, *, days: int) -> JsonObject:
    results = [
        body(
            RankedBody,
            one.product,
            product=one.product.pk,
            rank=one.rank,
            units=one.units,
            availability=products.availability(one.product),
        )
        for one in found.results
    ]
    return {"results": results, "days": days, "as_of": found.as_of}


def movement_body(movement: StockMovement) -> JsonObject:
    return body(StockMovementBody, movement, order=movement.order_id)
