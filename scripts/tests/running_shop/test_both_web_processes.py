"""Two web processes at one row: exactly what there is, one answer a key, and pauses that both obey."""

from collections import Counter
from uuid import uuid4

from django.contrib.auth.models import User

from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from events.tests.following import reader, record
from inventory.tests.factories import ProductFactory
from orders.models import Order
from scripts.tests.running_shop.calls import (
    Response,
    at_once,
    both_processes_answer,
    buyers_going_on,
    connections,
    eventually,
    orders_of,
    purchase,
    refusals_of_both,
    require_every_law,
    wait_until_settled,
    waiting_requests,
)
from scripts.tests.running_shop.stack import TOP_UPS_A_MINUTE
from shop.rates import rate_limits
from shop.tests.factories import AccountFactory

AGAIN = {"reason": "It is right again."}


def test_exactly_100_coupons_are_issued_to_160_buyers_of_both_web_processes(running_shop):
    campaign = CampaignFactory.create(quantity=100)
    buyers = AccountFactory.create_batch(160)

    with both_processes_answer(running_shop, "coupons"):
        answers = at_once(running_shop, buyers, "/coupons", {"campaign": campaign.pk})

    assert Counter(answer.status for answer in answers) == {201: 100, 409: 60}
    assert {answer.json()["code"] for answer in answers if answer.status == 409} == {"sold_out"}
    issued = Coupon.objects.filter(campaign=campaign)
    assert sorted(issued.values_list("position", flat=True)) == list(range(1, 101))
    assert issued.values("account").distinct().count() == 100
    require_every_law()


