"""Orders in any interleaving of what may befall them: after every step all laws hold, and the model agrees.

Hypothesis chooses the acts. What it drives is real: the database with committed transactions, the
simulator's process and its book. The ordinary run takes the same few examples each time;
`INTERLEAVINGS=500` takes so many, chosen anew, and shrinks what fails.
"""

import faulthandler
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
from django.core.management import call_command
from hypothesis import HealthCheck, Phase
from hypothesis import settings as bounds
from hypothesis import strategies as some
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from orders import gateway_events
from orders.checkout import Wish
from orders.models import Saga
from orders.tests import acting, comparing
from orders.tests.listening import Listener
from orders.tests.model import Shop
from orders.tests.things import UNKNOWN_FOR_EVER, Coupon, Order, Product, Subject, TopUp
from payments.gateways import breaking
from payments.models import WebhookEvent
from payments.tests.own_gateway import empty_book
from scripts.tests.simulator import Simulator
from shop.tests.racing import wait_until

T = TypeVar("T")
NOWHERE = "http://127.0.0.1:1"
CARDS = (
    *("tok_ok",) * 4,
    *("tok_declined", "tok_insufficient_funds", "tok_flaky", "tok_error", "tok_refund_fails"),
    *("tok_timeout_charged", "tok_timeout_lost", "tok_slow", "tok_webhook"),
)
# They say what became of them later than anybody waits here.
SLOW = ("tok_slow", "tok_webhook")
EXAMPLES = int(os.environ.get("INTERLEAVINGS", "0"))
BOUNDS = bounds(
    max_examples=EXAMPLES or 12,
    stateful_step_count=25,
    deadline=None,
    derandomize=not EXAMPLES,
    database=None,
    phases=[Phase.generate, Phase.shrink] if EXAMPLES else [Phase.generate],
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)

which = some.integers(0, 99)
maybe = some.none() | which
buyers = some.integers(0, 1)
counts = some.dictionaries(some.integers(0, 2), some.integers(1, 2), min_size=1, max_size=2)
points = some.sampled_from([0, 0, 1, 250, 333, 833])
cards = some.sampled_from(CARDS)
tokens = some.none() | some.just("tok_ok") | cards
purchases = some.fixed_dictionaries(
    {"buyer": buyers, "counts": counts, "points": points, "coupon": maybe, "token": tokens}
)


def is_unpaid(order: Order) -> bool:
    return order.status == "awaiting_payment"


def is_refundable(order: Order) -> bool:
    return order.status in ("paid", "refunding")


def is_under_way(subject: Subject) -> bool:
    return not subject.is_over


def no_sooner(has: str) -> Any:
    """A rule that waits until the shop has some of these."""
    return precondition(lambda machine: bool(getattr(machine.shop, has)))


