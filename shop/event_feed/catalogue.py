"""The types of events in the feed, and which of them are made of the journal's lines.

docs/reference/events.md lists them; a test compares.
"""

from collections.abc import Mapping

SOLD_OUT, RESTOCKED = "product.sold_out", "product.restocked"

FROM_JOURNAL: Mapping[str, str] = {
    what: what
    for what in (
        "order.placed",
        "order.paid",
        "order.payment_failed",
        "order.cancelled",
        "order.expired",
        "refund.requested",
        "order.refunded",
        "payment.disputed",
        "payment.dispute_closed",
        "coupon.issued",
        "coupon.held",
        "coupon.redeemed",
        "stock.low",
        "stock.received",
        "stock.adjusted",
        "product.created",
        "product.changed",
        "product.paused",
        "product.resumed",
        "campaign.created",
        "campaign.changed",
        "campaign.paused",
        "campaign.resumed",
        "sale.created",
        "sale.changed",
        "sale.paused",
        "sale.resumed",
        "sale.drawn",
    )
} | {"coupon.void": "coupon.voided", "coupon.given_back": "coupon.released"}
"""The type of event that a line of the journal is as well, by what the line says."""

TYPES = frozenset({*FROM_JOURNAL.values(), SOLD_OUT, RESTOCKED})


def matches(type: str, pattern: str) -> bool:
    """Whether the type is chosen by a pattern: a type, the beginning of one (`order.*`), or `*`."""
    return type.startswith(pattern[:-1]) if pattern.endswith("*") else type == pattern


def is_pattern(pattern: str) -> bool:
    """Whether the pattern chooses any type that there is."""
    is_whole = "*" not in pattern or pattern == "*" or (pattern.endswith(".*") and pattern.count("*") == 1)
    return is_whole and any(matches(type, pattern) for type in TYPES)
