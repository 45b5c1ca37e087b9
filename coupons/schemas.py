"""Schemas of the bodies and queries of the HTTP API."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_noop
from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from coupons import campaigns
from coupons.allocation.outcomes import Queued
from coupons.campaigns import Terms
from coupons.codes import code_format
from coupons.models import LONGEST_VALIDITY_DAYS, Campaign, Coupon, PoolCode
from foundation import clock
from foundation.http.json_format import JsonObject
from foundation.http.validation import (
    UNCHANGED,
    Amount,
    ChangeInput,
    Id,
    Input,
    Instant,
    NonBlankText,
    PositiveAmount,
    Query,
    QueryId,
    body,
    changes,
)

MOST_COUPONS = 10**9
MOST_CODES_AT_ONCE = 100_000
# More don't fit into a body.
MOST_ACCOUNTS_AT_ONCE = 65_536

# All ten; `coupons.issuing.available_strategies` says which are available in this installation.
StrategyName = Literal[
    "group_commit",
    "pessimistic",
    "optimistic",
    "conditional_update",
    "spin_lock",
    "fair_lock",
    "redis_gate",
    "code_pool",
    "queue",
    "unsafe",
]
DiscountType = Literal["amount", "percent"]
CodeSource = Literal["generated", "pool", "shared"]
Eligible = Literal["all", "listed"]
CouponStatus = Literal["issued", "held", "redeemed", "expired", "void"]
PoolStatus = Literal["available", "issued", "void"]
Quantity = Annotated[int, Field(ge=1, le=MOST_COUPONS)]
Days = Annotated[int, Field(ge=1, le=LONGEST_VALIDITY_DAYS)]
Partner = Annotated[str, Field(min_length=1, max_length=64)]
GivenCode = Annotated[str, Field(pattern=code_format.GIVEN_PATTERN)]
Products = Annotated[list[Id], Field(max_length=campaigns.MOST_PRODUCTS)]

DISCOUNT_COLUMNS = {
    "type": "discount_type",
    "value": "discount_value",
    "min_order_amount": "min_order_amount",
    "max_discount_amount": "max_discount_amount",
}


class DiscountInput(Input):
    """What a coupon takes off an order."""

    type: DiscountType
    value: PositiveAmount
    min_order_amount: Amount = 0
    max_discount_amount: PositiveAmount | None = None


class ChangeDiscountInput(ChangeInput):
    """What a coupon takes off an order. Only the given fields change."""

    type: DiscountType = UNCHANGED
    value: PositiveAmount = UNCHANGED
    min_order_amount: Amount = UNCHANGED
    max_discount_amount: PositiveAmount | None = UNCHANGED


class CreateCampaignInput(Input):
    """A new campaign."""

    null_is_a_value = frozenset({"quantity"})

    name: NonBlankText
    strategy: StrategyName = "group_commit"
    quantity: Quantity | None
    opens_at: Instant | None = None
    closes_at: Instant | None = None
    code_source: CodeSource = "generated"
    shared_code: GivenCode | None = None
    partner: Partner | None = None
    discount: DiscountInput
    coupon_valid_for_days: Days = 30
    products: Products = []
    first_order_only: bool = False
    eligible: Eligible = "all"


class ChangeCampaignInput(ChangeInput):
    """Changes of a campaign. Only the given fields change."""

    name: NonBlankText = UNCHANGED
    strategy: StrategyName = UNCHANGED
    quantity: Quantity | None = UNCHANGED
    opens_at: Instant = UNCHANGED
    closes_at: Instant | None = UNCHANGED
    code_source: CodeSource = UNCHANGED
    shared_code: GivenCode | None = UNCHANGED
    partner: Partner | None = UNCHANGED
    discount: ChangeDiscountInput = UNCHANGED
    coupon_valid_for_days: Days = UNCHANGED
    products: Products | None = UNCHANGED
    first_order_only: bool = UNCHANGED
    eligible: Eligible = UNCHANGED


class IssueCouponInput(Input):
    """Which coupon is asked for."""

    campaign: Id
    user: Id | None = None


class VoidCouponInput(Input):
    """Why the coupon is made void."""

    reason: NonBlankText


class AddCodesInput(Input):
    """Either the codes themselves, or how many to generate."""

    codes: Annotated[list[GivenCode], Field(min_length=1)] | None = None
    count: Annotated[int, Field(ge=1, le=MOST_CODES_AT_ONCE)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> "AddCodesInput":
        if (self.codes is None) == (self.count is None):
            raise PydanticCustomError("codes_or_count", gettext_noop("Give either codes or count."))
        return self


class EligibleAccountsInput(Input):
    """The accounts to list."""

    users: Annotated[list[Id], Field(min_length=1, max_length=MOST_ACCOUNTS_AT_ONCE)]


class RenameCodeInput(ChangeInput):
    """The new code."""

    code: GivenCode


class ListCampaignsQuery(Query):
    """Which campaigns are listed."""

    status: Campaign.Status | None = None


class ListCouponsQuery(Query):
    """Which coupons are listed."""

    status: CouponStatus | None = None
    campaign: QueryId | None = None


class ListCodesQuery(Query):
    """Which codes are listed."""

    status: PoolStatus | None = None


class DiscountBody(BaseModel):
    """What a coupon takes off an order."""

    type: DiscountType
    value: int
    min_order_amount: int
    max_discount_amount: int | None


class CampaignBody(BaseModel):
    """A campaign of coupons."""

    id: int
    name: str
    strategy: StrategyName
    quantity: int | None
    issued: int
    remaining: int | None
    opens_at: datetime
    closes_at: datetime | None
    code_source: CodeSource
    shared_code: str | None
    partner: str | None
    discount: DiscountBody
    currency: str
    coupon_valid_for_days: int
    products: list[int]
    first_order_only: bool
    eligible: Eligible
    status: Literal["scheduled", "awaiting_codes", "open", "paused", "sold_out", "closed"]
    created_at: datetime
    updated_at: datetime


class CouponBody(BaseModel):
    """A coupon of an account."""

    code: str
    campaign: int
    account: int
    position: int | None
    status: CouponStatus
    discount: DiscountBody
    currency: str
    issued_at: datetime
    expires_at: datetime
    order: UUID | None


class TicketBody(BaseModel):
    """A ticket in the queue of a campaign, which becomes a coupon in its turn."""

    id: UUID
    campaign: int
    account: int
    status: Literal["waiting", "issued", "sold_out", "failed"]
    ahead: int
    coupon: CouponBody | None


class PoolCodeBody(BaseModel):
    """A code of a pool."""

    code: str
    status: PoolStatus
    position: int | None
    added_at: datetime


class AddedCodesBody(BaseModel):
    """What became of added codes."""

    added: int
    skipped: list[str]
    total: int


class EligibleAccountsBody(BaseModel):
    """What became of listed accounts."""

    added: int
    skipped: list[int]
    total: int


def terms(given: CreateCampaignInput | ChangeCampaignInput) -> Terms:
    """The given fields, by the names of the campaign's columns."""
    if isinstance(given, ChangeCampaignInput):
        fields = changes(given, partner="", products=[])
    else:
        fields = given.model_dump(exclude_unset=True)
    columns = {DISCOUNT_COLUMNS[name]: value for name, value in fields.pop("discount", {}).items()}
    return Terms(**fields, **columns)  # type: ignore[typeddict-item]