def test_stock_of_60_is_sold_to_exactly_60_of_100_buyers_of_both_web_processes(running_shop):
    product = ProductFactory.create(on_hand=60)
    buyers = AccountFactory.create_batch(100)

    with both_processes_answer(running_shop, "orders"):
        answers = at_once(running_shop, buyers, "/orders", purchase(product))

    assert Counter(answer.status // 100 for answer in answers) == {2: 60, 4: 40}
    assert {answer.json()["code"] for answer in answers if answer.status == 409} == {"insufficient_stock"}
    wait_until_settled(product)
    assert orders_of(product, status="paid").count() == 60
    product.refresh_from_db()
    assert (product.on_hand, product.reserved) == (0, 0)
    require_every_law()


def test_50_repeats_of_one_key_at_both_web_processes_are_one_order(running_shop):
    product, [buyer] = ProductFactory.create(on_hand=60), AccountFactory.create_batch(1)
    key = str(uuid4())

    with both_processes_answer(running_shop, "orders"):
        answers = at_once(running_shop, [buyer] * 50, "/orders", purchase(product), key=key)

    assert {answer.status for answer in answers} <= {201, 202, 409}
    refused = {answer.json()["code"] for answer in answers if answer.status == 409}
    assert refused <= {"idempotency_key_in_flight"}
    ids = {answer.json()["id"] for answer in answers if answer.status < 300}
    assert ids == {str(orders_of(product).get().id)}
    wait_until_settled(product)
    [again] = at_once(running_shop, [buyer], "/orders", purchase(product), key=key)
    assert (again.status, again.headers["Idempotency-Replayed"]) == (201, "true")
    assert orders_of(product).get().status == "paid"
    require_every_law()


def test_50_requests_of_one_account_at_both_web_processes_are_one_coupon(running_shop):
    campaign, [buyer] = CampaignFactory.create(quantity=10), AccountFactory.create_batch(1)

    with both_processes_answer(running_shop, "coupons"):
        answers = at_once(running_shop, [buyer] * 50, "/coupons", {"campaign": campaign.pk})

    assert {answer.status for answer in answers} <= {200, 201}
    assert len({answer.json()["code"] for answer in answers}) == 1
    assert Coupon.objects.get(campaign=campaign).position == 1


def test_both_web_processes_stop_at_a_pause_and_sell_again_after_it(running_shop):
    product = ProductFactory.create(on_hand=10_000)
    staff = AccountFactory.create(is_staff=True, permissions=["inventory.change_product"])
    pausing = f"/products/{product.id}"

    with buyers_going_on(running_shop, product, count=6) as answers:
        eventually(lambda: len(answers) >= 12)
        paused = running_shop.call(staff, "POST", f"{pausing}/pause", {"reason": "A wrong price."})
        placed = orders_of(product).count()
        eventually(lambda: answers.count(409) >= 20)
        assert orders_of(product).count() == placed
    assert paused.status == 200, paused.data
    refused = refusals_of_both(running_shop, "orders", "/orders", purchase(product))
    assert refused == {(409, "product_paused")}

    assert running_shop.call(staff, "POST", f"{pausing}/resume", AGAIN).status == 200
    again = at_once(running_shop, AccountFactory.create_batch(20), "/orders", purchase(product))
    assert {one.status // 100 for one in again} == {2}
    wait_until_settled(product)
    require_every_law()


def test_a_paused_campaign_issues_nothing_in_either_web_process(running_shop):
    campaign = CampaignFactory.create(quantity=1_000)
    staff = AccountFactory.create(is_staff=True, permissions=["coupons.change_campaign"])
    before = at_once(running_shop, AccountFactory.create_batch(20), "/coupons", {"campaign": campaign.pk})
    assert {answer.status for answer in before} == {201}

    paused = running_shop.call(staff, "POST", f"/campaigns/{campaign.pk}/pause", {"reason": "A wrong value."})
    assert paused.status == 200
    refused = refusals_of_both(running_shop, "coupons", "/coupons", {"campaign": campaign.pk})
    assert refused == {(409, "campaign_paused")}
    assert Coupon.objects.filter(campaign=campaign).count() == 20

    assert running_shop.call(staff, "POST", f"/campaigns/{campaign.pk}/resume", AGAIN).status == 200
    again = at_once(running_shop, AccountFactory.create_batch(20), "/coupons", {"campaign": campaign.pk})
    assert {answer.status for answer in again} == {201}
    require_every_law()


def test_a_rate_is_shared_by_both_web_processes(running_shop):
    """A process learns of the other's calls with its own next one, which may be one too many."""
    [buyer] = AccountFactory.create_batch(1)
    statuses = []

    def top_up() -> Response:
        [answer] = at_once(running_shop, [buyer], "/wallet/top-ups", {"amount": 100, "token": "tok_ok"})
        statuses.append(answer.status)
        # A process tells of its calls 200 ms later, and several fit into that time.
        eventually(lambda: known_top_ups(buyer) == len(statuses) - statuses.count(429))
        return answer

    with both_processes_answer(running_shop, "TopUps"):
        last = [top_up() for _ in range(TOP_UPS_A_MINUTE + 15)][-1]

    assert 429 not in statuses[:TOP_UPS_A_MINUTE]
    # Each process alone would let as many pass as all may.
    assert len(statuses) - statuses.count(429) < 2 * TOP_UPS_A_MINUTE
    assert (last.status, last.json()["code"]) == (429, "throttled")
    assert 1 <= int(last.headers["Retry-After"]) <= 60


def known_top_ups(account: User) -> int:
    usages = {usage.name: usage.used for usage in rate_limits.read_usages(account.pk)}
    return usages["top-ups"]


def test_followers_at_both_web_processes_get_an_event_that_either_recorded(running_shop):
    follower = reader()
    before = running_shop.call(follower, "GET", "/events?limit=200").json()
    while before["results"]:
        before = running_shop.call(follower, "GET", f"/events?limit=200&after={before['next']}").json()
    # No other test's late order has an event of this type.
    path = f"/events?type=sale.drawn&after={before['next']}"

    with connections(running_shop, 24) as calls, both_processes_answer(running_shop, "vents"):
        # Of one account fewer may wait in a process.
        readers = [follower, reader(), reader()] * 8
        waiting = [calls.soon(one, "GET", path, Prefer="wait=20") for one in readers]
        eventually(lambda: waiting_requests(running_shop) >= 24)
        record("for both", type="sale.drawn")
        pages = [call.result(20).json()["results"] for call in waiting]

    assert [[event["data"]["name"] for event in page] for page in pages] == [["for both"]] * 24


def test_an_order_is_placed_in_one_web_process_and_cancelled_in_the_other(running_shop):
    product, buyer = ProductFactory.create(on_hand=1), AccountFactory.create()
    unpaid = {"items": [{"product": product.id, "quantity": 1}]}
    for _ in range(6):
        [placed] = at_once(running_shop, [buyer], "/orders", unpaid)
        assert placed.status == 201
        [cancelled] = at_once(running_shop, [buyer], f"/orders/{placed.json()['id']}/cancel", None)
        assert (cancelled.status, cancelled.json()["status"]) == (200, "cancelled")
    assert Order.objects.filter(account=buyer, status="cancelled").count() == 6
    product.refresh_from_db()
    assert (product.on_hand, product.reserved) == (1, 0)
