"""Purchases through all processes as buyers make them, and at one row by two web processes at once."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest
from django.contrib.auth.models import User

from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from events.models import WebhookDelivery
from events.tests.following import reader, record
from inventory.tests.factories import ProductFactory
from orders.models import Order
from orders.tests import buying
from orders.tests.owners import decide_at
from payments.models import WebhookEvent
from sales.models import SaleEntry
from sales.tests import factories as sales
from scripts.tests.running_shop import calls
from scripts.tests.running_shop.stack import TOP_UPS_A_MINUTE
from shop.models import JournalLine
from shop.rates import rate_limits
from shop.tests.factories import AccountFactory

AGAIN = {"reason": "It is right again."}


def test_exactly_100_coupons_are_issued_to_160_buyers_of_both_web_processes(running_shop):
    campaign = CampaignFactory.create(quantity=100)
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
    product = ProductFactory.create(on_hand=60)
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
    product, [buyer] = ProductFactory.create(on_hand=60), AccountFactory.create_batch(1)
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


def test_50_requests_of_one_account_at_both_web_processes_are_one_coupon(running_shop):
    campaign, [buyer] = CampaignFactory.create(quantity=10), AccountFactory.create_batch(1)

    with calls.both_processes_answer(running_shop, "coupons"):
        answers = calls.at_once(running_shop, [buyer] * 50, "/coupons", {"campaign": campaign.pk})

    assert {answer.status for answer in answers} <= {200, 201}, calls.others(answers, 200, 201)
    assert len({answer.json()["code"] for answer in answers}) == 1
    assert Coupon.objects.get(campaign=campaign).position == 1


def test_both_web_processes_stop_at_a_pause_and_sell_again_after_it(running_shop):
    product = ProductFactory.create(on_hand=10_000)
    staff = AccountFactory.create(is_staff=True, permissions=["inventory.change_product"])
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


def test_a_paused_campaign_issues_nothing_in_either_web_process(running_shop):
    campaign = CampaignFactory.create(quantity=1_000)
    staff = AccountFactory.create(is_staff=True, permissions=["coupons.change_campaign"])
    before = calls.at_once(
        running_shop, AccountFactory.create_batch(20), "/coupons", {"campaign": campaign.pk}
    )
    assert {answer.status for answer in before} == {201}

    paused = running_shop.call(staff, "POST", f"/campaigns/{campaign.pk}/pause", {"reason": "A wrong value."})
    assert paused.status == 200, paused.data
    refused = calls.refusals_of_both(running_shop, "coupons", "/coupons", {"campaign": campaign.pk})
    assert refused == {(409, "campaign_paused")}
    assert Coupon.objects.filter(campaign=campaign).count() == 20

    resumed = running_shop.call(staff, "POST", f"/campaigns/{campaign.pk}/resume", AGAIN)
    assert resumed.status == 200, resumed.data
    again = calls.at_once(
        running_shop, AccountFactory.create_batch(20), "/coupons", {"campaign": campaign.pk}
    )
    assert {answer.status for answer in again} == {201}
    calls.require_every_law()


def test_a_rate_is_shared_by_both_web_processes(running_shop):
    """A process learns of the other's calls with its own next one, which may be one too many."""
    [buyer] = AccountFactory.create_batch(1)
    statuses = []

    def top_up() -> calls.Response:
        [answer] = calls.at_once(running_shop, [buyer], "/wallet/top-ups", {"amount": 100, "token": "tok_ok"})
        statuses.append(answer.status)
        # A process tells of its calls 200 ms later, and several fit into that time.
        calls.eventually(lambda: known_top_ups(buyer) == len(statuses) - statuses.count(429))
        return answer

    for _ in calls.until_both_answer(running_shop, "TopUps"):
        last = [top_up() for _ in range(TOP_UPS_A_MINUTE + 15)][-1]

    assert 429 not in statuses[:TOP_UPS_A_MINUTE]
    # Each process alone would let as many pass as all may.
    assert len(statuses) - statuses.count(429) < 2 * TOP_UPS_A_MINUTE
    assert (last.status, last.json()["code"]) == (429, "throttled")
    assert 1 <= int(last.headers["Retry-After"]) <= 60


