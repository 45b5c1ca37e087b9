"""Orders of paused products: refused by every strategy once the pause is answered; open orders go on."""

from collections.abc import Callable, Sequence
from functools import partial
from subprocess import Popen
from typing import Any

import pytest
from django.utils import timezone

from accounts.tests.clients import client_of, new_customer, problem_of
from foundation.db import transactions
from foundation.idempotency.recorded_answers import Replay
from foundation.models import IdempotencyKey
from foundation.redis import redis_client
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import race, wait_until
from foundation.tests.second_process import another_process, read_line, send, starts_another_process
from foundation.tests.waiting import behind_a_pause
from inventory import availability, mirror, rows as stock_rows
from inventory.tests.factories import ProductFactory, levels_of, pause, resume
from orders import cancellation
from orders.models import Order
from orders.placement import checkout, decisions
from orders.placement.decisions import OrderRequest
from orders.tests import buying
from orders.tests.buying import buy_until, kinds, refusal_of
from sales.tests import factories

pytestmark = pytest.mark.django_db(transaction=True)
REQUESTS = 12

# For each line `STRATEGY PRODUCT ACCOUNT...` places orders of one unit, one after the other in a thread per
# account, until one is refused for the pause; prints the number of each kind of refusal.
BUYING_ON = """
import json
from functools import partial
from itertools import chain
from django.conf import settings
from inventory.models import Product
from orders.tests import buying
from foundation.tests.racing import race

settings.OPTIMISTIC_RETRIES = 1_000
print("ready", flush=True)
while line := sys.stdin.readline():
    settings.INVENTORY_STRATEGY, product_id, *account_ids = line.split()
    product = Product.objects.get(id=product_id)
    works = [partial(buying.buy_until, "product_paused", product, int(one)) for one in account_ids]
    counts = buying.kinds(chain(*race(works)))
    print(json.dumps({kind: counts[kind] for kind in counts if kind != "PlacedOrder"}), flush=True)
"""


@pytest.fixture(autouse=True)
def _many_open_orders(settings):
    settings.OPEN_ORDERS_PER_ACCOUNT = 1_000


def buy(product):
    return buying.place_for_newcomer(product)


@buying.by_two_strategies
def test_an_order_of_a_paused_product_is_409_names_it_and_leaves_nothing(strategy):
    paused, plenty, short = (ProductFactory(on_hand=count) for count in (9, 9, 0))
    api = new_customer()
    pause(paused)
    body = {"items": [{"product": one.id, "quantity": 1} for one in (plenty, paused, short)]}

    answer = api.post("/orders", body, key="a")

    assert problem_of(answer) == (409, "product_paused")
    assert answer.json()["items"] == [{"product": paused.id}]
    assert "Retry-After" not in answer
    assert not Order.objects.exists()
    assert not IdempotencyKey.objects.exists()
    assert [levels_of(one) for one in (paused, plenty)] == [(9, 0)] * 2
    resume(paused)
    assert api.post("/orders", {"items": body["items"][:2]}, key="a").status_code == 201


@buying.by_two_strategies
def test_a_paused_product_that_is_sold_out_is_paused_and_one_that_is_inactive_is_not_found(strategy):
    inactive, product = ProductFactory(on_hand=9, is_active=False), ProductFactory(on_hand=1)
    buy(product)
    assert refusal_of(partial(buy, product)).code == "insufficient_stock"
    for one in (inactive, product):
        pause(one)
    assert refusal_of(partial(buy, inactive)).code == "product_not_found"
    assert refusal_of(partial(buy, product)).code == "product_paused"
    resume(product)
    assert refusal_of(partial(buy, product)).code == "insufficient_stock"


@buying.by_two_strategies
def test_a_repeat_under_the_key_gets_the_recorded_order(strategy):
    product, buyer = buying.product_and_buyer(on_hand=9)
    order_request = buying.order_request(buyer.id, {product: 1}, key="mine")
    placed = checkout.place(order_request)
    pause(product)

    again = checkout.place(order_request)

    assert isinstance(again, Replay)
    assert again.reference == placed.order.id


@buying.by_two_strategies
def test_open_orders_are_paid_cancelled_refunded_and_expire(strategy):
    product = ProductFactory(on_hand=9, price=500)
    paid_later, cancelled, expired = AccountFactory.create_batch(3)
    orders = {one: buying.order(one, product).id for one in (paid_later, cancelled, expired)}
    at_once = buying.place_for_newcomer(product, token="tok_ok")
    pause(product)

    card = {"order": str(orders[paid_later]), "token": "tok_ok"}
    assert client_of(paid_later).post("/payments", card, key="pay").status_code == 202
    cancellation.cancel(order_id=orders[cancelled], account_id=cancelled.id)
    Order.objects.filter(id=orders[expired]).update(expires_at=timezone.now())
    assert cancellation.expire_due() == 1
    assert buying.advance(at_once).status == Order.Status.PAID
    buying.settle_everything()
    buying.refunded(at_once.order)

    assert [buying.state_of(one) for one in orders.values()] == ["paid", "cancelled", "expired"]
    assert buying.status_of(at_once) == "refunded"


def requests_of(product) -> list[OrderRequest]:
    return [buying.request_of_newcomer(product) for _ in range(REQUESTS)]


def pausing_its_sale(product) -> Callable[[], Any]:
    sale = factories.create_sale(product, admission="open")
    return partial(factories.pause, sale)


