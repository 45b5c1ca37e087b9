"""Orders in any interleaving of actions: after every step all laws hold, and the model agrees.

Hypothesis chooses the acts. What it drives is real: the database with committed transactions, the
simulator's process and its book. The ordinary run takes the same few examples each time;
`INTERLEAVINGS=500` takes so many, chosen anew, and shrinks what fails.
"""

import faulthandler
import os
import sys
from typing import Any

from django.core.management import call_command
from hypothesis import HealthCheck, Phase, settings as bounds, strategies as some
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from foundation.tests.racing import wait_until
from orders.models import Saga
from orders.placement.checkout import OrderRequest
from orders.tests import acting, business, choosing, comparing
from orders.tests.listening import Listener
from orders.tests.model import MOST_GRANTED, MOST_GRANTED_IN_A_DAY, Shop
from orders.tests.things import ASKING, DECLINED, UNKNOWN_FOR_EVER, Order, TopUp
from payments.gateways import calls
from payments.models import WebhookEvent
from payments.tests.own_gateway import empty_book

NOWHERE = "http://127.0.0.1:1"
# These settle later than this test waits.
SLOW = ("tok_slow", "tok_webhook")
# The first order of each example.
PAID = {"buyer": 0, "counts": {0: 1, 2: 1}, "points": 250, "token": "tok_ok"}
PAID |= {"coupon": None, "campaign": None, "is_kept": False}
EXAMPLES = int(os.environ.get("INTERLEAVINGS", "0"))
BOUNDS = bounds(
    max_examples=EXAMPLES or 5,
    stateful_step_count=10,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)


