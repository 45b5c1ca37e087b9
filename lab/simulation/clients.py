"""Clients of the web process, who buy, pay, cancel and refund: each repeats a call until it is answered."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from coupons.allocation.writes import Queued
from coupons.issuing import issuing
from coupons.models import QueueTicket
from coupons.queue import tickets
from inventory.reservations import Line
from lab.simulation.determinism import chance
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
from sales.waiting_room.entries import Entry, JoinRequest
from shop.errors import FirstcomeError, Unavailable
from shop.idempotency.recorded_answers import KeyedCall, Replay, key_hash
from shop.journal import journal
from shop.operations import dispatch

TOKENS = ("tok_ok", "tok_ok", "tok_ok", DECLINED, ASKING)
PAUSE_SECONDS = (0.05, 3.0)
ACTIONS = {
    "buy": 6,
    "order": 2,
    "pay": 2,
    "pay again": 2,
    "cancel": 1,
    "refund": 2,
    "top up": 1,
    "coupon": 1,
    "sale": 2,
}
KEEP_SHARE = 0.4
"""How many payments are to keep their order on a decline."""
COUPON_SHARE = 0.5
COUPONS_ALONE, HURRIED_SECONDS = {"coupon": 1}, (0.01, 0.8)
"""What the clients do who want nothing but coupons, and how soon again."""


@dataclass
class Shop:
    """What the run began with, and what its clients have been answered since."""

    accounts: list[int]
    prices: dict[int, int]
    """Of each product."""
    offers: dict[int, Offer]
    """Every campaign."""
    sale: int = 0
    sale_product: int = 0
    orders: dict[str, UUID] = field(default_factory=dict)
    """By the call's key: orders of which the client knows."""
    sagas: dict[str, UUID] = field(default_factory=dict)
    """Likewise the sagas that a call was answered to have started."""
    coupons: dict[tuple[int, int], str] = field(default_factory=dict)
    """Codes by account and campaign."""
    sold_out: set[int] = field(default_factory=set)
    """Campaigns by whose shared code an order was refused for that."""
    tickets: set[UUID] = field(default_factory=set)
    entries: set[UUID] = field(default_factory=set)
    """Entries of the sale."""
    contradictions: list[str] = field(default_factory=list)
    """Answers that can't both be true."""
    refusals: dict[str, int] = field(default_factory=dict)


