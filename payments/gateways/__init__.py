"""Payment gateways: one contract, and an adapter for each kind's protocol, imported when it is used: the
settings read `GATEWAYS` before anything else is imported. `PAYMENT_GATEWAYS` names those that are configured,
and a payment is always at the one that it began at.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, cast
from urllib.parse import quote

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from foundation import money
from foundation.errors import Unavailable
from foundation.lazy_texts import mark
from foundation.values import GivenValues
from payments.gateways.contract import (
    WITHOUT_NAME,
    BookedCharge,
    Books,
    Gateway,
    GatewayEvent,
    GatewayResult,
    call,
    setting_of,
    value_of,
)

REFERENCE = "{reference}"
"""What stands for a charge's reference in the address of its page."""
STRIPE_DIGITS = {"ISK": 2, "MGA": 0, "UGX": 2}
"""The digits of amounts at Stripe where they are other than in ISO 4217 (docs.stripe.com/currencies: the
zero-decimal currencies and the special cases). HUF and TWD are special for payouts alone."""
STRIPE_KEY_SECONDS = 82_800
"""An hour less than the day that Stripe keeps idempotency keys for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEntry:
    """What the shop knows of a kind of gateways besides its protocol.

    `webhook_header` carries the signature of its webhooks, whose secret is the setting
    `WEBHOOK_SECRET_<NAME>`. `needs` is a setting without which it can't be called. `check` gets all settings
    and the gateway's name where it is in use, and raises `ImproperlyConfigured` when the shop can't keep its
    promises with them. `charge_page` is the address of a charge's page in the dashboard of the gateway of a
    name, with `{reference}`; empty: none.
    """

    load: Callable[[], Gateway]
    webhook_header: str
    needs: str
    check: Callable[[GivenValues, str], None] = lambda settings, name: None
    charge_page: Callable[[str], str] = lambda name: ""


def _load_simulator() -> Gateway:
    from payments.gateways import simulator

    return simulator


def _load_stripe() -> Gateway:
    # Its package costs each process some 35 MB and a third of a second.
    from payments.gateways import stripe_api

    return stripe_api


def _stripe_charge_page(name: str) -> str:
    # Test keys have pages of their own.
    mode = "/test" if "_test_" in value_of(name, "STRIPE_API_KEY") else ""
    return f"https://dashboard.stripe.com{mode}/payments/{REFERENCE}"


def check_stripe(settings: GivenValues, name: str = "stripe") -> None:
    """Raise `ImproperlyConfigured` unless the shop can take payments through Stripe with these settings."""
    key = setting_of(name, "STRIPE_API_KEY")
    if not settings[key].startswith(("sk_", "rk_")):
        raise ImproperlyConfigured(
            f"The gateway {name!r} is Stripe: {key} must be a secret key, sk_… or rk_…."
        )
    currency = settings["CURRENCY"]
    give_up_seconds = settings["PAYMENT_GIVE_UP_SECONDS"]
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
    "simulator": GatewayEntry(
        load=_load_simulator, webhook_header="Firstcome-Signature", needs="GATEWAY_URL"
    ),
    "stripe": GatewayEntry(
        load=_load_stripe,
        webhook_header="Stripe-Signature",
        needs="STRIPE_API_KEY",
        check=check_stripe,
        charge_page=_stripe_charge_page,
    ),
}
"""The kinds of gateways."""


def check(settings: GivenValues) -> None:
    """Raise `ImproperlyConfigured` unless the gateway of new payments, and each that has settings of its own,
    can be called with these settings.
    """
    for name, kind in settings["PAYMENT_GATEWAYS"].items():
        if name not in WITHOUT_NAME or name == settings["PAYMENT_GATEWAY"]:
            entry = GATEWAYS[kind]
            needed = setting_of(name, GATEWAYS[kind].needs)
            entry.check(settings, name)
            if not settings[needed]:
                raise ImproperlyConfigured(f"The gateway {name!r} needs {needed}.")


@dataclass(frozen=True, slots=True)
class _Named:
    """A configured gateway: the functions of its kind's adapter, which read the settings of its name."""

    name: str
    adapter: Any

    def __getattr__(self, function: str) -> Any:
        return partial(call, self.name, getattr(self.adapter, function))

    def charges(self, **which: Any) -> Iterator[BookedCharge]:
        book = iter(call(self.name, self.adapter.charges, **which))
        # Each page is a call.
        while charge := call(self.name, next, book, None):
            yield charge


