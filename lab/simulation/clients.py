"""Clients and operators, each of whom repeats a call until it is answered, and what every run begins with, in
tables that were empty. Which refusals and discounts are right is for `orders/tests/test_state_machine.py`."""

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction

from accounts.operating import approvals
from coupons import campaigns, issuing
from coupons.allocation.outcomes import Queued
from coupons.codes import eligible_accounts, pool
from coupons.models import QueueTicket
from coupons.queue import tickets
from foundation import clock, journal
from foundation.approval_models import Approval
from foundation.errors import FirstcomeError
from foundation.idempotency.recorded_answers import Answer, KeyedCall, Replay, key_hash
from foundation.operations import dispatch
from inventory import adjustments, products
from inventory.availability import Line
from lab.simulation import shop
from lab.simulation.outside import ASKING, DECLINED
from lab.simulation.processes import Processes
from lab.simulation.shop import CAMPAIGNS, COUPONS, PRICES, SALE_PRODUCT, Habits
from lab.simulation.world import SHARES, chance
from orders import cancellation, schemas, tasks
from orders.models import Order, Saga
from orders.payment import purchase, refunding, top_ups
from orders.placement import checkout
from orders.placement.decisions import OrderRequest
from orders.saga import operator_actions
from payments import ledger, points_grants
from sales import terms
from sales.models import SaleEntry
from sales.waiting_room import entries, joining
from scripts.stack import Lines

ACCOUNTS = range(1, 11)
OPERATORS = (11, 12)
LISTED = range(1, 11, 2)
SALE = 1
Call = Callable[[], Any]
# Calls of the web process, in sequence, each of which gives what it returns or raises; None is a pause.
Story = Generator[Call | None, Any, None]

Grants = dict[str, tuple[int, int]]  # Account and amount, by the unique reason


def open_shop() -> None:
    """Accounts with points, products, a sale that opens soon and admits few in a minute, and campaigns."""
    for id in ACCOUNTS:
        User.objects.create(username=f"account-{id}")
    with transaction.atomic():
        ledger.bulk_open_wallets(list(ACCOUNTS), shop.POINTS)
    for id, price in PRICES.items():
        products.create(sku=f"sku-{id}", name=f"Product {id}", price=price)
        adjustments.adjust(product_id=id, delta=shop.STOCK, reason="received")
    opens_at = clock.now() + timedelta(seconds=5)
    terms.create(name="Simulated", opens_at=opens_at, closes_at=clock.now() + timedelta(days=30), **shop.SALE)
    for id, given in CAMPAIGNS.items():
        campaigns.create(name="Simulated", quantity=COUPONS, **{**shop.USUAL_DISCOUNT, **given})
        if given["strategy"] == "code_pool":
            pool.add(campaign_id=id, codes=[f"POOL-{id}-{number}" for number in range(COUPONS)])
        if "eligible" in given:
            eligible_accounts.add(campaign_id=id, account_ids=list(LISTED))


@dataclass
class Answers:
    orders: list[UUID] = field(default_factory=list)
    sagas: list[UUID] = field(default_factory=list)  # which a call has started
    coupons: dict[tuple[int, int], str] = field(default_factory=dict)  # codes by account and campaign
    tickets: set[UUID] = field(default_factory=set)
    entries: set[UUID] = field(default_factory=set)
    granted: Grants = field(default_factory=dict)  # account and amount by unique reason
    asked: Grants = field(default_factory=dict)  # likewise, for an approval
    decided: dict[int, str] = field(default_factory=dict)  # approvals
    calls_open: set[Call] = field(default_factory=set)  # made, and without an answer yet
    contradictions: Lines = field(default_factory=list)  # answers that can't be true


