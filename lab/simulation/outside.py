"""Models of the outside systems: a gateway and a partner with books, and receivers of events."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any
from uuid import UUID

from coupons.partners.contract import NoAnswer, NotReached, PartnerReply
from events.models import WebhookEndpoint
from events.webhooks.sending import Attempt
from lab.simulation.chance import chance
from lab.simulation.processes import Processes
from orders import tasks
from payments import webhooks
from payments.gateways.contract import BookedCharge, GatewayDispute, GatewayEvent, GatewayResult, Status

DECLINED, ASKING = "tok_declined", "tok_3ds"
"""A card that is declined, and one whose owner has to act."""
LOST_REQUEST, LOST_REPLY = 0.06, 0.12
"""How often a call of the gateway or a receiver is lost on its way there, or back."""
PARTNER_NOT_REACHED, PARTNER_LOST_REQUEST, PARTNER_LOST_REPLY, PARTNER_REFUSED = 0.05, 0.08, 0.14, 0.05
"""How often a call does not reach it, is lost on its way there, or back, and how often it refuses a code."""
SLOW_SECONDS = 2.9
OWNER_SECONDS = ((0.05, 5.0), (5.0, 50.0), (50.0, 300.0))
"""When the owner of a card acts: at once, later, or about when the shop gives up."""
SHARE_OF_MEDDLING = 0.3
"""How many charges are refunded or disputed at the gateway."""


@dataclass
class Gateway:
    """Charges and refunds by key, as the contract of `payments.gateways.contract` has them."""

    processes: Processes
    book: dict[str, BookedCharge] = field(default_factory=dict)
    refunds: dict[str, GatewayResult] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    event_numbers: "count[int]" = field(default_factory=count)

    def charge(
        self, *, key: str, token: str, amount: int, currency: str, order_id: UUID | None
    ) -> GatewayResult:
        def charged() -> GatewayResult:
            if key not in self.cancelled and key not in self.book:
                self.book[key] = BookedCharge(
                    reference=f"ch_{len(self.book)}",
                    key=key,
                    order_id=str(order_id) if order_id else None,
                    status="pending",
                    amount=amount,
                    currency=currency,
                    created_at=datetime.fromtimestamp(chance.seconds, UTC),
                )
                if token == ASKING:
                    self._ask_owner(key)
                else:
                    self._end(key, "declined" if token == DECLINED else "succeeded")
            return self._state(key)

        return self._called(charged)

    def find(self, *, key: str) -> GatewayResult:
        return self._called(lambda: self._state(key))

    def cancel(self, *, key: str) -> GatewayResult:
        def cancelled() -> GatewayResult:
            if key not in self.book or self.book[key].status == "pending":
                self.cancelled.add(key)
                if key in self.book:
                    self.book[key] = replace(self.book[key], status="cancelled")
            return self._state(key)

        return self._called(cancelled)

    def refund(self, *, key: str, charge_reference: str, amount: int) -> GatewayResult:
        def refunded() -> GatewayResult:
            if key not in self.refunds:
                [charge] = [one for one in self.book.values() if one.reference == charge_reference]
                if charge.kept_amount < amount:
                    return GatewayResult(status="declined", failure_code="refund_exceeds_charge")
                reference = f"re_{len(self.refunds)}"
                self.refunds[key] = GatewayResult(status="succeeded", reference=reference, amount=amount)
                self._give_back(charge.key, amount)
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
                key in (None, charge.key)
                and (order_id is None or charge.order_id == str(order_id))
                and (since is None or charge.created_at >= since)
                and (until is None or charge.created_at < until)
            ):
                yield charge

    def event(self, *, signature: str, body: bytes, now: datetime) -> GatewayEvent | None:
        """Bodies here are `id type key`, and each is believed: signatures have tests of their own."""
        id, type, key = body.decode().split(" ")
        return GatewayEvent(id=id, type=type, key=key)

    def close_disputes(self) -> None:
        """The banks decide every dispute: the refunds that wait for one can go on."""
        for key, charge in list(self.book.items()):
            end: Any = chance.choice(["won", "lost"])
            if any(one.status == "open" for one in charge.disputes):
                ended = (replace(one, status=end) if one.status == "open" else one for one in charge.disputes)
                self.book[key] = replace(charge, disputes=tuple(ended))
                self._emit("dispute.closed", key)

    def _state(self, key: str) -> GatewayResult:
        charge = self.book.get(key)
        if key in self.cancelled or not charge:
            return GatewayResult(status="cancelled" if key in self.cancelled else "absent")
        if charge.status == "pending":
            url = f"http://127.0.0.1:1/3ds/{charge.reference}"
            return replace(charge, status="requires_action", action_url=url)
        return charge

    def _called(self, effect: Callable[[], GatewayResult]) -> GatewayResult:
        """Lose the request, or the reply, and be slow then, by chance."""
        drawn = chance.draw()
        if drawn < LOST_REQUEST:
            return GatewayResult(status="unknown")
        result = effect()
        if drawn < LOST_REPLY:
            chance.pass_time(SLOW_SECONDS)
            return GatewayResult(status="unknown")
        return result

    def _end(self, key: str, status: Status) -> None:
        """End the charge, unless it has ended; perhaps parts of it are refunded or disputed later."""
        charge = self.book[key]
        if charge.status != "pending":
            return
        code = "card_declined" if status == "declined" else ""
        self.book[key] = replace(charge, status=status, failure_code=code)
        self._emit(f"charge.{status}", key)
        if status == "succeeded" and chance.random() < SHARE_OF_MEDDLING:
            for _ in range(chance.randint(1, 2)):
                part = chance.choice([charge.amount, chance.randint(1, charge.amount)])
                between = chance.choice(OWNER_SECONDS)
                happens, name = chance.choice([(self._give_back, "give back"), (self._dispute, "dispute")])
                self.processes.happen(f"gateway: {name}", partial(happens, key, part), *between)

    def _ask_owner(self, key: str) -> None:
        """Have the owner of the card approve or refuse the charge, soon, perhaps too late, or never."""
        decision, between = (
            chance.choice(["approve", "approve", "refuse", "leave"]),
            chance.choice(OWNER_SECONDS),
        )
        status: Status = "succeeded" if decision == "approve" else "declined"
        if decision != "leave":
            self.processes.happen(f"owner: {decision}", partial(self._end, key, status), *between)

    def _give_back(self, key: str, amount: int) -> None:
        """Refund so much of the charge, or what is left of it: for the shop, or on the gateway's own page."""
        charge = self.book[key]
        if amount := min(amount, charge.kept_amount):
            self.book[key] = replace(charge, refunded_amount=charge.refunded_amount + amount)
            self._emit("charge.refunded", key)

    def _dispute(self, key: str, amount: int) -> None:
        """The card's owner disputes so much of the charge, or what is left of it."""
        charge = self.book[key]
        if amount := min(amount, charge.kept_amount):
            reference = f"dp_{charge.reference}_{len(charge.disputes)}"
            opened = GatewayDispute(
                reference=reference, status="open", amount=amount, currency=charge.currency
            )
            self.book[key] = replace(charge, disputes=(*charge.disputes, opened))
            self._emit("charge.disputed", key)

    def _emit(self, type: str, key: str) -> None:
        """Have the shop receive the event, perhaps late, twice, or never."""
        body = f"evt_{next(self.event_numbers)} {type} {key}".encode()
        for _ in range(chance.choice([0, 1, 1, 2]) if chance.is_faulty else 1):
            receive = partial(self.processes.call, partial(self._receive, body))
            self.processes.happen(f"webhook {type}", receive, 0.01, 30.0)

    def _receive(self, body: bytes) -> None:
        event = webhooks.receive(gateway="simulator", headers={}, body=body)
        if event and event.handled_at is None:
            self.processes.enqueue(tasks.handle_webhook, event.id)


