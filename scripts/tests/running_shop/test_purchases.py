"""Purchases through all processes as buyers make them, and at one row by two web processes at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from foundation.tests.factories import AccountFactory
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from scripts.tests.running_shop import calls

AGAIN = {"reason": "It is right again."}


def test_exactly_100_coupons_are_issued_to_160_buyers_of_both_web_processes(running_shop):
    campaign = CampaignFactory(quantity=100)
    buyers = AccountFactory.create_batch(160)

    with calls.both_processes_answer(running_shop, "coupons"):
        answers = calls.at_once(running_shop, buyers, "/coupons", {"campaign": campaign.pk})

    assert Counter(answer.status for answer in answers) == {201: 100, 409: 60}, calls.others(
        answers, 201, 409
    )
    assert {answer.json()["code"] for answer in answers if answer.status == 409} == {"sold_out"}
    issued = Coupon.objects.filter(campaign=campaign)
    assert sorted(issued.values_list("position", flat=True)) == list(range(1, 101))
    assert issued.values("account").distinct().count() == 100
    calls.require_every_law()


def test_stock_of_60_is_sold_to_exactly_60_of_100_buyers_of_both_web_processes(running_shop):
    product = ProductFactory(on_hand=60)
    buyers = AccountFactory.create_batch(100)

    with calls.both_processes_answer(running_shop, "orders"):
        answers = calls.at_once(running_shop, buyers, "/orders", calls.purchase(product))

    counts = Counter(answer.status // 100 for answer in answers)
    assert counts == {2: 60, 4: 40}, calls.others(answers, 201, 202, 409)
    assert {answer.json()["code"] for answer in answers if answer.status == 409} == {"insufficient_stock"}
    calls.wait_until_settled(product)
    assert calls.orders_of(product, status="paid").count() == 60
    product.refresh_from_db()
    assert (product.on_hand, product.reserved) == (0, 0)
    calls.require_every_law()


def test_50_repeats_of_one_key_at_both_web_processes_are_one_order(running_shop):
    product, [buyer] = ProductFactory(on_hand=60), AccountFactory.create_batch(1)
    key = str(uuid4())

    with calls.both_processes_answer(running_shop, "orders"):
        answers = calls.at_once(running_shop, [buyer] * 50, "/orders", calls.purchase(product), key=key)

    assert {answer.status for answer in answers} <= {201, 202, 409}, calls.others(answers, 201, 202, 409)
    refused = {answer.json()["code"] for answer in answers if answer.status == 409}
    assert refused <= {"idempotency_key_in_flight"}
    ids = {answer.json()["id"] for answer in answers if answer.status < 300}
    assert ids == {str(calls.orders_of(product).get().id)}
    calls.wait_until_settled(product)
    [again] = calls.at_once(running_shop, [buyer], "/orders", calls.purchase(product), key=key)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert calls.orders_of(product).get().status == "paid"
    calls.require_every_law()


def test_both_web_processes_stop_at_a_pause_and_sell_again_after_it(running_shop):
    product = ProductFactory(on_hand=10_000)
    staff = AccountFactory(is_staff=True, permissions=["inventory.change_product"])
    pausing = f"/products/{product.id}"

    with calls.buyers_going_on(running_shop, product, count=6) as answers:
        calls.eventually(lambda: len(answers) >= 12)
        paused = running_shop.call(staff, "POST", f"{pausing}/pause", {"reason": "A wrong price."})
        placed = calls.orders_of(product).count()
        calls.eventually(lambda: answers.count(409) >= 20)
        assert calls.orders_of(product).count() == placed
    assert paused.status == 200, paused.data
    refused = calls.refusals_of_both(running_shop, "orders", "/orders", calls.purchase(product))
    assert refused == {(409, "product_paused")}

    resumed = running_shop.call(staff, "POST", f"{pausing}/resume", AGAIN)
    assert resumed.status == 200, resumed.data
    again = calls.at_once(running_shop, AccountFactory.create_batch(20), "/orders", calls.purchase(product))
    assert {one.status // 100 for one in again} == {2}
    calls.wait_until_settled(product)
    calls.require_every_law()


def test_coupon_points_and_card_pay_one_order_and_a_refund_gives_all_back(running_shop):
    product, buyer = buying.product_and_buyer(on_hand=3, price=5_000, points=700)
    code = running_shop.call(
        buyer, "POST", "/coupons", {"campaign": buying.coupon_of(AccountFactory().id).campaign_id}
    ).json()["code"]
    body = calls.purchase(product, points_amount=500, coupon=code)
    paid = running_shop.call(buyer, "POST", "/orders", body, key=str(uuid4()), Prefer="wait=10")
    assert (paid.status, paid.json()["status"]) == (201, "paid")
    amounts = {name: paid.json()[name] for name in ("total_amount", "points_amount", "card_amount")}
    assert amounts == {"total_amount": 4_000, "points_amount": 500, "card_amount": 3_500}
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 200
    assert Coupon.objects.get(code=code).status == "redeemed"

    order_id = paid.json()["id"]
    calls.eventually(lambda: running_shop.received_events(order_id) == ["order.paid"])
    staff = AccountFactory(is_staff=True, permissions=["orders.add_refund", "orders.view_refund"])
    asked = {"reason": "It came broken.", "restock": True}
    refunded = running_shop.call(staff, "POST", f"/orders/{order_id}/refunds", asked, key=str(uuid4()))
    assert refunded.status in (201, 202)
    calls.eventually(lambda: buying.state_of(order_id) == "refunded")
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 700
    product.refresh_from_db()
    assert product.on_hand == 3
    calls.eventually(lambda: running_shop.received_events(order_id) == ["order.paid", "order.refunded"])
    calls.require_every_law()


def test_many_buyers_at_once_are_all_paid_once_and_every_event_arrives(running_shop):
    product, buyers = ProductFactory(on_hand=40), AccountFactory.create_batch(40)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda buyer: calls.buy(running_shop, buyer, product, wait=20), buyers))
    assert Counter(answer.status for answer in answers) == {201: 40}, calls.others(answers, 201)
    assert calls.count_paid_once(product) == 40
    ids = [answer.json()["id"] for answer in answers]
    calls.eventually(lambda: [running_shop.received_events(id) for id in ids] == [["order.paid"]] * 40)
