"""Clients of the web process, who buy, pay, cancel and refund: each repeats a call until it is answered."""

from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from coupons.allocation.writes import Queued
from coupons.issuing import issuing
from coupons.models import QueueTicket
from coupons.queue import tickets
from inventory.reservations import Line
from lab.simulation.chance import chance
from lab.simulation.offers import Offer
from lab.simulation.outside import ASKING, DECLINED
from lab.simulation.processes import Processes
from orders import cancellation, schemas, tasks as order_tasks
from orders.models import Order
from orders.payment import purchase, refunding, top_ups
from orders.placement import checkout
from orders.placement.decisions import OrderRequest
from sales.models import SaleEntry
from sales.waiting_room import entries
from sales.waiting_room.entries import JoinRequest
from shop.errors import FirstcomeError, Unavailable
from shop.idempotency.recorded_answers import KeyedCall, Replay, key_hash
from shop.journal import journal
from shop.operations import dispatch

TOKENS = ("tok_ok", "tok_ok", "tok_ok", DECLINED, ASKING)
KEEP_SHARE, COUPON_SHARE = 0.4, 0.5
"""How many payments are to keep their order on a decline, and how many orders name a coupon."""
Story = Generator[tuple[str, Callable[[], Any]] | None, Any, None]
"""Calls of the web process by name, in sequence: gets what each returns or raises. None is a pause."""


@dataclass
class Shop:
    """What the run began with, and what its clients and operators have been answered since."""

    accounts: list[int]
    operators: list[int]
    prices: dict[int, int]
    """Of each product."""
    offers: dict[int, Offer]
    """Every campaign."""
    sale: int
    sale_product: int
    orders: list[UUID] = field(default_factory=list)
    """Of which a client knows, as of the sagas that a call was answered to have started, and so on."""
    sagas: list[UUID] = field(default_factory=list)
    coupons: dict[tuple[int, int], str] = field(default_factory=dict)
    """Codes by account and campaign."""
    sold_out: set[int] = field(default_factory=set)
    """Campaigns by whose shared code an order was refused for that."""
    tickets: set[UUID] = field(default_factory=set)
    entries: set[UUID] = field(default_factory=set)
    """Entries of the sale."""
    granted: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Accounts and amounts of operators' grants by their reasons, which are unique."""
    granted_in_day: Counter[tuple[int, Any]] = field(default_factory=Counter)
    """What each operator granted in a day without an approval."""
    asked: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Likewise grants that wait or waited for an approval."""
    decided: dict[int, str] = field(default_factory=dict)
    """How approvals were answered to be decided."""
    contradictions: list[str] = field(default_factory=list)
    """Answers that can't both be true."""
    refusals: Counter[str] = field(default_factory=Counter)


