"""The contract of payment gateways: the functions of an adapter, the shapes of their results, and how an
adapter reads the settings of the configured gateway that is called just now.

`simulator` and `stripe` have settings without a name (`GATEWAY_URL`), every other its own (`GATEWAY_URL_B`).
"""

from collections.abc import Callable, Collection, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, ParamSpec, Protocol, TypeVar
from uuid import UUID

from django.conf import settings

# The settings import this package: Django's usual function would read them half loaded, and a process whose
# settings are wrong would then go on with Django's defaults.
from django.utils.translation.trans_null import gettext_noop

P = ParamSpec("P")
Result = TypeVar("Result")
Status = Literal[
    "succeeded", "declined", "pending", "requires_action", "cancelled", "absent", "unknown", "unsupported"
]


GATEWAY_TEXTS = [
    gettext_noop("The card has insufficient funds."),
    gettext_noop("The card's owner refused the payment."),
    gettext_noop("The card's owner did not confirm the payment in time."),
    # Stripe's, for cards that are refused.
    gettext_noop(
        "We are unable to authenticate your payment method. Please choose a different payment method and try "
        "again."
    ),
    gettext_noop("Your card was declined."),
    gettext_noop("Your card has insufficient funds."),
    gettext_noop("Your card has expired."),
    gettext_noop("Your card's security code is incorrect."),
]
"""What gateways say in their own words about a declined card, and customers read; others stay as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayDispute:
    """A dispute of a charge. The gateway holds the amount while it is open, and keeps it when it is lost;
    `due_at` is when the shop's answer is due.
    """

    reference: str
    status: Literal["open", "won", "lost"]
    amount: int
    currency: str
    due_at: datetime | None = None


NOT_CALLED = "not_called"
"""The failure code of an unknown result without a call: the gateway is known to be away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayResult:
    """The state of one charge or refund at the gateway. Amounts are in the currency's minor unit.

    succeeded, declined, cancelled: final; where the gateway would let a declined charge be confirmed again,
    the adapter cancels it first. pending: not decided yet; look it up again. requires_action: nothing is
    charged until the card's owner has acted at `action_url`. absent: nothing exists under this key so far.
    unknown: no reply that can be trusted, so anything may have happened; look it up, or repeat it with the
    same key. unsupported: this gateway can't do it; nothing was changed. `currency` and `disputes` are those
    of a charge.
    """

    status: Status
    reference: str = ""
    failure_code: str = ""
    failure_detail: str = ""
    amount: int = 0
    refunded_amount: int = 0
    action_url: str = ""
    currency: str = ""
    disputes: tuple[GatewayDispute, ...] = ()

    @property
    def kept_amount(self) -> int:
        """The charged amount that is neither refunded nor disputed."""
        if self.status != "succeeded":
            return 0
        disputed_amount = sum(self.disputed_amount(one) for one in self.disputes if one.status != "won")
        # A refunded charge may be disputed as well, for more than is left of it.
        return max(0, self.amount - self.refunded_amount - disputed_amount)

    @property
    def is_undecided(self) -> bool:
        """Whether an open dispute decides if a part of the charge is kept."""
        is_open = any(self.disputed_amount(one) for one in self.disputes if one.status == "open")
        return is_open and self.refunded_amount < self.amount

    def disputed_amount(self, dispute: GatewayDispute) -> int:
        """What the dispute takes of the charge: all of it at most, as banks' rates may say more, and all of
        it in another currency, whose amount can't be compared.
        """
        return min(dispute.amount, self.amount) if dispute.currency == self.currency else self.amount


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedCharge(GatewayResult):
    """A charge in the gateway's book; `order_id` is as it was sent with the charge, or None."""

    key: str
    order_id: str | None
    created_at: datetime


class Books(NamedTuple):
    """Whose books at which gateway, by the names of a payment's columns."""

    gateway: str
    gateway_account: str


