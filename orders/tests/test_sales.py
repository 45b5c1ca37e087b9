"""Orders of products in sales: only while the sale is open, and by an admitted entry, which is used then."""

import random
import threading
import time
from collections import Counter
from functools import partial

import pytest

from accounts.tests.clients import client_of, problem_of
from coupons.tests.factories import accounts
from foundation import clock
from foundation.db import transactions
from foundation.models import IdempotencyKey
from foundation.tests.factories import AccountFactory, reloaded
from foundation.tests.instants import from_now
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_connection import holding
from foundation.tests.waiting import behind_a_pause, shifted, within
from inventory import products
from inventory.tests.factories import ProductFactory
from orders import order_states
from orders.models import Order, OrderLine
from orders.placement import decisions
from orders.placement.strategies import group_commit
from orders.tests import buying
from orders.tests.buying import kinds, refusal_of
from sales import rows, terms
from sales.models import SaleEntry
from sales.order_checks import AdmittedEntry, SaleTerms
from sales.tests import factories
from sales.tests.factories import admitted
from sales.waiting_room import advancing, entries

pytestmark = pytest.mark.django_db(transaction=True)
REQUESTS = 8
ACCOUNTS, RACE_SECONDS = 1_500, 3


@pytest.fixture(autouse=True)
def _many_orders_at_once(settings):
    settings.OPEN_ORDERS_PER_ACCOUNT = 1_000
    settings.OPTIMISTIC_RETRIES = 500


def buy(product, buyer=None):
    return buying.place(buyer or buying.account(), product)


@buying.by_two_strategies
def test_before_and_after_its_sale_and_while_it_is_paused_a_product_cannot_be_ordered(strategy):
    product = ProductFactory(on_hand=9)
    sale = factories.create_sale(product, opens_in=100, closes_in=200, admission="open")

    early = refusal_of(partial(buy, product))
    assert (early.code, early.extra["sales"]) == ("sale_not_open", [sale.pk])
    assert 95 <= early.retry_after <= 100
    states = [products.state(reloaded(product))]
    with shifted(seconds=101):
        buy(product)
        factories.pause(sale)
        assert refusal_of(partial(buy, product)).code == "sale_paused"
        factories.resume(sale)
        buy(product)
    with shifted(seconds=200):
        late = refusal_of(partial(buy, product))
        assert (late.code, late.retry_after) == ("sale_closed", None)
        assert [*states, products.state(reloaded(product))] == ["scheduled", "closed"]
        terms.change(sale_id=sale.pk, product_ids=[])
        buy(product)


@buying.by_two_strategies
def test_an_order_needs_an_admitted_entry_of_its_account_and_uses_it(strategy):
    product, buyer, other = ProductFactory(on_hand=9), buying.account(), buying.account()
    sale = factories.create_sale(product, rate_per_minute=1)
    entry = factories.join(sale, buyer)
    factories.join(sale, other)
    assert refusal_of(partial(buy, product, buyer)).code == "admission_required"
    advancing.advance(sale.pk)

    refused = refusal_of(partial(buy, product, other))
    assert (refused.code, refused.extra) == ("admission_required", {"sales": [sale.pk]})
    placed = buy(product, buyer)
    again = refusal_of(partial(buy, product, buyer))

    assert again.code == "admission_required"
    used = SaleEntry.objects.get(pk=entry.id)
    assert (used.status, used.order_id) == ("used", placed.order.id)
    assert [line.sale_id for line in OrderLine.objects.all()] == [sale.pk]
    assert factories.join(sale, buyer).id == entry.id


@buying.by_two_strategies
def test_a_refused_order_leaves_its_entry(strategy):
    product, buyer = buying.product_and_buyer(on_hand=1)
    sale = factories.create_sale(product)
    entry = admitted(sale, buyer)

    assert refusal_of(lambda: buying.place(buyer, {product: 2})).code == "insufficient_stock"
    assert factories.statuses(entry) == ["admitted"]
    buy(product, buyer)
    assert factories.statuses(entry) == ["used"]