class Client:
    """One customer: calls the web process, and calls again with the same key while there is no answer."""

    def __init__(
        self,
        processes: Processes,
        shop: Shop,
        account_id: int,
        *,
        actions: Mapping[str, int] = ACTIONS,
        pauses: tuple[float, float] = PAUSE_SECONDS,
    ) -> None:
        self.processes, self.shop, self.account_id = processes, shop, account_id
        self._actions, self._pauses = actions, pauses
        self.is_done = False
        self.calls_open: set[str] = set()
        """Calls that were made and not answered yet."""
        self._kept: list[UUID] = []
        """Own orders that are kept if their card is declined."""
        self._has_ordered = False

    def begin(self) -> None:
        """Make one call after the other until `is_done`."""
        if self.is_done:
            return
        [action] = chance.random.choices(list(self._actions), list(self._actions.values()))
        getattr(self, "_" + action.replace(" ", "_"))(str(uuid4()))

    def _next(self) -> None:
        self._later(self.begin)

    def _later(self, run: Callable[[], None]) -> None:
        self.processes.world.submit(
            self.processes.clients, "call", run, after=chance.random.uniform(*self._pauses)
        )

    def _call(
        self,
        name: str,
        work: Callable[[], Any],
        answered: Callable[[Any], None],
        *,
        refused: Callable[[FirstcomeError], None] = lambda error: None,
        goes_on: bool = True,
    ) -> None:
        """Run the call in the web process; without an answer call again, unchanged."""
        outcomes: list[Any] = []

        def answer() -> None:
            try:
                outcomes.append(work())
            except Unavailable:
                self.processes.world.note(f"{name} has no answer")
            except FirstcomeError as error:
                outcomes.append(error)

        self.calls_open.add(name)
        self.processes.call(answer)
        if not outcomes:
            self._later(partial(self._call, name, work, answered, refused=refused, goes_on=goes_on))
            return
        [outcome] = outcomes
        self.calls_open.discard(name)
        if isinstance(outcome, FirstcomeError):
            self.shop.refusals[outcome.code] = self.shop.refusals.get(outcome.code, 0) + 1
            self.processes.world.note(f"{name} refused: {outcome.code}")
            refused(outcome)
        else:
            answered(outcome)
        if goes_on:
            self._next()

    def _keyed(self, key: str) -> KeyedCall:
        return KeyedCall(self.account_id, key_hash(key), "fingerprint", schemas.answered_later)

    def _started(self, key: str, saga_id: UUID) -> None:
        self.shop.sagas[key] = saga_id
        dispatch.enqueue(order_tasks.advance)

    # Calls

    def _buy(self, key: str) -> None:
        self._place(key, chance.random.choice(TOKENS))

    def _order(self, key: str) -> None:
        self._place(key, None)

    def _sale(self, key: str) -> None:
        """Join the sale, or read the entry, and order once it is admitted."""

        def answered(entry: Entry) -> None:
            self.shop.entries.add(entry.id)
            if entry.status == SaleEntry.Status.ADMITTED:
                self._place(key, chance.random.choice([*TOKENS, None]), (Line(self.shop.sale_product, 1),))
            else:
                self._next()

        request = JoinRequest(self.shop.sale, self.account_id)
        self._call("join", partial(entries.JOINER.submit, request), answered, goes_on=False)

    def _basket(self) -> tuple[Line, ...]:
        products = [product for product in self.shop.prices if product != self.shop.sale_product]
        count = min(chance.random.randint(1, 2), len(products))
        return tuple(
            Line(product_id=product, quantity=chance.random.randint(1, 3))
            for product in sorted(chance.random.sample(products, count))
        )

    def _choose_coupon(self) -> tuple[str, int]:
        """The code of an own coupon, or a shared one, with its campaign; or none."""
        own = [(code, id) for (account, id), code in self.shop.coupons.items() if account == self.account_id]
        shared = [(offer.code, id) for id, offer in self.shop.offers.items() if offer.code]
        return chance.random.choice([*own, *shared]) if chance.random.random() < COUPON_SHARE else ("", 0)

    def _place(self, key: str, token: str | None, lines: tuple[Line, ...] = ()) -> None:
        """Order these lines, or else a basket by chance."""
        lines = lines or self._basket()
        code, campaign_id = self._choose_coupon()
        offer = self.shop.offers.get(campaign_id)
        request = OrderRequest(
            account_id=self.account_id,
            lines=lines,
            coupon_code=code,
            points_amount=chance.random.choice([0, 0, 100]),
            token=token,
            keyed=KeyedCall(self.account_id, key_hash(key), "fingerprint", schemas.placed_order_answer),
            by=journal.current_actor(),
            keep_on_decline=token is not None and self._keeps(),
        )

        def answered(placed: Any) -> None:
            if isinstance(placed, Replay):
                assert placed.reference
                order_id = placed.reference
            else:
                order_id = placed.order.id
            self.shop.orders[key] = order_id
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
                self._started(key, placed.started.saga.id)

        def refused(error: FirstcomeError) -> None:
            if error.code != "coupon_not_usable":
                return
            has_coupon = (self.account_id, campaign_id) in self.shop.coupons
            known = {"has_coupon": has_coupon, "has_ordered": self._has_ordered}
            reason = str(error.extra["reason"])
            if offer is None or reason not in offer.reasons(self.account_id, lines, **known):
                self._contradict(f"account {self.account_id} was refused {code} for {reason}, and {known}")
            if reason == "sold_out":
                self.shop.sold_out.add(campaign_id)

        self._call("place", lambda: checkout.place(request), answered, refused=refused)

    def _known_order(self) -> UUID | None:
        return chance.random.choice(list(self.shop.orders.values())) if self.shop.orders else None

    def _keeps(self) -> bool:
        return chance.random.random() < KEEP_SHARE

    def _pay(self, key: str) -> None:
        self._pay_order(key, self._known_order())

    def _pay_again(self, key: str) -> None:
        """Pay an order of one's own with another card, in case that its card was declined."""
        self._pay_order(key, chance.random.choice(self._kept) if self._kept else None)

    def _pay_order(self, key: str, order_id: UUID | None) -> None:
        token, keeps = chance.random.choice(TOKENS), self._keeps()
        if order_id is None:
            self._next()
            return
        call = self._keyed(key)

        def answered(outcome: Any) -> None:
            if not isinstance(outcome, Replay):
                self._started(key, outcome.saga.id)

        self._call(
            "pay",
            lambda: purchase.pay(
                account_id=self.account_id,
                order_id=order_id,
                token=token,
                keyed=call,
                keep_on_decline=keeps,
            ),
            answered,
        )

    def _cancel(self, key: str) -> None:
        order_id = self._known_order()
        if order_id is None:
            self._next()
            return
        self._call(
            "cancel",
            lambda: cancellation.cancel(order_id=order_id, account_id=self.account_id),
            lambda _: None,
        )

    def _refund(self, key: str) -> None:
        order_id, call = self._known_order(), self._keyed(key)
        if order_id is None:
            self._next()
            return

        def answered(outcome: Any) -> None:
            if not isinstance(outcome, Replay):
                self._started(key, outcome.saga_id)

        self._call(
            "refund",
            lambda: refunding.start_refund(
                order_id=order_id, wanted=None, reason="simulated", restock=True, keyed=call
            ),
            answered,
        )

    def _top_up(self, key: str) -> None:
        amount, token, call = chance.random.randint(100, 900), chance.random.choice(TOKENS), self._keyed(key)

        def answered(outcome: Any) -> None:
            if not isinstance(outcome, Replay):
                self._started(key, outcome.saga.id)

        self._call(
            "top up",
            lambda: top_ups.start(account_id=self.account_id, amount=amount, token=token, keyed=call),
            answered,
        )

    def _coupon(self, key: str) -> None:
        campaign_id = chance.random.choice(list(self.shop.offers))
        offer = self.shop.offers[campaign_id]

        def answered(issued: Any) -> None:
            if isinstance(issued, Queued):
                self.shop.tickets.add(issued.ticket.id)
                self._look_at_ticket(issued.ticket.id, campaign_id)
            else:
                self._note_coupon(campaign_id, issued.coupon.code)

        def refused(error: FirstcomeError) -> None:
            if error.code == "not_eligible" and offer.lets_in(self.account_id):
                self._contradict(f"account {self.account_id} is in the list of campaign {campaign_id}")

        work = partial(issuing.issue, campaign_id=campaign_id, user_id=self.account_id)
        self._call("coupon", work, answered, refused=refused)

    def _look_at_ticket(self, ticket_id: UUID, campaign_id: int) -> None:
        """Look at the ticket later, and again until it waits no longer."""

        def answered(queued: Queued) -> None:
            if queued.ticket.coupon:
                self._note_coupon(campaign_id, queued.ticket.coupon.code)
            elif queued.ticket.status == QueueTicket.Status.WAITING:
                self._look_at_ticket(ticket_id, campaign_id)

        read = partial(tickets.READER.submit, ticket_id)
        self._later(partial(self._call, "ticket", read, answered, goes_on=False))

    def _note_coupon(self, campaign_id: int, code: str) -> None:
        known = self.shop.coupons.setdefault((self.account_id, campaign_id), code)
        if known != code:
            self._contradict(f"account {self.account_id} was answered {known} and {code}")
        if not self.shop.offers[campaign_id].lets_in(self.account_id):
            self._contradict(f"account {self.account_id} has {code}, and is not in the list")

    def _contradict(self, what: str) -> None:
        if what:
            self.shop.contradictions.append(what)
