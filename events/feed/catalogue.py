"""The types of events in the feed, and the members of their data. docs/reference/events.md lists them; a test
compares.
"""

from collections.abc import Mapping
from uuid import UUID

from foundation.values import GivenValues, Values

SOLD_OUT = "product.sold_out"
RESTOCKED = "product.restocked"

_ORDER = (
    "order",
    "number",
    "account",
    "status",
    "total_amount",
    "points_amount",
    "card_amount",
    "currency",
    "metadata",
)
_PRODUCT = ("sku", "name", "price", "is_active", "low_stock_threshold", "limit_per_account")
_AVAILABILITY = ("product", "sku", "available", "on_hand")
# Without `shared_code`, which is for those alone that may read campaigns.
_CAMPAIGN = (
    "name",
    "strategy",
    "quantity",
    "opens_at",
    "closes_at",
    "code_source",
    "partner",
    "discount_type",
    "discount_value",
    "min_order_amount",
    "max_discount_amount",
    "coupon_valid_for_days",
    "products",
    "first_order_only",
    "eligible",
)
_SALE = ("name", "products", "opens_at", "closes_at", "admission", "rate_per_minute", "admitted_for_seconds")
_PAUSE = ("paused_at", "reason")

MEMBERS: Mapping[str, tuple[str, ...]] = {
    "order.placed": ("number", "account", "status", "total_amount", "reserved", "metadata"),
    "order.updated": (*_ORDER, "by"),
    "order.paid": _ORDER,
    "order.payment_failed": _ORDER,
    "order.cancelled": _ORDER,
    "order.expired": _ORDER,
    "refund.requested": ("status", "refund"),
    "order.refunded": (*_ORDER, "refunded_amount", "refund"),
    "refund.failed": (*_ORDER, "refunded_amount", "refund"),
    "payment.disputed": ("account", "currency", "dispute"),
    "payment.dispute_closed": ("account", "currency", "dispute"),
    "coupon.issued": ("coupon", "campaign", "account", "position", "status"),
    "coupon.held": ("status",),
    "coupon.redeemed": ("status",),
    "coupon.released": ("status",),
    "coupon.voided": ("status",),
    SOLD_OUT: _AVAILABILITY,
    RESTOCKED: _AVAILABILITY,
    "stock.low": ("product", "sku", "available", "threshold"),
    "stock.received": ("on_hand",),
    "stock.adjusted": ("on_hand",),
    "product.created": _PRODUCT,
    "product.changed": _PRODUCT,
    "product.paused": _PAUSE,
    "product.resumed": _PAUSE,
    "campaign.created": _CAMPAIGN,
    "campaign.changed": _CAMPAIGN,
    "campaign.paused": _PAUSE,
    "campaign.resumed": _PAUSE,
    "sale.created": _SALE,
    "sale.changed": _SALE,
    "sale.paused": _PAUSE,
    "sale.resumed": _PAUSE,
    "sale.drawn": ("count", "entries_hash", "seed"),
}
"""What the data of an event may have, by its type, beside the names of what it is about and of its order. All
else stays in the journal: an event is for programs, also for those that may not read what it is about."""

_WRITTEN_AS = {"coupon.voided": "coupon.void", "coupon.released": "coupon.given_back"}
FROM_JOURNAL: Mapping[str, str] = {
    _WRITTEN_AS.get(type, type): type for type in MEMBERS if type not in (SOLD_OUT, RESTOCKED)
}
"""The type of event that a line of the journal is as well, by what the line says."""

TYPES = frozenset(MEMBERS)

SKIPPED = "events.skipped"
TEST = "webhook.test"
"""What is no event of the feed: sent to a webhook endpoint alone, whichever types it chose."""

NUMBERED = frozenset({"product", "campaign", "sale"})
"""What the journal names by a number; all else has a name: the code of a coupon may be made of digits."""


def matches(type: str, pattern: str) -> bool:
    """Whether the type is chosen by a pattern: a type, the beginning of one (`order.*`), or `*`."""
    return type.startswith(pattern[:-1]) if pattern.endswith("*") else type == pattern


def is_pattern(pattern: str) -> bool:
    """Whether the pattern chooses any type that there is."""
    is_whole = "*" not in pattern or pattern == "*" or (pattern.endswith(".*") and pattern.count("*") == 1)
    return is_whole and any(matches(type, pattern) for type in TYPES)


def data_of(type: str, *, subject: str, order_id: UUID | None, after: GivenValues | None) -> Values:
    """The data of the event of this type that a line of the journal is."""
    kind, _, name = subject.partition(" ")
    data: Values = {kind: int(name) if kind in NUMBERED and name.isdecimal() else name}
    if order_id:
        data["order"] = str(order_id)
    return data | allowed(type, after or {})


def allowed(type: str, data: GivenValues) -> Values:
    """The members of the data that the type may have."""
    return {name: data[name] for name in MEMBERS[type] if name in data}
