"""Models of the outside systems: a gateway and a partner with books, and receivers of events."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial, wraps
from typing import Any
from uuid import UUID

from coupons.partners.contract import NoAnswer, NotReached, PartnerReply
from events.webhooks.sending import Attempt
from lab.simulation.processes import Processes
from lab.simulation.world import SECONDS, SHARES, chance
from orders import tasks
from payments import webhooks
from payments.gateways.contract import BookedCharge, GatewayDispute, GatewayEvent, GatewayResult
from scripts.stack import Json

DECLINED = "tok_declined"
ASKING = "tok_3ds"  # A card that is declined, and one whose owner has to act


def call_of_gateway(effect: Callable[..., GatewayResult]) -> Callable[..., GatewayResult]:
    """A call whose request or reply may be lost."""

    @wraps(effect)
    def called(gateway: "Gateway", **named: Any) -> GatewayResult:
        with suppress(TimeoutError), chance.network(SHARES.lost_calls, TimeoutError, SECONDS.slow_call):
            return effect(gateway, **named)
        return GatewayResult(status="unknown")

    return called


@dataclass
class Gateway:
    """Charges and refunds by key, as the contract of `payments.gateways.contract` has them."""

    processes: Processes
    book: dict[str, BookedCharge] = field(default_factory=dict)
    refunds: dict[str, GatewayResult] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    events: int = 0

    @call_of_gateway
    def charge(self, *, key: str, token: str, order_id: UUID | None, **money: Any) -> GatewayResult:
        if key not in self.cancelled and key not in self.book:
            order = None
            if order_id:
                order = str(order_id)
            of: Any = {"reference": f"ch_{len(self.book)}", "status": "pending", "order_id": order, **money}
            self.book[key] = BookedCharge(
                key=key, created_at=datetime.fromtimestamp(chance.seconds, UTC), **of
            )
            # A card's owner who is asked acts soon, perhaps too late, or never.
            decision = ""
            if token == ASKING:
                decision = chance.choice(["approve", "approve", "refuse", "leave"])
            if not decision:
                self._end(key, is_approved=token != DECLINED)
            elif decision != "leave":
                end = partial(self._end, key, is_approved=decision == "approve")
                self.processes.happen(f"owner: {decision}", end, *chance.choice(SECONDS.owner_acts))
        return self._state(key)

    @call_of_gateway
    def find(self, *, key: str) -> GatewayResult:
        return self._state(key)

    @call_of_gateway
    def cancel(self, *, key: str) -> GatewayResult:
        if key not in self.book or self.book[key].status == "pending":
            self.cancelled.add(key)
            if key in self.book:
                self.book[key] = replace(self.book[key], status="cancelled")
        return self._state(key)

    @call_of_gateway
    def refund(self, *, key: str, charge_reference: str, amount: int) -> GatewayResult:
        if key not in self.refunds:
            [charge] = [one for one in self.book.values() if one.reference == charge_reference]
            if charge.kept_amount < amount:
                return GatewayResult(status="declined", failure_code="refund_exceeds_charge")
            self.refunds[key] = GatewayResult(
                status="succeeded", reference=f"re_{len(self.refunds)}", amount=amount
            )
            self._give_back(charge.key, amount)
            if chance.random() < SHARES.meddling:
                fail = partial(self._fail_refund, key, charge.key)
                self.processes.happen("gateway: a refund fails", fail, *chance.choice(SECONDS.owner_acts))
        return self.refunds[key]

    @call_of_gateway
    def find_refund(self, *, key: str, charge_reference: str) -> GatewayResult:
        return self.refunds.get(key) or GatewayResult(status="absent")

    def charges(self, *, key: Any = None, since: Any = None, until: Any = None) -> Iterator[BookedCharge]:
        for charge in list(self.book.values()):
            is_old = since and charge.created_at < since
            is_new = until and charge.created_at >= until
            if key in (None, charge.key) and not (is_old or is_new):
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
                self._book(key, "dispute.closed", disputes=tuple(ended))

    def _state(self, key: str) -> GatewayResult:
        charge = self.book.get(key)
        if key in self.cancelled or not charge:
            return GatewayResult(status="cancelled" if key in self.cancelled else "absent")
        if charge.status == "pending":
            return replace(
                charge, status="requires_action", action_url=f"http://127.0.0.1:1/3ds/{charge.reference}"
            )
        return charge

    def _end(self, key: str, *, is_approved: bool) -> None:
        """End the charge, unless it has ended; perhaps parts of it are refunded or disputed later."""
        amount = self.book[key].amount
        if self.book[key].status != "pending":
            return
        if not is_approved:
            self._book(key, "charge.declined", status="declined", failure_code="card_declined")
            return
        self._book(key, "charge.succeeded", status="succeeded")
        for _ in range(chance.randint(1, 2) if chance.random() < SHARES.meddling else 0):
            part = chance.choice([amount, chance.randint(1, amount)])
            between = chance.choice(SECONDS.owner_acts)
            name, act = chance.choice([("give back", self._give_back), ("dispute", self._dispute)])
            self.processes.happen(f"gateway: {name}", partial(act, key, part), *between)

    def _give_back(self, key: str, amount: int) -> None:
        """Refund so much of the charge, or what is left of it: for the shop, or on the gateway's own page."""
        amount = min(amount, self.book[key].kept_amount)
        if amount:
            self._book(key, "charge.refunded", refunded_amount=self.book[key].refunded_amount + amount)

    def _fail_refund(self, key: str, charge_key: str) -> None:
        """The card did not keep the refund."""
        failed = self.refunds[key]
        charge = self.book[charge_key]
        self.refunds[key] = replace(failed, status="declined", failure_code="refund_failed")
        self._book(charge_key, "refund.failed", refunded_amount=charge.refunded_amount - failed.amount)

    def _dispute(self, key: str, amount: int) -> None:
        """The card's owner disputes so much of the charge, or what is left of it."""
        charge = self.book[key]
        amount = min(amount, charge.kept_amount)
        if amount:
            of: Any = {"reference": f"dp_{charge.reference}_{len(charge.disputes)}", "status": "open"}
            opened = GatewayDispute(amount=amount, currency=charge.currency, **of)
            self._book(key, "charge.disputed", disputes=(*charge.disputes, opened))

    def _book(self, key: str, type: str, **changes: Any) -> None:
        """Change the charge, and have the shop receive that event, perhaps late, twice, or never."""
        self.book[key] = replace(self.book[key], **changes)
        body = f"evt_{self.events} {type} {key}".encode()
        self.events = self.events + 1
        for _ in range(chance.choice([0, 1, 1, 2]) if chance.is_faulty else 1):
            receive = partial(self.processes.call, partial(self._receive, body))
            self.processes.happen(f"webhook {type}", receive, 0.01, 30.0)

    def _receive(self, body: bytes) -> None:
        event = webhooks.receive(gateway="simulator", headers={}, body=body)
        if event and event.handled_at is None:
            self.processes.enqueue(tasks.handle_webhook, event.id)