class ExpectedCharge(NamedTuple):
    """The charge of a payment, and in whose books it is; the amount in minor units; `order` is None for a
    top-up.
    """

    key: str
    amount: int
    currency: str
    order: str | None
    books: Books

    def is_met_by(self, found: GatewayResult) -> bool:
        """Whether the charge is the payment's: the amount and currency are, and the order if it is named."""
        is_same = (found.amount, found.currency) == (self.amount, self.currency)
        return is_same and (not isinstance(found, BookedCharge) or found.order_id == self.order)


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEvent:
    """A webhook's event: a reason to look up the charge of `key`; its own claims are not relied on.

    `type` is `charge.succeeded`, `charge.declined`, `charge.refunded`, `refund.failed`, `charge.disputed`,
    `dispute.closed`, or the gateway's own name of any other. `key` is empty for a charge that is not ours, or
    named by its `reference` alone.
    """

    id: str
    type: str
    key: str
    reference: str = ""


class Gateway(Protocol):
    """Charges by key: the same key never charges twice, and a repeat returns the first result.

    Calls that return a `GatewayResult` raise nothing. All must be made outside any transaction.
    """

    def charge(
        self, *, key: str, token: str, amount: int, currency: str, order_id: UUID | None
    ) -> GatewayResult:
        """Charge the card of the token; `order_id` is None for a top-up. The page of a `requires_action`
        leads back to `settings.PAYMENT_RETURN_URL`.
        """

    def find(self, *, key: str) -> GatewayResult:
        """The state of the charge of this key."""

    def key_of(self, *, reference: str) -> str | None:
        """The key of the charge with this reference; empty if it has none of ours, None without an answer."""

    def cancel(self, *, key: str) -> GatewayResult:
        """Make sure that no charge of this key can happen any more. `succeeded` means that it is too late,
        `unsupported` that this gateway can't promise it.
        """

    def refund(self, *, key: str, charge_reference: str, amount: int) -> GatewayResult:
        """Refund this amount of a charge, once per key. Declined as `refund_exceeds_charge` if less is left
        of it, refunds made at the gateway and disputes included.
        """

    def find_refund(self, *, key: str, charge_reference: str) -> GatewayResult:
        """The state of the refund of this key: `absent` if none was made of the charge, `declined` also if it
        failed after it had succeeded.
        """

    def charges(
        self,
        *,
        key: str | None = None,
        order_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[BookedCharge]:
        """The charges in the gateway's book, oldest first, of a key or order, created at or after `since` and
        before `until`. Raises `Unavailable` when the book can't be read.
        """

    def event(self, *, signature: str, body: bytes, now: datetime) -> GatewayEvent | None:
        """The event in a webhook, after its signature is verified over the bytes of the body; None for a
        signed body that is no event. `signature` is empty where the header is missing. Raises
        `SignatureInvalid`.
        """


# Configured gateways

WITHOUT_NAME: Collection[str] = ("simulator", "stripe")
"""The gateways whose settings are without a name, but for the secret of their webhooks."""
_called: ContextVar[str] = ContextVar("called", default="")


def setting_of(name: str, setting: str) -> str:
    """The name that this setting has for the gateway of this name."""
    return setting if name in WITHOUT_NAME else f"{setting}_{name.upper()}"


def value_of(name: str, setting: str) -> Any:
    """The value of this setting of the configured gateway of this name."""
    return getattr(settings, setting_of(name, setting))


def call(name: str, function: Callable[P, Result], *args: P.args, **kwargs: P.kwargs) -> Result:
    """The result of an adapter's function, which calls the configured gateway of this name."""
    token = _called.set(name)
    try:
        return function(*args, **kwargs)
    finally:
        _called.reset(token)


def called() -> str:
    """The name of the gateway that is called: without `call`, that of new payments."""
    return _called.get() or settings.PAYMENT_GATEWAY


def own(setting: str) -> Any:
    """The value of this setting of the gateway that is called."""
    return value_of(called(), setting)


def webhook_secret() -> str:
    """What signs the webhooks of the gateway that is called."""
    secret: str = getattr(settings, f"WEBHOOK_SECRET_{called().upper()}")
    return secret
