"""Events of orders: recorded in the journal with their actors, and published in order."""

from collections import defaultdict
from functools import partial
from typing import Any

import pytest

from accounts.tests.clients import client_of
from events.tests.delivering import deliver_due
from foundation.models import JournalLine
from foundation.tests.factories import AccountFactory, staff_member
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import holding
from foundation.tests.waiting import in_background, waiting_at
from orders.models import Order
from orders.placement.strategies import group_commit
from orders.tests import buying
from orders.tests.buying import order_of
from payments.models import LedgerAccount
from scripts.tests.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)


def published(platform: Simulator, order) -> list[tuple[str, dict[str, Any]]]:
    """The order's events at the data platform, in the order of arrival."""
    events = platform.get("/events", order=str(order.id))[1]["results"]
    return [(event["type"], event["data"]) for event in events]


def line(what: str, **more) -> JournalLine:
    return JournalLine.objects.get(what=what, **more)


def test_the_events_of_an_order_arrive_in_their_order(own_data_platform, product):
    buyer = buying.account(points=500)
    order = buying.buy(buyer, {product: 3}, points=300)
    assert deliver_due() == 1
    assert [type for type, _ in published(own_data_platform, order)] == ["order.paid"]

    buying.refunded(order, product)
    buying.refunded(order)
    deliver_due()

    events = published(own_data_platform, order)
    assert [type for type, _ in events] == ["order.paid", "order.refunded", "order.refunded"]
    assert [data["status"] for _, data in events] == ["paid", "paid", "refunded"]
    assert [data.get("refunded_amount", 0) for _, data in events] == [0, 500, 1_500]
    assert {data["order"] for _, data in events} == {str(order.id)}
    assert {data["total_amount"] for _, data in events} == {1_500}


def test_a_cancelled_order_is_published_and_a_declined_one_is_not(own_data_platform, product):
    buyer = buying.account()
    cancelled = buying.place(buyer, product)
    failed = buying.place(buyer, product, token="tok_declined")
    buying.cancel(cancelled)
    buying.advance(failed)

    assert deliver_due() == 1
    assert [type for type, _ in published(own_data_platform, cancelled.order)] == ["order.cancelled"]
    assert published(own_data_platform, failed.order) == []


def test_each_order_of_a_batch_is_recorded_with_its_own_actor_and_request(product):
    buyers = AccountFactory.create_batch(12)
    coupons = {buyer.id: buying.coupon_code(buyer) for buyer in buyers}

    def order(buyer):
        body = order_of(product, coupon=coupons[buyer.id])
        return client_of(buyer).post("/orders", body, key="a", **{"X-Request-ID": f"request-of-{buyer.id}"})

    batcher = group_commit.BATCHER
    with holding("SELECT id FROM coupons_coupon WHERE code = %s FOR UPDATE", coupons[buyers[0].id]):
        first = in_background(partial(race, [partial(order, buyers[0])]))
        wait_until(lambda: waiting_at("%UPDATE coupons_coupon%") == 1)
        others = in_background(partial(race, [partial(order, buyer) for buyer in buyers[1:]]))
        wait_until(lambda: len(batcher._queue) == len(buyers) - 1)
    assert [answer.status_code for answer in [*first.result(), *others.result()]] == [201] * 12

    assert len(set(JournalLine.objects.filter(what="order.placed").values_list("at", flat=True))) == 2
    for buyer in buyers:
        placed = Order.objects.get(account=buyer)
        for what in ("order.placed", "coupon.held"):
            noted = line(what, order_id=placed.id)
            assert (noted.actor, noted.actor_id) == ("account", buyer.id)
            assert noted.request_id == f"request-of-{buyer.id}"
    noted = JournalLine.objects.filter(what="order.placed").values_list("after", flat=True)
    reserved = [one for after in noted for one in after["reserved"]]
    # Of those that were decided in one batch too, each has the stock as the one before has left it.
    in_turn = [{"product": product.id, "before": n, "after": n + 1} for n in range(12)]
    assert sorted(reserved, key=lambda one: one["before"]) == in_turn


def test_an_operators_actions_are_recorded_with_their_name(product):
    rights = ["payments.add_transfer", "inventory.add_stockmovement"]
    operator = staff_member(*rights)
    buyer, api = buying.account(), client_of(operator)
    grant = {"user": buyer.id, "amount": 700, "reason": "Sorry."}
    granted = api.post("/wallet/grants", grant, key="a", **{"X-Request-ID": "r-1"})
    adjustment = {"delta": -3, "reason": "Broken."}
    adjusted = api.post(f"/products/{product.id}/stock-adjustments", adjustment, key="b")
    assert (granted.status_code, adjusted.status_code) == (201, 201)

    given, counted = line("points.grant", subject=f"wallet {buyer.id}"), line("stock.adjusted")
    assert (given.actor, given.actor_id, given.request_id) == ("staff", operator.id, "r-1")
    assert (given.before, given.after) == ({"balance_amount": 0}, {"balance_amount": 700})
    assert (given.detail, given.order_id) == ("Sorry.", None)
    assert (counted.actor, counted.actor_id, counted.detail) == ("staff", operator.id, "Broken.")


def test_the_journal_records_every_balance_from_the_first_to_the_last(product):
    """Each line starts with the balance of the one before, and the last has the wallet's balance."""
    buyers = [buying.account(points=1_000) for _ in range(3)]
    for buyer in buyers:
        order = partial(buying.place, buyer, product, points=200)
        placed = [order(token=token) for token in ("tok_ok", "tok_declined", "tok_ok")]
        paid = [buying.advance(one) for one in placed]
        buying.refunded(paid[0])

    chains = defaultdict(list)
    for noted in JournalLine.objects.filter(what__startswith="points.").order_by("id"):
        chains[noted.subject].append((noted.before["balance_amount"], noted.after["balance_amount"]))
    for buyer in buyers:
        chain = chains[f"wallet {buyer.id}"]
        assert [before for before, _ in chain] == [0, *(after for _, after in chain[:-1])]
        assert chain[-1][1] == LedgerAccount.objects.get(user=buyer).balance_amount == 800