@dataclass
class Receiver:
    """Accepts events, drops those that it has, and keeps the order in which they came."""

    events: dict[str, Json] = field(default_factory=dict)

    def send(self, events: Sequence[Json]) -> Attempt:
        try:
            with chance.network(SHARES.lost_calls, TimeoutError):
                for event in events:
                    self.events.setdefault(str(event["id"]), event)
        except TimeoutError as error:
            return Attempt(None, f"no answer: {error}")
        return Attempt(200, "")


@dataclass
class Partner:
    """It confirms coupons: each key's final state, and the code that is registered under it."""

    processes: Processes
    replies: dict[UUID, PartnerReply] = field(default_factory=dict)
    # The codes that customers may use there are those of keys that are registered in the end.
    codes: dict[UUID, str] = field(default_factory=dict)

    def register(self, key: UUID, code: str) -> PartnerReply:
        with self._asked():
            if key not in self.replies:
                is_refused = chance.draw() < SHARES.refused_codes
                self.replies[key] = PartnerReply.REFUSED if is_refused else PartnerReply.REGISTERED
                self.codes[key] = code
            return self.replies[key]

    def find(self, key: UUID) -> PartnerReply:
        with self._asked():
            return self.replies.get(key, PartnerReply.UNKNOWN)

    def cancel(self, key: UUID) -> PartnerReply:
        with self._asked():
            if self.replies.get(key) is not PartnerReply.REFUSED:
                self.replies[key] = PartnerReply.CANCELLED
            return self.replies[key]

    @contextmanager
    def _asked(self) -> Iterator[None]:
        """Around a call, which waits on its way there and back, and may be lost."""
        self.processes.let_others_run()
        if chance.draw() < SHARES.not_reached:
            raise NotReached("the connection was refused")
        with chance.network(SHARES.lost_calls_of_partners, NoAnswer, SECONDS.slow_call):
            yield
            self.processes.let_others_run()
