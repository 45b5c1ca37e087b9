"""Templates of campaigns: terms to begin with, by name. Any campaign can be duplicated as well."""

from dataclasses import dataclass

from coupons.campaigns import Terms


@dataclass(frozen=True, slots=True)
class Template:
    """Terms that the page of a new campaign is filled with; operators change them before they save."""

    title: str
    description: str
    terms: Terms


TEMPLATES = {
    "percent": Template(
        "Percent off",
        "Ten percent off each order, up to a largest discount.",
        Terms(discount_type="percent", discount_value=10, max_discount_amount=10_000, quantity=1_000),
    ),
    "amount": Template(
        "Amount off",
        "A fixed amount off orders that reach a minimum.",
        Terms(discount_type="amount", discount_value=5_000, min_order_amount=30_000, quantity=1_000),
    ),
    "drop": Template(
        "Drop with a queue",
        "Many buyers in the same second: they get tickets, and coupons in the order of arrival.",
        Terms(
            strategy="queue",
            discount_type="percent",
            discount_value=30,
            max_discount_amount=30_000,
            quantity=100,
            coupon_valid_for_days=7,
        ),
    ),
    "pool": Template(
        "Codes of a partner",
        "Codes that were printed or sold elsewhere, uploaded as CSV.",
        Terms(code_source="pool", discount_type="amount", discount_value=5_000, quantity=1_000_000),
    ),
}