class Client:
    """One customer: calls the web process, and calls again with the same key while there is no answer."""

    def __init__(self, processes: Processes, answers: Answers, account_id: int, habits: Habits) -> None:
        self.processes = processes
        self.answers = answers
        self.account_id = account_id
        self.by = journal.ActorContext(journal.Actor.STAFF, account_id, f"operator {account_id}")
        self.habits = habits
        self.kept: list[UUID] = []  # own orders that are kept if their card is declined

    def live(self) -> Story:
        """Do one action after the other until the faults end."""
        actions = self.habits.actions
        while chance.is_faulty:
            [action] = chance.choices([*actions], [*actions.values()])
            with suppress(FirstcomeError):
                yield from getattr(self, action)(str(uuid4()))
            yield None

    def go_on(self, story: Story, call: Call | None = None) -> None:
        """Make the story's calls up to its next pause; one that has no answer is made again after a pause."""
        with suppress(StopIteration, FirstcomeError):
            call = call or next(story)
            while call:
                self.answers.calls_open.add(call)
                outcomes = self.processes.call(call)
                if not outcomes:
                    break
                self.answers.calls_open.discard(call)
                is_refused = isinstance(outcomes[0], FirstcomeError)
                call = story.throw(outcomes[0]) if is_refused else story.send(outcomes[0])
            self.processes.happen("call", partial(self.go_on, story, call), *self.habits.pauses)

    def _expect(self, holds: bool, what: str) -> None:
        if not holds:
            self.answers.contradictions.append(f"account {self.account_id}: {what}")

    def _keyed(self, key: str, answer: Callable[[Any], Any] = schemas.answered_later) -> KeyedCall:
        return KeyedCall(self.account_id, key_hash(key), "fingerprint", answer)

    def _start(self, key: str, work: Callable[..., Any], **named: Any) -> Story:
        outcome = yield partial(work, keyed=self._keyed(key), **named)
        if not isinstance(outcome, Replay):
            self.answers.sagas.append(getattr(outcome, "saga_id", None) or outcome.saga.id)
            dispatch.enqueue(tasks.advance)

    # Actions

    def order(self, key: str) -> Story:
        products = [id for id in PRICES if id != SALE_PRODUCT]
        lines = []
        for id in sorted(chance.sample(products, chance.randint(1, 2))):
            lines.append(Line(product_id=id, quantity=chance.randint(1, 3)))
        return self._place(key, tuple(lines))

    def sale(self, key: str) -> Story:
        """Join the sale, or read the entry, and order once it is admitted."""
        entry = yield partial(joining.JOINER.submit, entries.JoinRequest(SALE, self.account_id))
        self.answers.entries.add(entry.id)
        if entry.status == SaleEntry.Status.ADMITTED:
            yield from self._place(key, (Line(SALE_PRODUCT, 1),))

    def pay(self, key: str) -> Story:
        """Pay any order, or one of one's own with another card, in case that its card was declined."""
        orders = chance.choice([self.answers.orders, self.kept])
        if orders:
            yield from self._start(
                key,
                purchase.pay,
                account_id=self.account_id,
                order_id=chance.choice(orders),
                token=chance.choice(shop.CARDS),
                keep_on_decline=chance.random() < SHARES.kept_orders,
            )

    def cancel(self, key: str) -> Story:
        orders = self.answers.orders
        if orders:
            yield partial(cancellation.cancel, order_id=chance.choice(orders), account_id=self.account_id)

    def refund(self, key: str) -> Story:
        orders = self.answers.orders
        if orders:
            yield from self._start(
                key,
                refunding.start_refund,
                order_id=chance.choice(orders),
                wanted=None,
                reason="back",
                restock=True,
            )

    def top_up(self, key: str) -> Story:
        return self._start(
            key,
            top_ups.start,
            account_id=self.account_id,
            amount=chance.randint(100, 900),
            token=chance.choice(shop.CARDS),
        )

    def coupon(self, key: str) -> Story:
        campaign_id = chance.choice(list(CAMPAIGNS))
        issued = yield partial(issuing.issue, campaign_id=campaign_id, user_id=self.account_id)
        if isinstance(issued, Queued):
            self.answers.tickets.add(issued.ticket.id)
            self.go_on(self._watch(issued.ticket.id, campaign_id))
        else:
            self._note_coupon(campaign_id, issued.coupon.code)

    def _watch(self, ticket_id: UUID, campaign_id: int) -> Story:
        """Look at the ticket later, beside the actions, and again until it waits no longer."""
        ticket: Any = None
        while ticket is None or ticket.status == QueueTicket.Status.WAITING:
            yield None
            ticket = (yield partial(tickets.READER.submit, ticket_id)).ticket
        if ticket.coupon:
            self._note_coupon(campaign_id, ticket.coupon.code)

    def _note_coupon(self, campaign_id: int, code: str) -> None:
        known = self.answers.coupons.setdefault((self.account_id, campaign_id), code)
        self._expect(known == code, f"answered {known} and {code}")

    def _place(self, key: str, lines: tuple[Line, ...]) -> Story:
        """Order these lines, perhaps with a card, an own or a shared coupon."""
        token = chance.choice([*shop.CARDS, None, None])
        codes = [(code, id) for (owner, id), code in self.answers.coupons.items() if owner == self.account_id]
        for id, one in CAMPAIGNS.items():
            if "shared_code" in one:
                codes.append((one["shared_code"], id))
        code = ""
        campaign_id = 0
        if chance.random() < SHARES.coupons:
            code, campaign_id = chance.choice(codes)
        points_amount = chance.choice([0, 0, 100])
        keyed = self._keyed(key, schemas.placed_order_answer)
        keep_on_decline = token is not None and chance.random() < SHARES.kept_orders
        request = OrderRequest(
            account_id=self.account_id,
            lines=lines,
            coupon_code=code,
            points_amount=points_amount,
            token=token,
            keyed=keyed,
            by=journal.current_actor(),
            keep_on_decline=keep_on_decline,
        )
        try:
            placed = yield partial(checkout.place, request)
        except FirstcomeError as error:
            self._expect(error.code != "admission_required", "admitted to the sale, and refused")
            return
        order_id: Any = placed.reference if isinstance(placed, Replay) else placed.order.id
        self.answers.orders.append(order_id)
        if campaign_id and (order := Order.objects.filter(id=order_id).first()):
            self._note_coupon(campaign_id, order.coupon_code)
        if request.keep_on_decline and token in (DECLINED, ASKING):
            self.kept.append(order_id)
        if not isinstance(placed, Replay) and placed.started:
            self.answers.sagas.append(placed.started.saga.id)
            dispatch.enqueue(tasks.advance)


