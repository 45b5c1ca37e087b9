"""Purchases through web, broker, worker, gateway, its webhooks and the data platform, as buyers make them."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from coupons.models import Coupon
from events.models import WebhookDelivery
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from orders.tests.owners import decide_at
from payments.models import WebhookEvent
from sales.models import SaleEntry
from sales.tests import factories as sales
from scripts.tests.running_shop.calls import (
    buy,
    charges_of,
    eventually,
    purchase,
    require_every_law,
    wait_until_settled,
)
from shop.models import JournalLine
from shop.tests.factories import AccountFactory


@pytest.mark.parametrize(("decision", "ends"), [("approve", "paid"), ("refuse", "payment_failed")])
def test_the_cards_owner_decides_at_the_gateway_and_its_webhook_ends_the_order(decision, ends, running_shop):
    product, buyer = ProductFactory.create(on_hand=1), AccountFactory.create()
    asked = buy(running_shop, buyer, product, "tok_3ds")
    assert (asked.status, asked.json()["payment"]["status"]) == (202, "requires_action")
    before = WebhookEvent.objects.count()
    assert decide_at(asked.json()["payment"]["next_action"]["url"], decision) == 303
    order_id = asked.json()["id"]
    eventually(lambda: buying.state_of(order_id) == ends)
    assert WebhookEvent.objects.count() > before
    shown = running_shop.call(buyer, "GET", f"/orders/{order_id}").json()
    assert (shown["status"], shown["payment"]["next_action"]) == (ends, None)
    wait_until_settled(product)
    require_every_law()


def test_coupon_points_and_card_pay_one_order_and_a_refund_gives_all_back(running_shop):
    product, buyer = ProductFactory.create(on_hand=3, price=5_000), buying.account(points=700)
    code = running_shop.call(
        buyer, "POST", "/coupons", {"campaign": buying.coupon_of(AccountFactory.create().id).campaign_id}
    ).json()["code"]
    body = purchase(product, points_amount=500, coupon=code)
    paid = running_shop.call(buyer, "POST", "/orders", body, key=str(uuid4()), Prefer="wait=10")
    assert (paid.status, paid.json()["status"]) == (201, "paid")
    amounts = {name: paid.json()[name] for name in ("total_amount", "points_amount", "card_amount")}
    assert amounts == {"total_amount": 4_000, "points_amount": 500, "card_amount": 3_500}
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 200
    assert Coupon.objects.get(code=code).status == "redeemed"

    order_id = paid.json()["id"]
    eventually(lambda: running_shop.received_events(order_id) == ["order.paid"])
    staff = AccountFactory.create(is_staff=True, permissions=["orders.add_refund", "orders.view_refund"])
    asked = {"reason": "It came broken.", "restock": True}
    refunded = running_shop.call(staff, "POST", f"/orders/{order_id}/refunds", asked, key=str(uuid4()))
    assert refunded.status in (201, 202)
    eventually(lambda: buying.state_of(order_id) == "refunded")
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 700
    product.refresh_from_db()
    assert product.on_hand == 3
    eventually(lambda: running_shop.received_events(order_id) == ["order.paid", "order.refunded"])
    require_every_law()


def test_a_workers_actions_are_recorded_as_the_systems_with_the_request_that_started_the_saga(running_shop):
    buyer, product = buying.account(points=500), ProductFactory.create(on_hand=100, price=1_000)
    names = {"X-Request-ID": "request-of-buyer", "Prefer": "wait=20"}
    body = purchase(product, points_amount=300)
    order = running_shop.call(buyer, "POST", "/orders", body, key="a", **names)
    assert order.status == 201
    wait_until_settled(product)

    def line(what: str) -> JournalLine:
        return JournalLine.objects.get(what=what, order_id=order.json()["id"])

    asked, done = line("order.placed"), line("order.paid")
    assert (asked.actor, asked.actor_id, asked.request_id) == ("account", buyer.id, "request-of-buyer")
    assert (done.actor, done.actor_id, done.request_id) == ("system", None, "request-of-buyer")
    held = line("points.hold")
    assert (held.actor, held.request_id, held.subject) == ("system", "request-of-buyer", f"wallet {buyer.id}")
    assert (held.before, held.after) == ({"balance_amount": 500}, {"balance_amount": 200})
    eventually(WebhookDelivery.objects.filter(event_id=done.event_id, status="delivered").exists)


def test_a_top_up_is_charged_by_the_worker_and_its_points_pay_the_next_order(running_shop):
    buyer, product = AccountFactory.create(), ProductFactory.create(on_hand=1, price=1_000)
    body = {"amount": 700, "token": "tok_ok"}
    topped = running_shop.call(buyer, "POST", "/wallet/top-ups", body, key="a", Prefer="wait=10")
    again = running_shop.call(buyer, "POST", "/wallet/top-ups", body, key="a", Prefer="wait=10")
    assert (topped.status, again.status, again.headers["Idempotency-Replayed"]) == (201, 201, "true")
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 700
    by_both = purchase(product, points_amount=700)
    paid = running_shop.call(buyer, "POST", "/orders", by_both, key="b", Prefer="wait=10")
    assert (paid.status, paid.json()["status"], paid.json()["card_amount"]) == (201, "paid", 300)
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 0
    require_every_law()


def test_a_sale_admits_in_order_by_the_web_processes_clock_and_only_the_admitted_order(running_shop):
    product = ProductFactory.create(on_hand=10)
    sale = sales.create_sale(product, rate_per_minute=60)
    buyers = AccountFactory.create_batch(4)
    ids = [
        running_shop.call(buyer, "POST", f"/sales/{sale.pk}/entries", key="a").json()["id"]
        for buyer in buyers
    ]
    stranger = buy(running_shop, AccountFactory.create(), product)
    assert (stranger.status, stranger.json()["code"]) == (409, "admission_required")
    eventually(lambda: SaleEntry.objects.filter(sale=sale, status="admitted").count() == 4)
    admitted = SaleEntry.objects.filter(sale=sale).order_by("admitted_at", "position")
    assert [str(id) for id in admitted.values_list("id", flat=True)] == ids
    assert {buy(running_shop, buyer, product).status for buyer in buyers} == {201}
    require_every_law()


def test_many_buyers_at_once_are_all_paid_once_and_every_event_arrives(running_shop):
    product, buyers = ProductFactory.create(on_hand=40), AccountFactory.create_batch(40)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda buyer: buy(running_shop, buyer, product, wait=20), buyers))
    assert Counter(answer.status for answer in answers) == {201: 40}
    wait_until_settled(product)
    assert set(charges_of(product).values()) == {1}
    ids = [answer.json()["id"] for answer in answers]
    eventually(lambda: [running_shop.received_events(id) for id in ids] == [["order.paid"]] * 40)
    require_every_law()