@dataclass(frozen=True, slots=True)
class _Lacking:
    """In place of a gateway that can't be called: no call is ever made elsewhere."""

    reason: str

    def charge(self, **_: Any) -> GatewayResult:
        return GatewayResult(status="unknown", failure_detail=self.reason)

    find = cancel = refund = find_refund = charge

    def key_of(self, **_: Any) -> None:
        return None

    def charges(self, **which: Any) -> Iterator[BookedCharge]:
        raise Unavailable(mark("The gateway's book can't be read: {reason}.", reason=self.reason))


def lacking(books: Books) -> str:
    """Why these books can't be reached; empty where they can."""
    name, account = books
    kind = settings.PAYMENT_GATEWAYS.get(name)
    if kind is None:
        return f"PAYMENT_GATEWAYS has no {name!r}"
    needed = GATEWAYS[kind].needs
    if not value_of(name, needed):
        return f"{setting_of(name, needed)} is empty"
    current = value_of(name, "GATEWAY_ACCOUNT")
    return "" if account == current else f"the account of {name!r} is now {current!r}, not {account!r}"


def of(books: Books) -> Gateway:
    """The gateway that has these books. Where it is not configured its calls have no answer."""
    if reason := lacking(books):
        return cast(Gateway, _Lacking(reason))
    return cast(Gateway, _Named(books.gateway, GATEWAYS[settings.PAYMENT_GATEWAYS[books.gateway]].load()))


def books_of(name: str) -> Books:
    """The books of today at the gateway of this name."""
    return Books(name, value_of(name, "GATEWAY_ACCOUNT") if name in settings.PAYMENT_GATEWAYS else "")


def usable() -> list[str]:
    """The names of the gateways that have what they need to be called."""
    return [name for name, kind in settings.PAYMENT_GATEWAYS.items() if value_of(name, GATEWAYS[kind].needs)]


def current_books() -> Books:
    """Those of new payments, at the gateway that `PAYMENT_GATEWAY` names."""
    return books_of(settings.PAYMENT_GATEWAY)


def gateway() -> Gateway:
    """The gateway of new payments."""
    return of(current_books())


def refund_rest(
    books: Books, *, key: str, charge_key: str, charge_reference: str, amount: int
) -> GatewayResult:
    """Refund this amount of a charge, or what is left of it where a part was given back at the gateway.

    It `succeeded` with nothing left as well, but not while an open dispute may keep its part. Less than the
    amount needs another key, and is safe: it is all that is left, so only one of both can be refunded.
    """
    gateway = of(books)
    refunded = gateway.refund(key=key, charge_reference=charge_reference, amount=amount)
    if refunded.failure_code != "refund_exceeds_charge":
        return refunded
    found = gateway.find(key=charge_key)
    if found.status != "succeeded" or found.kept_amount >= amount or found.is_undecided:
        return refunded
    if not found.kept_amount:
        return found
    rest_key = f"{key}-{found.kept_amount}"
    return gateway.refund(key=rest_key, charge_reference=charge_reference, amount=found.kept_amount)


def charge_page(name: str, reference: str) -> str:
    """The address of the charge's page in the dashboard of the gateway of this name, for people; empty where
    none is known.
    """
    kind = settings.PAYMENT_GATEWAYS.get(name)
    if not (kind and reference):
        return ""
    page = value_of(name, "GATEWAY_CHARGE_URL") or GATEWAYS[kind].charge_page(name)
    return str(page).replace(REFERENCE, quote(reference, safe=""))


def read_event(name: str, *, headers: Mapping[str, str], body: bytes, now: datetime) -> GatewayEvent | None:
    """The event in a webhook of this gateway, as `Gateway.event` returns it; headers' names are in any case.
    Raises `SignatureInvalid`, and `KeyError` for a gateway that is not configured.
    """
    entry = GATEWAYS[settings.PAYMENT_GATEWAYS[name]]
    by_name = {name.lower(): value for name, value in headers.items()}
    signature = by_name.get(entry.webhook_header.lower(), "")
    return call(name, entry.load().event, signature=signature, body=body, now=now)
