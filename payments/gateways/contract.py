"""What a payment gateway must be able to do, whoever runs it, and the shape of what it says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

Status = Literal["succeeded", "declined", "pending", "cancelled", "absent", "unknown", "unsupported"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayResult:
    """What the gateway says of one charge or refund. Amounts are in the currency's minor unit.

    succeeded, declined, cancelled: final. pending: the gateway will decide by itself; ask again.
    absent: there is nothing under this key, so far. unknown: no reply, or none that can be trusted;
    anything may have happened, and only asking again by the same key tells. unsupported: this gateway can't
    do it, however often it is asked; nothing was changed.
    """

    status: Status
    reference: str = ""
    failure_code: str = ""
    failure_detail: str = ""
    amount: int = 0
    refunded_amount: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedCharge:
    """One charge as it stands in the gateway's book; `order_id` is as the gateway was told, or None."""

    reference: str
    key: str
    order_id: str | None
    status: str
    amount: int
    refunded_amount: int
    currency: str | None
    created_at: datetime

    @property
    def kept_amount(self) -> int:
        """What the gateway took and has not given back."""
        return self.amount - self.refunded_amount if self.status == "succeeded" else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewayEvent:
    """What a webhook says has happened to a charge: a reason to ask by `key`, and never believed itself.

    `type` is `charge.succeeded`, `charge.declined`, `charge.refunded`, or the gateway's own word for what
    we don't know of. `key` is empty for what was not charged by us. All three fit where they are stored.
    """

    id: str
    type: str
    key: str


class Gateway(Protocol):
    """Charges by key: the same key never charges twice, and hears the first outcome again.

    Calls that return a `GatewayResult` raise nothing for what a gateway does or fails to do. All must be made
    outside any transaction.
    """

    def charge(
        self, *, key: str, token: str, amount: int, currency: str, order_id: UUID | None
    ) -> GatewayResult:
        """Charge the card of the token; `order_id` is None for what is no order."""

    def find(self, *, key: str) -> GatewayResult:
        """What became of the charge of this key."""

    def cancel(self, *, key: str) -> GatewayResult:
        """See to it that no charge of this key can land.

        `succeeded` says that it is too late, `unsupported` that this gateway can't promise it.
        """

    def refund(self, *, key: str, charge_reference: str, amount: int) -> GatewayResult:
        """Give back some of a charge, once per key."""

    def charges(
        self,
        *,
        key: str | None = None,
        order_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[BookedCharge]:
        """The book, oldest first, or what is there of a key or order.

        With `since` and `until` what was created then or later, and before. Raises `Unavailable` where it
        can't be read.
        """

    def event(self, *, headers: Mapping[str, str], body: bytes, now: datetime) -> GatewayEvent | None:
        """What a webhook says, once its signature is verified over the body's very bytes.

        None for a body that is signed, but no event with an id and a type. Names of headers may come in
        any case. Raises `SignatureInvalid`.
        """
