"""The settings with which the shop can keep its promises through Stripe."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from shop import money

SECRET_KEY_PREFIXES = ("sk_", "rk_")
DIGITS = {"ISK": 2, "MGA": 0, "UGX": 2}
"""The digits of amounts at Stripe where they are other than in ISO 4217 (docs.stripe.com/currencies: the
zero-decimal currencies and the special cases). HUF and TWD are special for payouts alone."""
MOST_DIGITS = 2
"""Of three digits Stripe wants the last one to be 0, which discounts and partial refunds don't keep."""
KEY_RETENTION_SECONDS = 82_800
"""An hour less than the day that Stripe keeps idempotency keys for."""


def charge_page(api_key: str) -> str:
    """The page of a payment in Stripe's dashboard; those of test keys have one of their own."""
    mode = "/test" if "_test_" in api_key else ""
    return f"https://dashboard.stripe.com{mode}/payments/{{reference}}"


def check(settings: Mapping[str, Any]) -> None:
    """Raise `ImproperlyConfigured` unless the shop can take payments through Stripe with these settings."""
    if not settings["STRIPE_API_KEY"].startswith(SECRET_KEY_PREFIXES):
        known = " or ".join(f"{prefix}…" for prefix in SECRET_KEY_PREFIXES)
        raise ImproperlyConfigured(
            f"PAYMENT_GATEWAY is 'stripe': STRIPE_API_KEY must be a secret key, {known}."
        )
    currency, give_up_seconds = settings["CURRENCY"], settings["PAYMENT_GIVE_UP_SECONDS"]
    digits = money.digits_of(currency)
    if DIGITS.get(currency, digits) != digits:
        raise ImproperlyConfigured(
            f"CURRENCY is {currency!r}: Stripe counts it in another unit than ISO 4217; choose another."
        )
    if digits > MOST_DIGITS:
        raise ImproperlyConfigured(
            f"CURRENCY is {currency!r}: Stripe takes no amount of it whose last digit is not 0, and discounts"
            " give any; choose another."
        )
    if give_up_seconds > KEY_RETENTION_SECONDS:
        raise ImproperlyConfigured(
            f"PAYMENT_GIVE_UP_SECONDS is {give_up_seconds}: it must be "
            f"{KEY_RETENTION_SECONDS} or less, because Stripe forgets a key after a day."
        )
