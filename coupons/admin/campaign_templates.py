"""Templates of campaigns: terms to begin with, by name. Any campaign can be duplicated as well."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.utils.translation import gettext_lazy as _

from coupons.campaigns import Terms

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


@dataclass(frozen=True, slots=True)
class Template:
    """Terms that the page of a new campaign is filled with; operators change them before they save."""

    title: "StrOrPromise"
    description: "StrOrPromise"
    terms: Terms


TEMPLATES = {
    "percent": Template(
        _("Percent off"),
        _("Ten percent off each order, up to a largest discount."),
        Terms(discount_type="percent", discount_value=10, max_discount_amount=10_000, quantity=1_000),
    ),
    "amount": Template(
        _("Amount off"),
        _("A fixed amount off orders that reach a minimum."),
        Terms(discount_type="amount", discount_value=5_000, min_order_amount=30_000, quantity=1_000),
    ),
    "drop": Template(
        _("Drop with a queue"),
        _("Many buyers in the same second: they get tickets, and coupons in the order of arrival."),
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
        _("Codes of a partner"),
        _("Codes that were printed or sold elsewhere, uploaded as CSV."),
        Terms(code_source="pool", discount_type="amount", discount_value=5_000, quantity=1_000_000),
    ),
}