def known_top_ups(account: User) -> int:
    return {usage.name: usage.used for usage in rate_limits.read_usages(account.pk)}["top-ups"]


def test_followers_at_both_web_processes_get_an_event_that_either_recorded(running_shop):
    follower = reader()
    before = running_shop.call(follower, "GET", "/events?limit=200").json()
    while before["results"]:
        before = running_shop.call(follower, "GET", f"/events?limit=200&after={before['next']}").json()
    # Of one account fewer may wait in a process.
    readers, after = [follower, reader(), reader()] * 8, before["next"]

    for _ in calls.until_both_answer(running_shop, "vents"):
        # No other test's late order has an event of this type.
        path = f"/events?type=sale.drawn&after={after}"
        with calls.Connections(running_shop, 24) as callers:
            waiting = [callers.soon(one, "GET", path, Prefer="wait=20") for one in readers]
            calls.eventually(lambda: calls.waiting_requests(running_shop) >= 24)
            record("for both", type="sale.drawn")
            pages = [call.result(20).json() for call in waiting]
        names = [[event["data"]["name"] for event in page["results"]] for page in pages]
        assert names == [["for both"]] * 24
        after = pages[0]["next"]


def test_an_order_is_placed_in_one_web_process_and_cancelled_in_the_other(running_shop):
    product, buyer = ProductFactory.create(on_hand=1), AccountFactory.create()
    unpaid = {"items": [{"product": product.id, "quantity": 1}]}
    for _ in range(6):
        [placed] = calls.at_once(running_shop, [buyer], "/orders", unpaid)
        assert placed.status == 201, placed.data
        [cancelled] = calls.at_once(running_shop, [buyer], f"/orders/{placed.json()['id']}/cancel", None)
        assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")
    assert Order.objects.filter(account=buyer, status="cancelled").count() == 6
    product.refresh_from_db()
    assert (product.on_hand, product.reserved) == (1, 0)


@pytest.mark.parametrize(("decision", "ends"), [("approve", "paid"), ("refuse", "payment_failed")])
def test_the_cards_owner_decides_at_the_gateway_and_its_webhook_ends_the_order(decision, ends, running_shop):
    product, buyer = ProductFactory.create(on_hand=1), AccountFactory.create()
    asked = calls.buy(running_shop, buyer, product, "tok_3ds")
    assert (asked.status, asked.json()["payment"]["status"]) == (202, "requires_action")
    before = WebhookEvent.objects.count()
    assert decide_at(asked.json()["payment"]["next_action"]["url"], decision) == 303
    order_id = asked.json()["id"]
    calls.eventually(lambda: buying.state_of(order_id) == ends)
    assert WebhookEvent.objects.count() > before
    shown = running_shop.call(buyer, "GET", f"/orders/{order_id}").json()
    assert (shown["status"], shown["payment"]["next_action"]) == (ends, None)
    calls.wait_until_settled(product)
    calls.require_every_law()