# What ends the orders of a product, once it is prepared, by the code that refuses them from then on.
ENDS = {
    "product_paused": lambda product: partial(pause, product),
    "sale_paused": pausing_its_sale,
    "sale_not_open": lambda product: partial(factories.create_sale, product, opens_in=600),
}


@pytest.mark.parametrize("code", ["product_paused", "sale_paused"])
def test_orders_that_wait_for_the_row_behind_a_pause_are_refused(strategy, code):
    product = ProductFactory(on_hand=1_000)
    end = ENDS[code](product)

    outcomes = behind_a_pause(end, product, [partial(checkout.place, one) for one in requests_of(product)])

    assert kinds(outcomes) == {code: REQUESTS}
    assert not Order.objects.exists()


def test_a_check_before_the_lock_sells_after_the_pause(monkeypatch):
    """The twin: all orders ask before the pause commits, and are written after it."""
    product = ProductFactory(on_hand=1_000)
    lock = stock_rows.lock_stock

    def lock_and_ask_no_more(product_ids):
        stock = lock(product_ids)
        for one in stock.values():
            one.paused_at = None
        return stock

    def ask_then_lock(order_request):
        availability.check_sold(stock_rows.read_stock([product.pk]), order_request.lines)
        return transactions.run(lambda: decisions.decide([order_request]), transactions.KEYED)[0]

    monkeypatch.setattr(stock_rows, "lock_stock", lock_and_ask_no_more)
    works = [partial(ask_then_lock, one) for one in requests_of(product)]

    outcomes = behind_a_pause(partial(pause, product), product, works, waiting=REQUESTS)

    assert kinds(outcomes) == {"PlacedOrder": REQUESTS}
    assert Order.objects.count() == REQUESTS


@pytest.mark.parametrize("code", ENDS)
def test_no_order_is_committed_after_the_answer_to_a_pause_under_load(strategy, code):
    """Threads place one order after the other; what is committed when the pause returns is all there is."""
    product, buyers = ProductFactory(on_hand=10_000), AccountFactory.create_batch(REQUESTS)
    end = ENDS[code](product)

    def end_soon():
        wait_until(lambda: Order.objects.count() >= REQUESTS // 2)
        end()
        return Order.objects.count()

    *answers, committed = race([*(partial(buy_until, code, product, one.id) for one in buyers), end_soon])

    outcomes = kinds([one for some in answers for one in some])
    assert Order.objects.count() == committed == outcomes["PlacedOrder"]
    assert outcomes[code] == REQUESTS
    # `optimistic` may have used its retries up.
    assert outcomes.keys() <= {"PlacedOrder", code, "conflict"}


@starts_another_process
def test_two_processes_stop_at_a_pause():
    """By each strategy, for a product of its own."""
    environment = {"OPEN_ORDERS_PER_ACCOUNT": "100000", "OPEN_UNITS_PER_ACCOUNT": "100000"}
    with another_process(BUYING_ON, **environment) as one, another_process(BUYING_ON, **environment) as other:
        found = {name: orders_around_a_pause(name, (one, other)) for name in checkout.STRATEGIES}
    assert {name: ended for name, (ended, _) in found.items()} == dict.fromkeys(
        checkout.STRATEGIES, ['{"product_paused": 4}'] * 2
    )
    assert [(name, later) for name, (_, later) in found.items() if later] == []


def orders_around_a_pause(strategy: str, processes: Sequence["Popen[str]"]) -> tuple[list[str], int]:
    """How the requests of each process ended, and how many orders were committed after the pause's answer."""
    product = ProductFactory(on_hand=100_000)
    accounts = [str(buying.account().id) for _ in range(8)]
    placed = Order.objects.filter(lines__product=product)
    for process, part in zip(processes, (accounts[:4], accounts[4:]), strict=True):
        send(process, " ".join([strategy, str(product.pk), *part]))
    wait_until(lambda: placed.values("account").distinct().count() == 8, seconds=30)
    pause(product)
    committed = placed.count()
    outcomes = [read_line(process) for process in processes]
    return outcomes, placed.count() - committed


@buying.by_two_strategies
def test_a_pause_decides_while_redis_is_away_or_emptied(strategy, own_redis):
    product = ProductFactory(on_hand=9)
    buy(product)
    own_redis.kill()
    pause(product)

    assert refusal_of(partial(buy, product)).code in {"product_paused", "unavailable"}
    own_redis.start()
    redis_client.reset()
    # The mirror came back empty, and never learned of the pause.
    assert refusal_of(partial(buy, product)).code == "product_paused"
    own_redis.kill()
    resume(product)
    own_redis.start()
    redis_client.reset()

    buy(product)
    assert Order.objects.count() == 2


def test_a_mirror_that_missed_the_pause_neither_sells_nor_refuses_after_its_end(settings):
    """The mirror shows the product as it was, before and after: it leaves the decision to the database."""
    product = ProductFactory(on_hand=9)

    def change_unseen(change):
        settings.INVENTORY_STRATEGY = "redis_gate"
        mirror.rebuild()
        settings.INVENTORY_STRATEGY = "group_commit"
        change(product)
        settings.INVENTORY_STRATEGY = "redis_gate"

    change_unseen(pause)
    assert refusal_of(partial(buy, product)).code == "product_paused"
    change_unseen(resume)
    buy(product)
