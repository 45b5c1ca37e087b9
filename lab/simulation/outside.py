"""Models of the outside systems: a gateway with a book, and a data platform that keeps what it accepted."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID

from events.models import WebhookEndpoint
from events.webhooks.sending import Attempt
from lab.simulation.determinism import chance
from payments.gateways.contract import BookedCharge, GatewayDispute, GatewayEvent, GatewayResult, Status

DECLINED, ASKING = "tok_declined", "tok_3ds"
"""A card that is declined, and one whose owner has to act."""
LOST_REQUEST, LOST_REPLY = 0.06, 0.12
"""How often a call is lost on its way there, or back."""
SLOW_SECONDS = 2.9


@dataclass
class Gateway:
    """Charges and refunds by key, as the contract of `payments.gateways.contract` has them."""

    book: dict[str, BookedCharge] = field(default_factory=dict)
    refunds: dict[str, GatewayResult] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    is_faulty: bool = True
    emit: Callable[[str, str], None] = lambda type, key: None
    ask: Callable[[str], None] = lambda key: None
    """Has the owner of a charge's card act, perhaps."""
    meddle: Callable[[str], None] = lambda key: None
    """Has a charge that succeeded refunded or disputed there, perhaps."""

    def charge(
        self, *, key: str, token: str, amount: int, currency: str, order_id: UUID | None
    ) -> GatewayResult:
        def charged() -> GatewayResult:
            if key in self.cancelled:
                return GatewayResult(status="cancelled")
            if key not in self.book:
                statuses: dict[str, Status] = {DECLINED: "declined", ASKING: "pending"}
                status = statuses.get(token, "succeeded")
                self.book[key] = BookedCharge(
                    reference=f"ch_{len(self.book)}",
                    key=key,
                    order_id=str(order_id) if order_id else None,
                    status=status,
                    amount=amount,
                    refunded_amount=0,
                    currency=currency,
                    created_at=datetime.fromtimestamp(chance.seconds, UTC),
                )
                if status == "pending":
                    self.ask(key)
                else:
                    self._ended(key, status)
            return self._state(key)

        return self._called(charged)

    def act(self, key: str, *, is_approved: bool) -> None:
        """The card's owner ends the charge; one that has ended stays as it is."""
        charge = self.book[key]
        if charge.status == "pending":
            status: Status = "succeeded" if is_approved else "declined"
            self.book[key] = replace(charge, status=status)
            self._ended(key, status)

    def give_back(self, key: str, amount: int) -> None:
        """A clerk refunds so much of the charge on the gateway's own page, or what is left of it."""
        charge = self.book[key]
        if amount := min(amount, charge.kept_amount):
            self.book[key] = replace(charge, refunded_amount=charge.refunded_amount + amount)
            self.emit("charge.refunded", key)

    def dispute(self, key: str, amount: int) -> None:
        """The card's owner disputes so much of the charge, or what is left of it."""
        charge = self.book[key]
        if amount := min(amount, charge.kept_amount):
            opened = GatewayDispute(
                reference=f"dp_{charge.reference}_{len(charge.disputes)}",
                status="open",
                amount=amount,
                currency=str(charge.currency),
            )
            self.book[key] = replace(charge, disputes=(*charge.disputes, opened))
            self.emit("charge.disputed", key)

    def close_disputes(self, key: str, status: Literal["won", "lost"]) -> None:
        """The owner's bank decides the open disputes of the charge."""
        charge = self.book[key]
        if any(one.status == "open" for one in charge.disputes):
            closed = tuple(
                replace(one, status=status) if one.status == "open" else one for one in charge.disputes
            )
            self.book[key] = replace(charge, disputes=closed)
            self.emit("dispute.closed", key)

    def find(self, *, key: str) -> GatewayResult:
        return self._called(lambda: self._state(key))

    def cancel(self, *, key: str) -> GatewayResult:
        def cancelled() -> GatewayResult:
            if key in self.book and self.book[key].status != "pending":
                return self._state(key)
            if key in self.book:
                self.book[key] = replace(self.book[key], status="cancelled")
            self.cancelled.add(key)
            return GatewayResult(status="cancelled")

        return self._called(cancelled)

    def refund(self, *, key: str, charge_reference: str, amount: int) -> GatewayResult:
        def refunded() -> GatewayResult:
            if key not in self.refunds:
                [charge] = [one for one in self.book.values() if one.reference == charge_reference]
                if charge.kept_amount < amount:
                    return GatewayResult(status="declined", failure_code="refund_exceeds_charge")
                self.book[charge.key] = replace(charge, refunded_amount=charge.refunded_amount + amount)
                number = len(self.refunds)
                self.refunds[key] = GatewayResult(status="succeeded", reference=f"re_{number}", amount=amount)
                self.emit("charge.refunded", charge.key)
            return self.refunds[key]

        return self._called(refunded)

    def find_refund(self, *, key: str, charge_reference: str) -> GatewayResult:
        return self._called(lambda: self.refunds.get(key) or GatewayResult(status="absent"))

    def key_of(self, *, reference: str) -> str | None:
        """Events here name the key."""
        return ""

    def charges(
        self,
        *,
        key: str | None = None,
        order_id: UUID | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[BookedCharge]:
        for charge in list(self.book.values()):
            if (
                (key is None or charge.key == key)
                and (order_id is None or charge.order_id == str(order_id))
                and (since is None or charge.created_at >= since)
                and (until is None or charge.created_at < until)
            ):
                yield charge

    def event(self, *, signature: str, body: bytes, now: datetime) -> GatewayEvent | None:
        """Bodies here are `id type key`, and each is believed: signatures have tests of their own."""
        id, type, key = body.decode().split(" ")
        return GatewayEvent(id=id, type=type, key=key)

    def _state(self, key: str) -> GatewayResult:
        if key in self.cancelled:
            return GatewayResult(status="cancelled")
        if key not in self.book:
            return GatewayResult(status="absent")
        charge = self.book[key]
        if charge.status == "pending":
            url = f"http://127.0.0.1:1/3ds/{charge.reference}"
            return GatewayResult(status="requires_action", reference=charge.reference, action_url=url)
        is_declined = charge.status == "declined"
        return GatewayResult(
            status="declined" if is_declined else "succeeded",
            reference=charge.reference,
            failure_code="card_declined" if is_declined else "",
            amount=charge.amount,
            refunded_amount=charge.refunded_amount,
            currency=str(charge.currency),
            disputes=charge.disputes,
        )

    def _ended(self, key: str, status: str) -> None:
        self.emit(f"charge.{status}", key)
        if status == "succeeded":
            self.meddle(key)

    def _called(self, effect: Callable[[], GatewayResult]) -> GatewayResult:
        """Lose the request, or the reply, or be slow, by chance."""
        drawn = chance.random.random() if self.is_faulty else 1.0
        if drawn < LOST_REQUEST:
            return GatewayResult(status="unknown")
        result = effect()
        if drawn < LOST_REPLY:
            chance.pass_time(SLOW_SECONDS)
            return GatewayResult(status="unknown")
        return result


@dataclass
class Receiver:
    """Accepts events, drops those that it has, and keeps the order in which they came.

    It stands for the data platform, by `send`, and for a program's endpoint, by `send_one`.
    """

    events: dict[str, dict[str, Any]] = field(default_factory=dict)
    is_faulty: bool = True

    def send(self, events: Sequence[dict[str, Any]]) -> Attempt:
        drawn = chance.random.random() if self.is_faulty else 1.0
        if drawn < LOST_REQUEST:
            return Attempt(None, "no answer: lost")
        for event in events:
            self.events.setdefault(str(event["id"]), event)
        return Attempt(None, "no answer: lost") if drawn < LOST_REPLY else Attempt(200, "")

    def send_one(self, endpoint: WebhookEndpoint, *, id: str, payload: dict[str, Any]) -> Attempt:
        return self.send([payload])