def test_coupon_points_and_card_pay_one_order_and_a_refund_gives_all_back(running_shop):
    product, buyer = ProductFactory.create(on_hand=3, price=5_000), buying.account(points=700)
    code = running_shop.call(
        buyer, "POST", "/coupons", {"campaign": buying.coupon_of(AccountFactory.create().id).campaign_id}
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
    staff = AccountFactory.create(is_staff=True, permissions=["orders.add_refund", "orders.view_refund"])
    asked = {"reason": "It came broken.", "restock": True}
    refunded = running_shop.call(staff, "POST", f"/orders/{order_id}/refunds", asked, key=str(uuid4()))
    assert refunded.status in (201, 202)
    calls.eventually(lambda: buying.state_of(order_id) == "refunded")
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 700
    product.refresh_from_db()
    assert product.on_hand == 3
    calls.eventually(lambda: running_shop.received_events(order_id) == ["order.paid", "order.refunded"])
    calls.require_every_law()


def test_a_workers_actions_are_recorded_as_the_systems_with_the_request_that_started_the_saga(running_shop):
    buyer, product = buying.account(points=500), ProductFactory.create(on_hand=100, price=1_000)
    names = {"X-Request-ID": "request-of-buyer", "Prefer": "wait=20"}
    body = calls.purchase(product, points_amount=300)
    order = running_shop.call(buyer, "POST", "/orders", body, key="a", **names)
    assert order.status == 201, order.data
    calls.wait_until_settled(product)

    def line(what: str) -> JournalLine:
        return JournalLine.objects.get(what=what, order_id=order.json()["id"])

    asked, done = line("order.placed"), line("order.paid")
    assert (asked.actor, asked.actor_id, asked.request_id) == ("account", buyer.id, "request-of-buyer")
    assert (done.actor, done.actor_id, done.request_id) == ("system", None, "request-of-buyer")
    held = line("points.hold")
    assert (held.actor, held.request_id, held.subject) == ("system", "request-of-buyer", f"wallet {buyer.id}")
    assert (held.before, held.after) == ({"balance_amount": 500}, {"balance_amount": 200})
    calls.eventually(WebhookDelivery.objects.filter(event_id=done.event_id, status="delivered").exists)


def test_a_top_up_is_charged_by_the_worker_and_its_points_pay_the_next_order(running_shop):
    buyer, product = AccountFactory.create(), ProductFactory.create(on_hand=1, price=1_000)
    body = {"amount": 700, "token": "tok_ok"}
    topped = running_shop.call(buyer, "POST", "/wallet/top-ups", body, key="a", Prefer="wait=10")
    again = running_shop.call(buyer, "POST", "/wallet/top-ups", body, key="a", Prefer="wait=10")
    assert (topped.status, again.status, again.headers["Idempotency-Replayed"]) == (201, 201, "true")
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 700
    by_both = calls.purchase(product, points_amount=700)
    paid = running_shop.call(buyer, "POST", "/orders", by_both, key="b", Prefer="wait=10")
    assert (paid.status, paid.json()["status"], paid.json()["card_amount"]) == (201, "paid", 300)
    assert running_shop.call(buyer, "GET", "/wallet").json()["balance_amount"] == 0
    calls.require_every_law()


def test_a_sale_admits_in_order_by_the_web_processes_clock_and_only_the_admitted_order(running_shop):
    product = ProductFactory.create(on_hand=10)
    sale = sales.create_sale(product, rate_per_minute=60)
    buyers = AccountFactory.create_batch(4)
    path = f"/sales/{sale.pk}/entries"
    ids = [running_shop.call(buyer, "POST", path, key="a").json()["id"] for buyer in buyers]
    stranger = calls.buy(running_shop, AccountFactory.create(), product)
    assert (stranger.status, stranger.json()["code"]) == (409, "admission_required")
    calls.eventually(lambda: SaleEntry.objects.filter(sale=sale, status="admitted").count() == 4)
    admitted = SaleEntry.objects.filter(sale=sale).order_by("admitted_at", "position")
    assert [str(id) for id in admitted.values_list("id", flat=True)] == ids
    assert {calls.buy(running_shop, buyer, product).status for buyer in buyers} == {201}
    calls.require_every_law()


def test_many_buyers_at_once_are_all_paid_once_and_every_event_arrives(running_shop):
    product, buyers = ProductFactory.create(on_hand=40), AccountFactory.create_batch(40)
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda buyer: calls.buy(running_shop, buyer, product, wait=20), buyers))
    assert Counter(answer.status for answer in answers) == {201: 40}, calls.others(answers, 201)
    assert calls.count_paid_once(product) == 40
    ids = [answer.json()["id"] for answer in answers]
    calls.eventually(lambda: [running_shop.received_events(id) for id in ids] == [["order.paid"]] * 40)