def chosen(items: Sequence[T], which: int, *, likely: Callable[[T], bool] = bool) -> T:
    """One of them; the smaller `which` is, the newer. Three times of four a likely one, if there is one."""
    those = [one for one in items if likely(one)] if which % 4 else []
    return (those or items)[-1 - which // 4 % len(those or items)]


class Interleavings(RuleBasedStateMachine):
    """Two buyers, three products, one gateway, and everything that may befall them."""

    def __init__(self, listener: Listener, settings: Any) -> None:
        super().__init__()
        self.listener, self.settings = listener, settings
        self.gateway_url, self.platform_url = settings.GATEWAY_URL, settings.DATA_PLATFORM_URL
        self.shop = listener.shop = Shop()
        self.wishes: list[Wish] = []

    @initialize(is_patient=some.booleans(), purchases=some.lists(purchases, min_size=4, max_size=6))
    def open(self, is_patient: bool, purchases: list[dict[str, Any]]) -> None:
        """It has been open for a while: some have bought, and every other order has gone as far as it goes.

        `is_patient`: in the end slow cards are waited for; else they are given up.
        """
        self.is_patient = is_patient
        acting.open_shop(self.shop)
        self.buyers = list(self.shop.wallets)
        for percent in (0, 33):
            for account_id in self.buyers:
                acting.issue_coupon(self.shop, account_id, percent=percent)
        for purchase in purchases:
            self._place(**purchase)
        for one in self.shop.begun[::2]:
            acting.drive(self.listener, one)

    @rule(buyer=buyers, percent=some.sampled_from([0, 33, 100]))
    def issue_coupon(self, buyer: int, percent: int) -> None:
        acting.issue_coupon(self.shop, self.buyers[buyer], percent=percent)

    @no_sooner("coupons")
    @rule(which=which)
    def void_coupon(self, which: int) -> None:
        acting.void_coupon(self.shop, chosen(self.shop.coupons, which))

    @rule(product=some.integers(0, 2), delta=some.sampled_from([-4, -1, 1, 3]))
    def adjust_stock(self, product: int, delta: int) -> None:
        acting.adjust(self.shop, self.shop.products[product], delta)

    @rule(purchase=purchases)
    def place(self, purchase: dict[str, Any]) -> None:
        self._place(**purchase)

    def _place(
        self, *, buyer: int, counts: dict[int, int], points: int, coupon: int | None, token: str | None
    ) -> None:
        account_id = self.buyers[buyer]

        def is_usable(one: Coupon) -> bool:
            return one.account_id == account_id and one.status == "issued"

        order = Order(
            account_id=account_id,
            counts=self._counts(counts),
            coupon=chosen(self.shop.coupons, coupon, likely=is_usable) if coupon is not None else None,
            points_amount=points,
            token=token,
        )
        wish = acting.place(self.shop, order)
        if wish:
            self.wishes.append(wish)

    def _counts(self, counts: dict[int, int]) -> dict[Product, int]:
        return {self.shop.products[index]: count for index, count in counts.items()}

    @precondition(lambda self: self.wishes)
    @rule(which=which)
    def place_again(self, which: int) -> None:
        acting.place_again(chosen(self.wishes, which))

    @no_sooner("orders")
    @rule(which=which, token=cards)
    def pay(self, which: int, token: str) -> None:
        acting.pay(self.shop, chosen(self.shop.orders, which, likely=is_unpaid), token)

    @no_sooner("orders")
    @rule(which=which)
    def cancel(self, which: int) -> None:
        acting.cancel(self.shop, chosen(self.shop.orders, which, likely=is_unpaid))

    @no_sooner("orders")
    @rule(which=which)
    def lapse(self, which: int) -> None:
        acting.lapse(chosen(self.shop.orders, which, likely=is_unpaid))

    @no_sooner("orders")
    @rule(which=which, counts=counts, restock=some.booleans())
    def refund_some(self, which: int, counts: dict[int, int], restock: bool) -> None:
        order = chosen(self.shop.orders, which, likely=is_refundable)
        acting.refund(self.shop, order, self._counts(counts), restock=restock)

    @no_sooner("orders")
    @rule(which=which, restock=some.booleans())
    def refund_all_that_is_left(self, which: int, restock: bool) -> None:
        acting.refund(self.shop, chosen(self.shop.orders, which, likely=is_refundable), None, restock=restock)

    @rule(buyer=buyers, amount=some.sampled_from([1, 700]), token=cards)
    def top_up(self, buyer: int, amount: int, token: str) -> None:
        acting.top_up(self.listener, TopUp(self.buyers[buyer], amount, token))

    @no_sooner("begun")
    @rule(which=which)
    def drive(self, which: int) -> None:
        acting.drive(self.listener, chosen(self.shop.begun, which, likely=is_under_way))

    @no_sooner("begun")
    @rule(which=which, points=some.integers(0, 12))
    def drive_and_die(self, which: int, points: int) -> None:
        acting.drive(self.listener, chosen(self.shop.begun, which, likely=is_under_way), points=points)

    @rule(is_later=some.booleans())
    def sweep(self, is_later: bool) -> None:
        acting.sweep(self.shop, is_later=is_later)

    @no_sooner("begun")
    @rule(which=which)
    def give_up(self, which: int) -> None:
        acting.give_up(chosen(self.shop.begun, which, likely=is_under_way))

    @no_sooner("begun")
    @rule(which=which)
    def retry(self, which: int) -> None:
        acting.retry(chosen(self.shop.begun, which, likely=is_under_way))

    @no_sooner("charged")
    @rule(which=which, number=some.integers(0, 4), type=some.sampled_from(gateway_events.ASKED_ABOUT))
    def tell(self, which: int, number: int, type: str) -> None:
        acting.tell(chosen(self.shop.charged, which, likely=is_under_way), number=number, type=type)

    @precondition(lambda self: WebhookEvent.objects.exists())
    @rule(which=which)
    def handle(self, which: int) -> None:
        acting.handle(chosen(list(WebhookEvent.objects.order_by("id")), which))

    @rule(is_gateway_away=some.booleans(), is_platform_away=some.booleans())
    def others_come_and_go(self, is_gateway_away: bool, is_platform_away: bool) -> None:
        self.settings.GATEWAY_URL = NOWHERE if is_gateway_away else self.gateway_url
        self.settings.DATA_PLATFORM_URL = NOWHERE if is_platform_away else self.platform_url

    @invariant()
    def everything_is_as_it_must_be(self) -> None:
        with comparing.gateway_at(self.gateway_url):
            comparing.assert_sound(self.shop)

    def teardown(self) -> None:
        self.settings.GATEWAY_URL, self.settings.DATA_PLATFORM_URL = self.gateway_url, self.platform_url
        breaking.forget()
        if sys.exc_info()[0] is None:
            self._come_to_an_end()

    def _come_to_an_end(self) -> None:
        """All is driven to its end: nothing is held any more, and the books agree to the last unit."""
        for one in self.shop.charged:
            if one.token in UNKNOWN_FOR_EVER or (one.token in SLOW and not self.is_patient):
                acting.give_up(one)
        for order in self.shop.orders:
            acting.lapse(order)
        wait_until(self._nothing_is_left_after_a_sweep, seconds=20)
        comparing.assert_sound(self.shop)
        comparing.assert_over(self.shop)

    def _nothing_is_left_after_a_sweep(self) -> bool:
        acting.sweep(self.shop, is_later=True)
        unhandled = WebhookEvent.objects.filter(handled_at=None)
        return not (Saga.objects.filter(ended_at=None).exists() or unhandled.exists())


@pytest.mark.django_db(transaction=True)
def test_any_interleaving_ends_in_one_truth(
    gateway_process: tuple[Simulator, Path],
    redis_server: redis.Redis,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
) -> None:
    listener = Listener()
    listener.stand_by(monkeypatch)
    settings.GATEWAY_TIMEOUT_SECONDS = 0.2

    def start() -> Interleavings:
        call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
        redis_server.flushdb()
        empty_book(gateway_process[1])
        return Interleavings(listener, settings)

    if EXAMPLES:
        # As many as asked for, however long that takes.
        faulthandler.cancel_dump_traceback_later()
    run_state_machine_as_test(start, settings=BOUNDS)
    assert "settle do committed" in listener.heard