class Interleavings(RuleBasedStateMachine):
    """Two buyers, three operators, three products, one gateway, and all actions on them."""

    def __init__(self, listener, simulator, settings):
        super().__init__()
        self.listener, self.simulator, self.settings = listener, simulator, settings
        self.gateway_url, self.platform_url = settings.GATEWAY_URL, settings.DATA_PLATFORM_URL
        self.shop = listener.shop = Shop()
        self.order_requests: list[OrderRequest] = []

    @initialize(
        is_patient=some.booleans(),
        purchases=some.lists(choosing.purchases, min_size=3, max_size=5),
        at_gateway=choosing.acts("give_back", "dispute"),
        afterwards=choosing.acts("learn", "close_dispute", "refund", "force"),
        by_operators=choosing.operators_acts,
    )
    def open(
        self,
        is_patient: bool,
        purchases: list[dict[str, Any]],
        at_gateway: list[tuple[str, Any]],
        afterwards: list[tuple[str, Any]],
        by_operators: list[tuple[str, Any]],
    ):
        """Start with some orders, whose payments have advanced as far as possible, the first one to its end.

        To that one something happens at the gateway, and operators act: a run of few examples has both.
        `is_patient`: in the end slow cards are waited for; else they are given up.
        """
        self.is_patient = is_patient
        self.increases = business.counting()
        acting.open_shop(self.shop)
        self.buyers, self.operators = list(self.shop.wallets), list(self.shop.granted)
        for percent in (0, 33):
            for account_id in self.buyers:
                acting.issue_coupon(self.shop, account_id, percent=percent)
        for purchase in (PAID, *purchases):
            self._place(purchase)
        for one in self.shop.started:
            acting.drive(self.listener, one)
        paid = self.shop.orders[0]
        if not is_patient:
            self._have_a_refund_stuck(paid)
        self._befall(paid, at_gateway + afterwards)
        self.operate([("grant", (2, 0, 1_300)), *by_operators])

    @rule(purchase=choosing.purchases, acts=choosing.acts("pay", "drive", "sweep"))
    def befall_a_new_order(self, purchase: dict[str, Any], acts: list[tuple[str, Any]]):
        order = self._place(purchase)
        if order:
            self._befall(order, acts)

    @rule(which=choosing.which, acts=choosing.acts("pay", "cancel", "lapse", "sweep"))
    def befall_an_unpaid_order(self, which: int, acts: list[tuple[str, Any]]):
        self._befall(choosing.chosen(self.shop.orders, which, likely=choosing.is_unpaid), acts)

    @rule(which=choosing.which, acts=choosing.acts("drive", "give_up", "decide", "tell", "sweep"))
    def befall_an_order_being_paid(self, which: int, acts: list[tuple[str, Any]]):
        self._befall(choosing.chosen(self.shop.orders, which, likely=choosing.is_being_paid), acts)

    @rule(which=choosing.which, acts=choosing.acts("refund", "drive"))
    def befall_a_paid_order(self, which: int, acts: list[tuple[str, Any]]):
        self._befall(choosing.chosen(self.shop.orders, which, likely=choosing.is_refundable), acts)

    @rule(
        which=choosing.which, acts=choosing.acts("give_back", "dispute", "close_dispute", "learn", "refund")
    )
    def befall_a_charge_at_the_gateway(self, which: int, acts: list[tuple[str, Any]]):
        self._befall(choosing.chosen(self.shop.orders, which, likely=choosing.is_charged), acts)

    @rule(which=choosing.which, acts=choosing.acts("force", "give_back", "decide_approval", "learn"))
    def befall_a_refund_that_is_stuck(self, which: int, acts: list[tuple[str, Any]]):
        order = choosing.chosen(self.shop.orders, which, likely=choosing.is_charged)
        if order:
            self._have_a_refund_stuck(order)
            self._befall(order, acts)

    @rule(acts=choosing.operators_acts)
    def operate(self, acts: list[tuple[str, Any]]):
        for name, parameter in acts:
            getattr(self, f"_{name}")(None, parameter)

    @rule(chore=choosing.chores)
    def keep_shop(self, chore: tuple[str, Any]):
        name, parameter = chore
        getattr(self, f"_{name}")(parameter)

    def _befall(self, order, acts):
        """Perform these actions in turn, and compare everything after each."""
        for name, parameter in acts if order else ():
            getattr(self, f"_{name}")(order, parameter)
            self.everything_is_as_it_must_be()

    def _have_a_refund_stuck(self, order):
        """Its deadline passes while the gateway is away."""
        self._come_and_go((True, False))
        self._refund(order, (None, True))
        self._give_up(order, None)
        self._drive(order, None)
        self._come_and_go((False, False))

    def _place(self, purchase):
        account_id, named = self.buyers[purchase["buyer"]], None
        if purchase["coupon"] is not None:
            own = [one for one in self.shop.coupons if one.account_id == account_id]
            usable = [one for one in own if one.status == "issued"]
            named = choosing.chosen(self.shop.coupons, purchase["coupon"], likely=usable.__contains__)
        if purchase["campaign"] is not None:
            named = self.shop.shared_coupon(self.shop.campaigns[purchase["campaign"]], account_id)
        counts = {self.shop.products[index]: count for index, count in purchase["counts"].items()}
        order = Order(account_id, counts, named, purchase["points"], purchase["token"])
        order.is_kept = purchase["is_kept"]
        order_request = acting.place(self.shop, order)
        if order_request:
            self.order_requests.append(order_request)
        return order if order_request else None

    def _pay(self, order, card):
        token, is_kept = card
        acting.pay(self.shop, order, token, is_kept=is_kept)

    def _decide(self, order, decision):
        if order.payment_id:
            acting.decide(order, decision)

    def _let_action_end(self, order, _):
        # What its owner refused in time is found at its end; by a gateway that is away, it is given up.
        if order.payment_id and not (order.is_kept and order.decision):
            acting.let_action_end(order)

    def _cancel(self, order, _):
        acting.cancel(self.shop, order)

    def _lapse(self, order, _):
        acting.lapse(order)

    def _drive(self, order, points):
        """Advance its sagas as far as possible, or until the executor crashes."""
        for one in choosing.sagas_of(order):
            acting.drive(self.listener, one, points=points)

    def _give_up(self, order, _):
        """Whether a refused card or the deadline ends a payment decides whether its order is kept."""
        for one in choosing.sagas_of(order):
            if not (isinstance(one, Order) and one.is_kept and one.token in (*DECLINED, ASKING)):
                acting.give_up(one)

    def _force(self, order, wanted):
        """Whether a refused card or an operator ends a payment decides whether its order is kept."""
        operator, act = wanted
        for one in choosing.sagas_of(order):
            if not (isinstance(one, Order) and one.is_kept and one.token in (*DECLINED, ASKING)):
                acting.force(self.shop, one, self.operators[operator], act)

    def _give_back(self, order, amount):
        if choosing.is_charged(order):
            with comparing.gateway_at(self.gateway_url):
                acting.give_back(self.shop, self.simulator, order, amount)

    def _dispute(self, order, amount):
        if choosing.is_charged(order):
            with comparing.gateway_at(self.gateway_url):
                acting.dispute(self.simulator, order, amount)

    def _close_dispute(self, order, end):
        acting.close_dispute(self.simulator, order, end)

    def _learn(self, order, way):
        """Where the gateway answers, and no refund of the shop's is under way, all is booked then.

        A reconciliation need not find a dispute that was won before the shop knew of it: it takes nothing.
        """
        if choosing.is_charged(order):
            with comparing.gateway_at(self.gateway_url):
                acting.learn(self.shop, order, way)
            comparing.adopt_bookings(self.shop)
            is_under_way = any(not one.is_settled for one in order.refunds)
            assert is_under_way or order.is_confirmed or not order.has_news, f"{order} after the {way}"
            if way != "reconciliation" and not (is_under_way or order.is_confirmed):
                assert all(one.booked == one.status for one in order.disputes), f"{order} after the {way}"

    def _refund(self, order, wanted):
        """Refund units of one of its lines, or all that is left."""
        some_of_it, restock = wanted
        counts = some_of_it and {choosing.chosen(list(order.counts), some_of_it[0]): some_of_it[1]}
        acting.refund(self.shop, order, counts, restock=restock)

    def _tell(self, order, event):
        number, type = event
        if order.payment_id:
            acting.receive_event(order, number=number, type=type)

    def _sweep(self, _, is_later):
        acting.sweep(self.shop, is_later=is_later)

    def _issue_coupon(self, terms):
        buyer, percent = terms
        acting.issue_coupon(self.shop, self.buyers[buyer], percent=percent)

    def _void_coupon(self, which):
        acting.void_coupon(self.shop, choosing.chosen(self.shop.coupons, which))

    def _adjust(self, change):
        product, delta = change
        acting.adjust(self.shop, self.shop.products[product], delta)

    def _place_again(self, which):
        if self.order_requests:
            acting.place_again(choosing.chosen(self.order_requests, which))

    def _top_up(self, wanted):
        buyer, amount, token = wanted
        acting.top_up(self.listener, TopUp(self.buyers[buyer], amount, token))

    def _drive_any(self, which):
        if self.shop.started:
            acting.drive(
                self.listener, choosing.chosen(self.shop.started, which, likely=choosing.is_under_way)
            )

    def _handle(self, which):
        """Handle a webhook, possibly again."""
        events = WebhookEvent.objects.order_by("id")
        if events:
            acting.handle(choosing.chosen(list(events), which))

    def _give_back_top_up(self, wanted):
        """The shop learns of it at once: when it does decides how many of the points are left."""
        which, amount, way = wanted
        paid = [one for one in self.shop.top_ups if one.status == "succeeded"]
        if paid:
            with comparing.gateway_at(self.gateway_url):
                acting.give_back(self.shop, self.simulator, choosing.chosen(paid, which), amount)
                acting.learn(self.shop, choosing.chosen(paid, which), way)

    def _grant(self, _, wanted):
        operator, buyer, amount = wanted
        acting.grant(self.shop, self.operators[operator], self.buyers[buyer], amount)

    def _decide_approval(self, _, wanted):
        which, operator, act = wanted
        approval = choosing.chosen(self.shop.approvals, which, likely=lambda one: not one.is_decided)
        if approval:
            acting.decide_approval(self.shop, approval, self.operators[operator], act)

    def _come_and_go(self, are_away):
        gateway, platform = are_away
        self.settings.GATEWAY_URL = NOWHERE if gateway else self.gateway_url
        self.settings.DATA_PLATFORM_URL = NOWHERE if platform else self.platform_url

    @invariant()
    def everything_is_as_it_must_be(self):
        with comparing.gateway_at(self.gateway_url):
            comparing.assert_sound(self.shop)

    def teardown(self):
        self.settings.GATEWAY_URL, self.settings.DATA_PLATFORM_URL = self.gateway_url, self.platform_url
        calls.forget()
        if sys.exc_info()[0] is None:
            self._come_to_an_end()

    def _come_to_an_end(self):
        """Advance everything to its end: nothing is held, and the books agree to the last unit."""
        for one in self.shop.charged:
            if one.token in UNKNOWN_FOR_EVER or (one.token in SLOW and not self.is_patient):
                acting.give_up(one)
        for order in self.shop.orders:
            acting.lapse(order)
            for _ in order.disputes:
                acting.close_dispute(self.simulator, order, "won" if self.is_patient else "lost")
        wait_until(self._nothing_is_left_after_a_sweep, seconds=20)
        for order in self.shop.orders:
            if order.has_news:
                self._learn(order, "event" if self.is_patient else "reconciliation")
        self.everything_is_as_it_must_be()
        comparing.assert_over(self.shop)
        assert business.counted(self.increases) == business.in_rows()

    def _nothing_is_left_after_a_sweep(self):
        for one in self.shop.charged:
            # Also of who is asked only now: the gateway was away when their payment began.
            acting.let_action_end(one)
        for refund in self.shop.refunds:
            if not refund.is_settled and refund.order.given_back:
                # As much was given back by hand: whether it is to be repeated is an operator's to say.
                acting.force(self.shop, refund, self.operators[-1], "retry")
        acting.sweep(self.shop, is_later=True)
        unhandled = WebhookEvent.objects.filter(handled_at=None)
        # The sweep's last saga may have kept its order, which the next one expires.
        is_open = any(order.is_open for order in self.shop.orders)
        return not (is_open or Saga.objects.filter(ended_at=None).exists() or unhandled.exists())


def test_any_interleaving_matches_the_model(
    transactional_db, gateway_process, redis_server, monkeypatch, settings
):
    listener = Listener()
    listener.stand_by(monkeypatch)
    settings.GATEWAY_TIMEOUT_SECONDS = 0.2
    settings.GRANT_LIMIT_AMOUNT, settings.GRANT_DAY_AMOUNT = MOST_GRANTED, MOST_GRANTED_IN_A_DAY

    def start():
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
        redis_server.flushdb()
        empty_book(gateway_process[1])
        return Interleavings(listener, gateway_process[0], settings)

    if EXAMPLES:
        # As many as requested, without a deadline.
        faulthandler.cancel_dump_traceback_later()
    run_state_machine_as_test(start, settings=BOUNDS)
    assert "settle do" in listener.passed