class Operator(Client):
    """Forces sagas, grants points, and decides what another operator asked for; who may do what is for the
    tests of these."""

    def _acting(self, work: Callable[..., Any], **named: Any) -> Any:
        with journal.acting(self.by):
            return work(**named)

    def grant(self, key: str) -> Story:
        """Grant points, perhaps so many that they have to be asked for."""
        limit = settings.GRANT_LIMIT_AMOUNT
        user_id = chance.choice([*ACCOUNTS, *OPERATORS])
        bounds = (1, limit)
        if chance.random() < SHARES.large_grants:
            bounds = (limit + 1, 10 * limit)
        amount = chance.randint(*bounds)
        keyed = self._keyed(key, lambda _: Answer(200, b"{}"))
        wanted = {"user_id": user_id, "amount": amount, "reason": key, "keyed": keyed}
        try:
            yield partial(self._acting, points_grants.grant, **wanted)
            self.answers.granted[key] = user_id, amount
        except FirstcomeError as error:
            if error.code == points_grants.APPROVAL_REQUIRED:
                self.answers.asked[key] = user_id, amount
                yield partial(self._acting, points_grants.ask_to_grant, **wanted)

    def force(self, key: str) -> Story:
        """Retry, complete or compensate a saga that has not ended, a stuck one if there is any."""
        unfinished = Saga.objects.filter(ended_at=None).order_by("id").values_list("id", flat=True)
        ids = list(unfinished.filter(state=Saga.State.STUCK)) or list(unfinished[:3])
        if ids:
            of: Any = {"saga_id": chance.choice(ids), "reason": key, "by": self.by}
            act = chance.choice(["retry", "force_complete", "force_compensate"])
            if act == "force_complete" and chance.random() < SHARES.invented_references:
                of["reference"] = "ch_invented"
            yield partial(getattr(operator_actions, act), **of)
            dispatch.enqueue(tasks.advance)

    def decide(self, key: str) -> Story:
        """Approve or refuse something that is asked for, one's own and what is decided among it."""
        rows = list(Approval.objects.order_by("-id")[:4])
        if rows:
            id = chance.choice(rows).pk
            act: Any = chance.choice([approvals.approve, approvals.approve, approvals.refuse])
            status = (yield partial(self._acting, act, approval_id=id, reason=key)).status
            is_so = self.answers.decided.setdefault(id, status) == status
            self._expect(is_so, f"approval {id} is {status}, and was {self.answers.decided[id]}")