class Client:
    """One customer: calls the web process, and calls again with the same key while there is no answer."""

    pauses = 0.05, 3.0
    actions: Mapping[str, int] = {
        "buy": 6,
        "order": 2,
        "pay": 2,
        "pay_again": 2,
        "cancel": 1,
        "refund": 2,
        "top_up": 1,
        "coupon": 1,
        "sale": 2,
    }
    """Its methods, and how often each is chosen."""

    def __init__(self, processes: Processes, shop: Shop, account_id: int) -> None:
        self.processes, self.shop, self.account_id = processes, shop, account_id
        self.is_done = False
        self.calls_open: set[str] = set()
        """Calls that were made and not answered yet."""
        self._kept: list[UUID] = []
        """Own orders that are kept if their card is declined."""
        self._has_ordered = False

    def begin(self) -> None:
        """Do one action after the other until `is_done`."""
        self._go_on(self._live())

    def _live(self) -> Story:
        while not self.is_done:
            [action] = chance.choices(list(self.actions), list(self.actions.values()))
            with suppress(FirstcomeError):
                yield from getattr(self, action)(str(uuid4()))
            yield None

    def _go_on(self, story: Story, call: tuple[str, Callable[[], Any]] | None = None) -> None:
        """Make the story's calls up to its next pause; one that has no answer is made again after a pause."""
        with suppress(StopIteration, FirstcomeError):
            call = call or next(story)
            while call and (outcomes := self._made(*call)):
                [outcome] = outcomes
                is_refused = isinstance(outcome, FirstcomeError)
                call = story.throw(outcome) if is_refused else story.send(outcome)
            self.processes.happen("call", partial(self._go_on, story, call), *self.pauses)

    def _made(self, name: str, work: Callable[[], Any]) -> list[Any]:
        """What the call in the web process returns or how it is refused; empty without an answer."""
        outcomes: list[Any] = []

        def answer() -> None:
            try:
                outcomes.append(work())
            except Unavailable:
                self.processes.world.note(f"{name} has no answer")
            except FirstcomeError as error:
                self.shop.refusals[error.code] += 1
                self.processes.world.note(f"{name} refused: {error.code}")
                outcomes.append(error)

        self.calls_open.add(name)
        self.processes.call(answer)
        if outcomes:
            self.calls_open.discard(name)
        return outcomes

    def _contradict(self, what: str) -> None:
        if what:
            self.shop.contradictions.append(what)

    def _keyed(self, key: str, answer: Callable[[Any], Any] = schemas.answered_later) -> KeyedCall:
        return KeyedCall(self.account_id, key_hash(key), "fingerprint", answer)

    def _start(self, name: str, work: Callable[..., Any], **named: Any) -> Story:
        """A call that starts a saga."""
        outcome = yield name, partial(work, **named)
        if not isinstance(outcome, Replay):
            self._note_saga(outcome.saga_id if name == "refund" else outcome.saga.id)

    def _note_saga(self, saga_id: UUID) -> None:
        self.shop.sagas.append(saga_id)
        dispatch.enqueue(order_tasks.advance)

    def _known_order(self) -> UUID | None:
        return chance.choice(self.shop.orders) if self.shop.orders else None

    # Actions

    def buy(self, key: str) -> Story:
        yield from self._place(key, chance.choice(TOKENS))

    def order(self, key: str) -> Story:
        yield from self._place(key, None)

    def sale(self, key: str) -> Story:
        """Join the sale, or read the entry, and order once it is admitted."""
        request = JoinRequest(self.shop.sale, self.account_id)
        entry = yield "join", partial(entries.JOINER.submit, request)
        self.shop.entries.add(entry.id)
        if entry.status == SaleEntry.Status.ADMITTED:
            token = chance.choice([*TOKENS, None])
            yield from self._place(key, token, (Line(self.shop.sale_product, 1),))

    def pay(self, key: str) -> Story:
        yield from self._pay(key, self._known_order())

    def pay_again(self, key: str) -> Story:
        """Pay an order of one's own with another card, in case that its card was declined."""
        yield from self._pay(key, chance.choice(self._kept) if self._kept else None)

    def _pay(self, key: str, order_id: UUID | None) -> Story:
        if order_id:
            token, keeps = chance.choice(TOKENS), chance.random() < KEEP_SHARE
            to = {"account_id": self.account_id, "order_id": order_id, "keyed": self._keyed(key)}
            yield from self._start("pay", purchase.pay, token=token, keep_on_decline=keeps, **to)

    def cancel(self, key: str) -> Story:
        if order_id := self._known_order():
            yield "cancel", partial(cancellation.cancel, order_id=order_id, account_id=self.account_id)

    def refund(self, key: str) -> Story:
        if order_id := self._known_order():
            of: Any = {"order_id": order_id, "wanted": None, "reason": "simulated", "restock": True}
            yield from self._start("refund", refunding.start_refund, keyed=self._keyed(key), **of)

    def top_up(self, key: str) -> Story:
        of: Any = {"amount": chance.randint(100, 900), "token": chance.choice(TOKENS)}
        yield from self._start(
            "top up", top_ups.start, account_id=self.account_id, keyed=self._keyed(key), **of
        )

    def coupon(self, key: str) -> Story:
        campaign_id = chance.choice(list(self.shop.offers))
        try:
            issue = partial(issuing.issue, campaign_id=campaign_id, user_id=self.account_id)
            issued = yield "coupon", issue
        except FirstcomeError as error:
            if error.code == "not_eligible" and self.shop.offers[campaign_id].lets_in(self.account_id):
                self._contradict(f"account {self.account_id} is in the list of campaign {campaign_id}")
            return
        if isinstance(issued, Queued):
            self.shop.tickets.add(issued.ticket.id)
            self._go_on(self._watch(issued.ticket.id, campaign_id))
        else:
            self._note_coupon(campaign_id, issued.coupon.code)

    def _watch(self, ticket_id: UUID, campaign_id: int) -> Story:
        """Look at the ticket later, beside the actions, and again until it waits no longer."""
        status = QueueTicket.Status.WAITING
        while status == QueueTicket.Status.WAITING:
            yield None
            queued = yield "ticket", partial(tickets.READER.submit, ticket_id)
            status = queued.ticket.status
            if queued.ticket.coupon:
                self._note_coupon(campaign_id, queued.ticket.coupon.code)

    def _note_coupon(self, campaign_id: int, code: str) -> None:
        known = self.shop.coupons.setdefault((self.account_id, campaign_id), code)
        if known != code:
            self._contradict(f"account {self.account_id} was answered {known} and {code}")
        if not self.shop.offers[campaign_id].lets_in(self.account_id):
            self._contradict(f"account {self.account_id} has {code}, and is not in the list")

    def _basket(self) -> tuple[Line, ...]:
        products = [product for product in self.shop.prices if product != self.shop.sale_product]
        chosen = sorted(chance.sample(products, chance.randint(1, 2)))
        return tuple(Line(product_id=product, quantity=chance.randint(1, 3)) for product in chosen)

    def _choose_coupon(self) -> tuple[str, int]:
        """The code of an own coupon, or a shared one, with its campaign; or none."""
        own = [(code, id) for (account, id), code in self.shop.coupons.items() if account == self.account_id]
        shared = [(offer.code, id) for id, offer in self.shop.offers.items() if offer.code]
        return chance.choice([*own, *shared]) if chance.random() < COUPON_SHARE else ("", 0)

    def _place(self, key: str, token: str | None, lines: tuple[Line, ...] = ()) -> Story:
        """Order these lines, or else a basket by chance."""
        lines = lines or self._basket()
        code, campaign_id = self._choose_coupon()
        offer = self.shop.offers.get(campaign_id)
        request = OrderRequest(
            account_id=self.account_id,
            lines=lines,
            coupon_code=code,
            points_amount=chance.choice([0, 0, 100]),
            token=token,
            keyed=self._keyed(key, schemas.placed_order_answer),
            by=journal.current_actor(),
            keep_on_decline=token is not None and chance.random() < KEEP_SHARE,
        )
        try:
            placed = yield "place", partial(checkout.place, request)
        except FirstcomeError as error:
            if error.code == "coupon_not_usable":
                has_coupon = (self.account_id, campaign_id) in self.shop.coupons
                known = {"has_coupon": has_coupon, "has_ordered": self._has_ordered}
                reason = str(error.extra["reason"])
                if offer is None or reason not in offer.reasons(self.account_id, lines, **known):
                    self._contradict(
                        f"account {self.account_id} was refused {code} for {reason}, and {known}"
                    )
                if reason == "sold_out":
                    self.shop.sold_out.add(campaign_id)
            return
        order_id = placed.reference if isinstance(placed, Replay) else placed.order.id
        self.shop.orders.append(order_id)
        self._has_ordered = True
        order = Order.objects.filter(id=order_id).first()
        if order is None:
            self._contradict(f"order {order_id} was answered, and is not there")
        elif offer:
            self._note_coupon(campaign_id, order.coupon_code)
            self._contradict(offer.wrong_with(lines, self.shop.prices, order))
        if request.keep_on_decline and token in (DECLINED, ASKING):
            self._kept.append(order_id)
        if not isinstance(placed, Replay) and placed.started:
            self._note_saga(placed.started.saga.id)


class CouponClient(Client):
    """One who wants nothing but coupons, soon again."""

    pauses, actions = (0.01, 0.8), {"coupon": 1}