@dataclass
class Receiver:
    """Accepts events, drops those that it has, and keeps the order in which they came.

    It stands for the data platform, by `send`, and for a program's endpoint, by `send_one`.
    """

    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    def send(self, events: Sequence[dict[str, Any]]) -> Attempt:
        drawn = chance.draw()
        for event in events if drawn >= LOST_REQUEST else ():
            self.events.setdefault(str(event["id"]), event)
        return Attempt(None, "no answer: lost") if drawn < LOST_REPLY else Attempt(200, "")

    def send_one(self, endpoint: WebhookEndpoint, *, id: str, payload: dict[str, Any]) -> Attempt:
        return self.send([payload])


@dataclass
class Partner:
    """It confirms coupons: each key's final state, and the code that is registered under it."""

    processes: Processes
    replies: dict[UUID, PartnerReply] = field(default_factory=dict)
    codes: dict[UUID, str] = field(default_factory=dict)

    def register(self, key: UUID, code: str) -> PartnerReply:
        def registered() -> PartnerReply:
            if key not in self.replies:
                is_refused = chance.draw() < PARTNER_REFUSED
                self.replies[key] = PartnerReply.REFUSED if is_refused else PartnerReply.REGISTERED
                self.codes[key] = code
            return self.replies[key]

        return self._called(registered)

    def find(self, key: UUID) -> PartnerReply:
        return self._called(lambda: self.replies.get(key, PartnerReply.UNKNOWN))

    def cancel(self, key: UUID) -> PartnerReply:
        def cancelled() -> PartnerReply:
            if self.replies.get(key) is not PartnerReply.REFUSED:
                self.replies[key] = PartnerReply.CANCELLED
            return self.replies[key]

        return self._called(cancelled)

    def registered_codes(self) -> set[str]:
        """The codes that customers may use there."""
        return {self.codes[key] for key, reply in self.replies.items() if reply is PartnerReply.REGISTERED}

    def _called(self, effect: Callable[[], PartnerReply]) -> PartnerReply:
        drawn = chance.draw()
        # The caller waits on the way there and back.
        self.processes.let_others_run()
        if drawn < PARTNER_NOT_REACHED:
            raise NotReached("the connection was refused")
        if drawn < PARTNER_LOST_REQUEST:
            raise NoAnswer("the request is lost")
        reply = effect()
        if drawn < PARTNER_LOST_REPLY:
            chance.pass_time(SLOW_SECONDS)
            raise NoAnswer("the reply is lost")
        self.processes.let_others_run()
        return reply