@buying.by_two_strategies
def test_products_of_two_sales_need_two_entries(strategy):
    buyer, products = buying.account(), ProductFactory.create_batch(3, on_hand=9)
    one, other = factories.create_sale(products[0]), factories.create_sale(products[1])
    admitted(one, buyer)
    wanted = dict.fromkeys(products, 1)

    refused = refusal_of(lambda: buying.place(buyer, wanted))
    assert (refused.code, refused.extra["sales"]) == ("admission_required", [other.pk])
    admitted(other, buyer)
    placed = buying.place(buyer, wanted)

    lines = OrderLine.objects.filter(order=placed.order.id).order_by("id")
    assert [line.sale_id for line in lines] == [one.pk, other.pk, None]
    assert SaleEntry.objects.filter(order=placed.order.id, status="used").count() == 2


@buying.by_two_strategies
@pytest.mark.parametrize("has_lapsed", [False, True], ids=["cancelled", "lapsed, before the sweep"])
def test_after_its_order_ended_unpaid_an_account_joins_at_the_end(strategy, has_lapsed):
    product, buyer = buying.product_and_buyer(on_hand=9)
    sale = factories.create_sale(product)
    entry = admitted(sale, buyer)
    placed = buy(product, buyer)
    assert factories.join(sale, buyer).id == entry.id

    if has_lapsed:
        buying.change_order(placed.order, expires_at=clock.now())
    else:
        buying.cancel(placed)
    again = factories.join(sale, buyer)

    assert again.id != entry.id
    assert factories.statuses(entry, again) == ["used", "waiting"]


def test_the_statuses_of_ended_orders_are_those_of_orders():
    assert set(entries.ENDED_UNPAID) == set(order_states.ENDED)
    assert entries.UNPAID == Order.Status.AWAITING_PAYMENT


def test_one_entry_is_used_by_one_of_many_orders_at_once(strategy):
    products, buyer = ProductFactory.create_batch(REQUESTS, on_hand=9), buying.account()
    sale = factories.create_sale(*products)
    admitted(sale, buyer)

    outcomes = race_each(lambda product: buy(product, buyer), products)

    assert kinds(outcomes) == {"PlacedOrder": 1, "admission_required": REQUESTS - 1}


def test_exactly_the_stock_is_sold_to_two_hundred_admitted_accounts(strategy):
    """200 buyers of up to 2 pieces each compete for 100."""
    product = ProductFactory(on_hand=100, limit_per_account=2)
    sale = factories.create_sale(product, rate_per_minute=12_000)
    buyers = accounts(200)
    for buyer in buyers:
        factories.join(sale, buyer)
    wait_until(lambda: advancing.advance(sale.pk) == 0)

    outcomes = kinds(race_each(lambda buyer: buying.place(buyer, {product: 2}), buyers))

    assert outcomes == {"PlacedOrder": 50, "insufficient_stock": 150}
    assert SaleEntry.objects.filter(status="used").count() == 50
    product.refresh_from_db()
    assert product.available == 0


def test_an_order_of_an_account_that_waits_is_refused_while_its_entry_is_locked(strategy):
    """The admission locks the entries that it admits, by their places: orders by accounts do not wait."""
    product, waiting, buyer = ProductFactory(on_hand=9), buying.account(), buying.account()
    sale = factories.create_sale(product, rate_per_minute=1)
    admitted(sale, buyer)
    entry = factories.join(sale, waiting)

    with holding("SELECT id FROM sales_saleentry WHERE id = %s FOR UPDATE", entry.id.hex), within(2):
        assert refusal_of(partial(buy, product, waiting)).code == "admission_required"
        buy(product, buyer)


