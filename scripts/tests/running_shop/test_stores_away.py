"""A store is killed and back: what is refused, what goes on, what `/readyz` names; and nothing is lost."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import uuid4

from django.db import connection

from coupons.models import Coupon
from coupons.tests.factories import CampaignFactory
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from scripts.tests.running_shop.calls import (
    at_once,
    buy,
    buyers_going_on,
    charges_of,
    eventually,
    let_leases_end,
    orders_of,
    purchase,
    require_every_law,
    wait_until_settled,
)
from scripts.tests.running_shop.stack import HTTP, RunningShop
from shop.tests.factories import AccountFactory
from shop.tests.racing import wait_until

AS_USUAL = {201, 202}


@contextmanager
def orders_going_on_without(shop: RunningShop, store: str) -> Iterator[list[int]]:
    """Orders are taken as usual before, while and after the store is away, which is when the block runs."""
    product = ProductFactory.create(on_hand=10_000)
    with buyers_going_on(shop, product, count=4) as answers:
        eventually(lambda: len(answers) >= 8)
        with shop.away(store):
            wait_until(lambda: shop.down() == [store])
            before = len(answers)
            eventually(lambda: len(answers) >= before + 8)
        yield answers
    assert set(answers) <= AS_USUAL, Counter(answers)
    wait_until_settled(product)
    assert orders_of(product, status="paid").count() == len(answers)
    assert set(charges_of(product).values()) == {1}
    require_every_law()


def test_orders_go_on_while_redis_is_away_and_it_is_used_again_once_it_is_back(running_shop):
    with orders_going_on_without(running_shop, "redis") as answers:
        before = len(answers)
        eventually(lambda: len(answers) >= before + 8)


def test_exactly_the_quantity_is_issued_while_redis_is_killed_and_back(running_shop):
    campaign, buyers = CampaignFactory.create(quantity=60), AccountFactory.create_batch(90)
    wanted = {"campaign": campaign.pk}
    first = at_once(running_shop, buyers[:30], "/coupons", wanted)
    with running_shop.away("redis"):
        second = at_once(running_shop, buyers[30:60], "/coupons", wanted)
    last = at_once(running_shop, buyers[60:], "/coupons", wanted)

    assert Counter(answer.status for answer in first + second) == {201: 60}
    assert {(answer.status, answer.json()["code"]) for answer in last} == {(409, "sold_out")}
    issued = Coupon.objects.filter(campaign=campaign)
    assert sorted(issued.values_list("position", flat=True)) == list(range(1, 61))
    require_every_law()


def test_without_a_database_calls_are_refused_and_nothing_that_was_answered_is_lost(running_shop):
    product, buyer, key = ProductFactory.create(on_hand=10_000), AccountFactory.create(), str(uuid4())
    with buyers_going_on(running_shop, product, count=4) as answers:
        eventually(lambda: answers.count(201) >= 4)
        running_shop.kill("mariadb")
        try:
            wait_until(lambda: running_shop.down() == ["database"], seconds=20)
            assert HTTP.request("GET", f"{running_shop.address}/healthz").json() == {"status": "alive"}
            refused = running_shop.call(buyer, "POST", "/orders", purchase(product), key=key)
            assert (refused.status, refused.json()["code"]) == (503, "unavailable")
            assert int(refused.headers["Retry-After"]) >= 1
        finally:
            running_shop.start("mariadb")
            connection.close()
        running_shop.wait_until_ready()
        paid = answers.count(201)
        eventually(lambda: answers.count(201) >= paid + 4)
    assert set(answers) <= {*AS_USUAL, 503}, Counter(answers)
    assert running_shop.call(buyer, "POST", "/orders", purchase(product), key=key).status in AS_USUAL
    let_leases_end(product)
    wait_until_settled(product)
    # An order whose answer was lost with the server may be there as well, and is paid like the others.
    told = len(answers) - answers.count(503) + 1
    assert orders_of(product, status="paid").count() == orders_of(product).count() >= told
    assert set(charges_of(product).values()) == {1}
    require_every_law()


def test_orders_go_on_while_the_broker_is_away_and_the_worker_returns_to_it(running_shop):
    with orders_going_on_without(running_shop, "broker"):
        before = tasks_done(running_shop)
        eventually(lambda: tasks_done(running_shop) > before)


def tasks_done(shop: RunningShop) -> int:
    return shop.log("worker").read_text().count("Task orders.advance[")


def test_a_payment_whose_message_the_broker_lost_is_found_by_the_sweeper(running_shop):
    product = ProductFactory.create(on_hand=1)
    with running_shop.frozen("worker"), running_shop.frozen("beat"):
        placed = buy(running_shop, AccountFactory.create(), product, wait=0)
        assert (placed.status, placed.json()["status"]) == (202, "paying")
        running_shop.kill("broker")
        running_shop.start("broker")
    let_leases_end(product)
    wait_until_settled(product)
    assert buying.state_of(placed.json()["id"]) == "paid"
    assert list(charges_of(product).values()) == [1]
    running_shop.wait_until_ready()
    require_every_law()
