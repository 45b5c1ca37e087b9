"""Payment gateways: one contract, and an adapter for each gateway's protocol, imported when it is used: the
settings read `GATEWAYS` before anything else is imported.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from payments.gateways.contract import Gateway, GatewayEvent, GatewayResult
from shop import money

REFERENCE = "{reference}"
"""What stands for a charge's reference in the address of its page."""
STRIPE_DIGITS = {"ISK": 2, "MGA": 0, "UGX": 2}
"""The digits of amounts at Stripe where they are other than in ISO 4217 (docs.stripe.com/currencies: the
zero-decimal currencies and the special cases). HUF and TWD are special for payouts alone."""
STRIPE_KEY_SECONDS = 82_800
"""An hour less than the day that Stripe keeps idempotency keys for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEntry:
    """What the shop knows of a gateway besides its protocol.

    `webhook_header` carries the signature of its webhooks, whose secret is the setting
    `WEBHOOK_SECRET_<NAME>`. `check` gets all settings
    where the gateway is in use, and raises `ImproperlyConfigured` when the shop can't keep its promises with
    them. `charge_page` is the address of a charge's page in the gateway's dashboard, with `{reference}`;
    empty: none.
    """

    load: Callable[[], Gateway]
    webhook_header: str
    check: Callable[[Mapping[str, Any]], None] = lambda settings: None
    charge_page: Callable[[], str] = str


def _load_simulator() -> Gateway:
    from payments.gateways import simulator

    return simulator


def _load_stripe() -> Gateway:
    # Its package costs each process some 35 MB and a third of a second.
    from payments.gateways import stripe_api

    return stripe_api


def _stripe_charge_page() -> str:
    # Test keys have pages of their own.
    mode = "/test" if "_test_" in settings.STRIPE_API_KEY else ""
    return f"https://dashboard.stripe.com{mode}/payments/{REFERENCE}"


def check_stripe(settings: Mapping[str, Any]) -> None:
    """Raise `ImproperlyConfigured` unless the shop can take payments through Stripe with these settings."""
    if not settings["STRIPE_API_KEY"].startswith(("sk_", "rk_")):
        raise ImproperlyConfigured(
            "PAYMENT_GATEWAY is 'stripe': STRIPE_API_KEY must be a secret key, sk_… or rk_…."
        )
    currency, give_up_seconds = settings["CURRENCY"], settings["PAYMENT_GIVE_UP_SECONDS"]
    digits = money.digits_of(currency)
    if STRIPE_DIGITS.get(currency, digits) != digits:
        raise ImproperlyConfigured(
            f"CURRENCY is {currency!r}: Stripe counts it in another unit than ISO 4217; choose another."
        )
    # Of three digits Stripe wants the last one to be 0, which discounts and partial refunds don't keep.
    if digits > 2:
        raise ImproperlyConfigured(
            f"CURRENCY is {currency!r}: Stripe takes no amount of it whose last digit is not 0, and discounts"
            " give any; choose another."
        )
    if give_up_seconds > STRIPE_KEY_SECONDS:
        raise ImproperlyConfigured(
            f"PAYMENT_GIVE_UP_SECONDS is {give_up_seconds}: it must be "
            f"{STRIPE_KEY_SECONDS} or less, because Stripe forgets a key after a day."
        )


GATEWAYS: dict[str, GatewayEntry] = {
    "simulator": GatewayEntry(load=_load_simulator, webhook_header="Firstcome-Signature"),
    "stripe": GatewayEntry(
        load=_load_stripe,
        webhook_header="Stripe-Signature",
        check=check_stripe,
        charge_page=_stripe_charge_page,
    ),
}


def gateway() -> Gateway:
    """The gateway that `PAYMENT_GATEWAY` names."""
    return GATEWAYS[settings.PAYMENT_GATEWAY].load()


def refund_rest(*, key: str, charge_key: str, charge_reference: str, amount: int) -> GatewayResult:
    """Refund this amount of a charge, or what is left of it where a part was given back at the gateway.

    It `succeeded` with nothing left as well, but not while an open dispute may keep its part. Less than the
    amount needs another key, and is safe: it is all that is left, so only one of both can be refunded.
    """
    refunded = gateway().refund(key=key, charge_reference=charge_reference, amount=amount)
    if refunded.failure_code != "refund_exceeds_charge":
        return refunded
    found = gateway().find(key=charge_key)
    if found.status != "succeeded" or found.kept_amount >= amount or found.is_undecided:
        return refunded
    if not found.kept_amount:
        return found
    rest_key = f"{key}-{found.kept_amount}"
    return gateway().refund(key=rest_key, charge_reference=charge_reference, amount=found.kept_amount)


def charge_page(reference: str) -> str:
    """The address of the charge's page in the gateway's dashboard, for people; empty where none is known."""
    page = settings.GATEWAY_CHARGE_URL or GATEWAYS[settings.PAYMENT_GATEWAY].charge_page()
    return str(page).replace(REFERENCE, quote(reference, safe="")) if reference else ""


def read_event(name: str, *, headers: Mapping[str, str], body: bytes, now: datetime) -> GatewayEvent | None:
    """The event in a webhook of this gateway, as `Gateway.event` returns it; headers' names are in any case.
    Raises `SignatureInvalid`, and `KeyError` for an unknown gateway.
    """
    entry = GATEWAYS[name]
    by_name = {name.lower(): value for name, value in headers.items()}
    return entry.load().event(signature=by_name.get(entry.webhook_header.lower(), ""), body=body, now=now)
