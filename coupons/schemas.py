"""Schemas of the bodies and queries of the HTTP API."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from django.conf import settings
from django.utils.translation import gettext_noop
from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from coupons import campaigns, redemption
from coupons.allocation.outcomes import Queued
from coupons.campaigns import Terms
from coupons.codes import code_format
from coupons.models import LONGEST_VALIDITY_DAYS, Campaign, Coupon, PoolCode
from foundation import clock
from foundation.errors import NotFound, Rejected
from foundation.http.json_format import JsonObject
from foundation.http.openapi import api_doc
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
api_doc.declare_members(
    "coupon_not_usable",
    reason={
        "type": "string",
        "enum": sorted(redemption.REASONS),
        "description": "why the coupon can't be used.",
    },
)

DISCOUNT_COLUMNS = {
    "type": "discount_type",
    "value": "discount_value",
    "min_order_amount": "min_order_amount",
    "max_discount_amount": "max_discount_amount",
}


class DiscountInput(Input):
    """`value` is an amount, or a percentage of 1 to 100."""

    type: DiscountType
    value: PositiveAmount
    min_order_amount: Amount = 0
    max_discount_amount: PositiveAmount | None = None


class ChangeDiscountInput(ChangeInput):
    """Only the given fields change; null removes `max_discount_amount`."""

    type: DiscountType = UNCHANGED
    value: PositiveAmount = UNCHANGED
    min_order_amount: Amount = UNCHANGED
    max_discount_amount: PositiveAmount | None = UNCHANGED


class CreateCampaignInput(Input):
    """Without `opens_at` it opens at once, without `closes_at` it stays open.

    `quantity` null: for everybody, one coupon an account, and never sold out; not with the strategies
    `conditional_update`, `redis_gate`, `code_pool` and `queue`, nor with a pool of codes.
    `shared_code` is for the code source `shared`, which demands it: an order that names it gets the account's
    own coupon of the campaign, issued with the order if need be, and shows that coupon's code. No partner
    and no queue goes with it. The discount counts over the lines of `products` alone; with an empty list it
    counts over all lines. `first_order_only`: not for accounts with an order that is open or paid; one that
    ended unpaid, or was refunded in full, doesn't count.
    """

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
    """Only the given fields change.

    Null removes `closes_at`, `partner` or `shared_code`; with `products` null or `[]` the discount counts
    over all lines again, and `quantity` null makes it a campaign for everybody.
    """

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
    """`user` is for staff, who issue to another account."""

    campaign: Id
    user: Id | None = None


class VoidCouponInput(Input):
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
    """The ids of the accounts to list."""

    users: Annotated[list[Id], Field(min_length=1, max_length=MOST_ACCOUNTS_AT_ONCE)]


class RenameCodeInput(ChangeInput):
    code: GivenCode


class ListCampaignsQuery(Query):
    status: Campaign.Status | None = None


class ListCouponsQuery(Query):
    status: CouponStatus | None = None
    campaign: QueryId | None = None


class ListCodesQuery(Query):
    status: PoolStatus | None = None


class DiscountBody(BaseModel):
    type: DiscountType
    value: int
    min_order_amount: int
    max_discount_amount: int | None


class CampaignBody(BaseModel):
    """`remaining` is how many coupons can still be issued: with a pool, no more than it has codes.

    It is null like the `quantity` of a campaign for everybody, which is never `sold_out`.
    So a campaign whose pool is smaller than its `quantity` is `sold_out` after its last code, and open again
    once codes are added; before its first code it is `awaiting_codes` instead of `open`. While staff have
    paused it, its `status` is `paused` unless it is `closed`. Only staff see the `shared_code`, which is null
    for everyone else. Without `products` the discount counts over all lines of an order, else over the lines
    of these products, and so does its `min_order_amount`. `updated_at` is when staff changed, paused or
    resumed it last; issued coupons and added codes are no changes.
    """

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
    """`ahead` is the number of waiting tickets before it; `coupon` is the coupon once it is issued.

    It is `failed` if the campaign closed meanwhile or its partner refused; then the account may request
    a coupon again.
    """

    id: UUID
    campaign: int
    account: int
    status: Literal["waiting", "issued", "sold_out", "failed"]
    ahead: int
    coupon: CouponBody | None


class PoolCodeBody(BaseModel):
    """`position` is the position of the coupon that was issued with the code."""

    code: str
    status: PoolStatus
    position: int | None
    added_at: datetime


class AddedCodesBody(BaseModel):
    """How many codes were added, the codes that existed already, and how many the pool has had in all."""

    added: int
    skipped: list[str]
    total: int


class EligibleAccountsBody(BaseModel):
    """How many accounts were added, those that were listed already, and how many are listed in all."""

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


COUPON = {
    "code": "NJBA0R3GG1BX",
    "campaign": 7,
    "account": 42,
    "position": 1,
    "status": "issued",
    "discount": {"type": "amount", "value": 1000, "min_order_amount": 0, "max_discount_amount": None},
    "currency": "KRW",
    "issued_at": "2026-11-20T12:00:00.000000Z",
    "expires_at": "2026-12-20T12:00:00.000000Z",
    "order": None,
}
TICKET = {
    "id": "0199c1f0-0000-7000-8000-000000000001",
    "campaign": 7,
    "account": 42,
    "status": "waiting",
    "ahead": 41,
    "coupon": None,
}
ISSUING = [
    api_doc.response_example("A new coupon", 201, COUPON),
    api_doc.response_example("A ticket of a queue", 202, TICKET),
    api_doc.refusal_example("Before it opens", Rejected("Spring opens at noon.", code="campaign_not_open")),
    api_doc.refusal_example(
        "The last code of the pool is issued", Rejected("Spring is sold out.", code="sold_out")
    ),
    api_doc.refusal_example(
        "Staff have paused the campaign", Rejected("Spring is paused.", code="campaign_paused")
    ),
    api_doc.refusal_example(
        "The account is not listed",
        Rejected("Spring is for listed accounts, and this one is not listed.", code="not_eligible"),
    ),
    api_doc.refusal_example("Staff issue to an unknown account", NotFound("There is no active account 42.")),
]