def test_orders_and_the_admission_meet_no_deadlock():
    """Batches of orders by accounts that are next, whose places do not follow their ids."""
    products = ProductFactory.create_batch(REQUESTS, on_hand=100_000)
    sale = factories.create_sale(*products, rate_per_minute=20_000)
    accounts = [one.pk for one in AccountFactory.create_batch(ACCOUNTS)]
    random.Random(1).shuffle(accounts)
    factories.join_accounts(sale, accounts)
    has_ended, admissions = threading.Event(), list[int]()
    # How many transactions of this process were retried for a deadlock.
    retried = transactions.RETRIED.labels("deadlock")._value
    deadlocks = retried.get()

    def order(product):
        chance, outcomes = random.Random(product.pk), Counter[str]()
        while not has_ended.is_set():
            following = accounts[max(0, sum(admissions) - 2) :][:80]
            buyers = chance.sample(following, min(40, len(following)))
            wanted = [buying.order_request(id, product) for id in buyers]
            outcomes += kinds(group_commit.place_batch(wanted))
        return outcomes

    def admit():
        until = time.monotonic() + RACE_SECONDS
        try:
            while time.monotonic() < until:
                admissions.append(advancing.advance(sale.pk))
                # Many entries become due at a time, as with the ticks of a process.
                has_ended.wait(0.1)
        finally:
            has_ended.set()

    *ordered, error = race([*(partial(order, product) for product in products), admit])

    assert not [one for one in [*ordered, error] if isinstance(one, Exception)]
    assert sum(admissions) > 100
    outcomes = sum(ordered, Counter[str]())
    assert outcomes.keys() == {"PlacedOrder", "admission_required"}
    assert retried.get() == deadlocks


def test_a_check_before_the_lock_sells_after_the_pause(monkeypatch):
    """The twin: the sale is read before the stock is locked, as it was before the pause."""
    product = ProductFactory(on_hand=1_000)
    sale = factories.create_sale(product, admission="open")
    requests = [buying.request_of_newcomer(product) for _ in range(REQUESTS)]
    before = SaleTerms({sale.pk: sale.state})
    monkeypatch.setattr(rows, "read_terms", lambda *_, **__: before)

    def place(order_request):
        return transactions.run(lambda: decisions.decide([order_request]), transactions.KEYED)[0]

    outcomes = behind_a_pause(
        partial(factories.pause, sale), product, [partial(place, one) for one in requests], waiting=REQUESTS
    )

    assert kinds(outcomes) == {"PlacedOrder": REQUESTS}


@pytest.mark.usefixtures("unlawful")
def test_an_entry_that_is_read_and_used_without_lock_or_condition_is_used_twice(monkeypatch, settings):
    """The twin of one entry for many orders: without the condition of its UPDATE both orders are placed."""
    settings.INVENTORY_STRATEGY = "optimistic"
    products, buyer = ProductFactory.create_batch(REQUESTS, on_hand=9), buying.account()
    sale = factories.create_sale(*products)
    entry = admitted(sale, buyer)
    naive = AdmittedEntry(entry.id, from_now(seconds=60))
    monkeypatch.setattr(
        rows, "read_terms", lambda *_, **__: SaleTerms({sale.pk: sale.state}, {(sale.pk, buyer.id): naive})
    )
    monkeypatch.setattr(rows, "save_used", lambda *_, **__: None)

    outcomes = race_each(lambda product: buy(product, buyer), products)

    assert kinds(outcomes)["PlacedOrder"] == REQUESTS
    assert "L14" in [report.law for report in buying.broken_laws()]


@buying.by_two_strategies
def test_the_refusals_by_http(strategy):
    product, buyer = buying.product_and_buyer(on_hand=9)
    sale = factories.create_sale(product, opens_in=50)
    api = client_of(buyer)
    body = buying.order_of(product)

    early = api.post("/orders", body, key="a")
    assert problem_of(early) == (409, "sale_not_open")
    assert early.json()["sales"] == [sale.pk]
    assert 45 <= int(early["Retry-After"]) <= 50
    with shifted(seconds=51):
        without = api.post("/orders", body, key="a")
        assert problem_of(without) == (409, "admission_required")
        assert without.json()["sales"] == [sale.pk]
        admitted(sale, buyer.id)
        assert api.post("/orders", body, key="a").status_code == 201
    assert IdempotencyKey.objects.count() == 1
