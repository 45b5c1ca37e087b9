"""Clients of the web process, who buy, pay, cancel and refund: each repeats a call until it is answered."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from coupons.issuing import issuing
from inventory.reservations import Line
from orders import cancellation, schemas
from orders import tasks as order_tasks
from orders.payment import purchase, refunding, top_ups
from orders.placement import checkout
from orders.placement.decisions import OrderRequest
from scripts.simulation.determinism import chance
from scripts.simulation.outside import DECLINED
from scripts.simulation.processes import Processes
from shop.errors import FirstcomeError, Unavailable
from shop.events import journal
from shop.idempotency.recorded_answers import KeyedCall, Replay, key_hash
from shop.operations import dispatch

TOKENS = ("tok_ok", "tok_ok", "tok_ok", DECLINED)
PAUSE_SECONDS = (0.05, 3.0)
ACTIONS = {"buy": 6, "order": 2, "pay": 2, "cancel": 1, "refund": 2, "top up": 1, "coupon": 1}


@dataclass
class Shop:
    """What the run began with, and what its clients have been answered since."""

    accounts: list[int]
    products: list[int]
    campaigns: list[int]
    orders: dict[str, UUID] = field(default_factory=dict)
    """By the call's key: orders of which the client knows."""
    sagas: dict[str, UUID] = field(default_factory=dict)
    """Likewise the sagas that a call was answered to have started."""
    coupons: dict[tuple[int, int], str] = field(default_factory=dict)
    refusals: dict[str, int] = field(default_factory=dict)


class Client:
    """One customer: calls the web process, and calls again with the same key while there is no answer."""

    def __init__(self, processes: Processes, shop: Shop, account_id: int) -> None:
        self.processes, self.shop, self.account_id = processes, shop, account_id
        self.is_done = False

    def begin(self) -> None:
        """Make one call after the other until `is_done`."""
        if self.is_done:
            return
        [action] = chance.random.choices(list(ACTIONS), list(ACTIONS.values()))
        getattr(self, "_" + action.replace(" ", "_"))(str(uuid4()))

    def _next(self) -> None:
        self._later(self.begin)

    def _later(self, run: Callable[[], None]) -> None:
        self.processes.world.submit(
            self.processes.clients, "call", run, after=chance.random.uniform(*PAUSE_SECONDS)
        )

    def _call(self, name: str, work: Callable[[], Any], answered: Callable[[Any], None]) -> None:
        """Run the call in the web process; without an answer call again, unchanged."""
        outcomes: list[Any] = []

        def answer() -> None:
            try:
                outcomes.append(work())
            except Unavailable:
                self.processes.world.note(f"{name} has no answer")
            except FirstcomeError as error:
                outcomes.append(error)

        self.processes.call(answer)
        if not outcomes:
            self._later(partial(self._call, name, work, answered))
            return
        [outcome] = outcomes
        if isinstance(outcome, FirstcomeError):
            self.shop.refusals[outcome.code] = self.shop.refusals.get(outcome.code, 0) + 1
            self.processes.world.note(f"{name} refused: {outcome.code}")
        else:
            answered(outcome)
        self._next()

    def _keyed(self, key: str) -> KeyedCall:
        return KeyedCall(self.account_id, key_hash(key), "fingerprint", schemas.answered_later)

    def _started(self, key: str, saga_id: UUID) -> None:
        self.shop.sagas[key] = saga_id
        dispatch.enqueue(order_tasks.advance, str(saga_id))

    # Calls

    def _buy(self, key: str) -> None:
        self._place(key, chance.random.choice(TOKENS))

    def _order(self, key: str) -> None:
        self._place(key, None)

    def _place(self, key: str, token: str | None) -> None:
        count = min(chance.random.randint(1, 2), len(self.shop.products))
        lines = tuple(
            Line(product_id=product, quantity=chance.random.randint(1, 3))
            for product in sorted(chance.random.sample(self.shop.products, count))
        )
        own = [code for (account, _), code in self.shop.coupons.items() if account == self.account_id]
        request = OrderRequest(
            account_id=self.account_id,
            lines=lines,
            coupon_code=chance.random.choice([*own, ""]) if own else "",
            points_amount=chance.random.choice([0, 0, 100]),
            token=token,
            keyed=KeyedCall(self.account_id, key_hash(key), "fingerprint", schemas.placed_order_answer),
            by=journal.current_actor(),
        )

        def answered(placed: Any) -> None:
            if isinstance(placed, Replay):
                assert placed.reference
                self.shop.orders[key] = placed.reference
                return
            self.shop.orders[key] = placed.order.id
            if placed.started:
                self._started(key, placed.started.saga.id)

        self._call("place", lambda: checkout.place(request), answered)

    def _known_order(self) -> UUID | None:
        return chance.random.choice(list(self.shop.orders.values())) if self.shop.orders else None

    def _pay(self, key: str) -> None:
        order_id, token = self._known_order(), chance.random.choice(TOKENS)
        if order_id is None:
            self._next()
            return
        call = self._keyed(key)

        def answered(outcome: Any) -> None:
            if not isinstance(outcome, Replay):
                self._started(key, outcome.started.saga.id)

        self._call(
            "pay",
            lambda: purchase.pay(account_id=self.account_id, order_id=order_id, token=token, keyed=call),
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
                self._started(key, outcome.saga_id)

        self._call(
            "top up",
            lambda: top_ups.start(account_id=self.account_id, amount=amount, token=token, keyed=call),
            answered,
        )

    def _coupon(self, key: str) -> None:
        campaign_id = chance.random.choice(self.shop.campaigns)

        def answered(issued: Any) -> None:
            self.shop.coupons[self.account_id, campaign_id] = issued.coupon.code

        self._call(
            "coupon", lambda: issuing.issue(campaign_id=campaign_id, user_id=self.account_id), answered
        )