def campaign_body(campaign: Campaign, *, for_staff: bool = False) -> JsonObject:
    return body(
        CampaignBody,
        campaign,
        remaining=None if campaign.remaining is None else max(0, campaign.remaining),
        shared_code=campaign.shared_code if for_staff else None,
        partner=campaign.partner or None,
        discount=_discount(campaign),
        currency=settings.CURRENCY,
        products=campaign.product_ids,
        status=campaign.status_at(clock.now()),
        updated_at=campaign.changed_at,
    )


def coupon_body(coupon: Coupon) -> JsonObject:
    """The body of a coupon whose campaign is loaded."""
    return {
        "code": coupon.code,
        "campaign": coupon.campaign_id,
        "account": coupon.account_id,
        "position": coupon.position,
        "status": coupon.status_at(clock.now()),
        "discount": _discount(coupon.campaign),
        "currency": settings.CURRENCY,
        "issued_at": coupon.issued_at,
        "expires_at": coupon.expires_at,
        "order": coupon.order_id,
    }


def ticket_body(queued: Queued) -> JsonObject:
    ticket = queued.ticket
    return {
        "id": ticket.pk,
        "campaign": ticket.campaign_id,
        "account": ticket.account_id,
        "status": ticket.status,
        "ahead": queued.ahead,
        "coupon": coupon_body(ticket.coupon) if ticket.coupon else None,
    }


def code_body(code: PoolCode) -> JsonObject:
    """The body of a code whose coupon is loaded."""
    # A code in flight may be released again.
    is_in_flight = code.status == PoolCode.Status.IN_FLIGHT
    status = PoolCode.Status.AVAILABLE if is_in_flight else code.status
    return body(PoolCodeBody, code, status=status, position=code.coupon.position if code.coupon else None)


def _discount(campaign: Campaign) -> JsonObject:
    return {name: getattr(campaign, column) for name, column in DISCOUNT_COLUMNS.items()}
