"""An account's place in a sale: it joins again while its order commits, or the payment of its order does."""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.apps import apps
from django.db import IntegrityError

from coupons.tests.factories import accounts
from foundation import clock
from foundation.tests.racing import wait_until
from foundation.tests.second_connection import holding, holding_row
from foundation.tests.waiting import in_background, waiting_at
from inventory.tests.factories import ProductFactory
from orders import cancellation
from orders.models import Order
from orders.tests import buying
from orders.tests.buying import refusal_of
from sales import rows
from sales.models import SaleEntry
from sales.order_checks import AdmittedEntry
from sales.tests import factories
from sales.tests.factories import admitted
from sales.waiting_room import advancing, rows as room_rows
from sales.waiting_room.entries import CurrentEntry, Status

pytestmark = pytest.mark.django_db(transaction=True)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def product():
    return ProductFactory(on_hand=9)


@pytest.fixture
def sale(product):
    return factories.create_sale(product)


def buy(product, account_id: int):
    return buying.order(account_id, product)


@contextmanager
def kept(statement: str, *parameters) -> Iterator[Callable[[], Any]]:
    """What the statement writes, not committed before the function is called."""
    with holding(statement, *parameters) as keeper:
        yield keeper.commit


def join_while_its_order_commits(sale, product, buyer: int) -> tuple[Any, Any]:
    """The entry that an order uses at the end of its time, and what a join finds that begins before."""
    entry = admitted(sale, buyer)
    order = buy(product, buyer)
    # As before the order's commit, which is written once more and kept.
    unused: dict[str, Any] = {"status": "admitted", "order": None, "holds_place": None}
    SaleEntry.objects.filter(pk=entry.id).update(**unused, admitted_until=clock.now() + MINUTE)
    use = rows.USE_ENTRIES.format(cases=f" WHEN '{entry.id.hex}' THEN '{order.id.hex}'", ids="%s")
    with kept(use, entry.id.hex) as commit, clock.shifted(by=2 * MINUTE):
        joining = in_background(partial(factories.join, sale, buyer))
        wait_until(lambda: waiting_at("%sales_saleentry%") == 1)
        commit()
        return entry, joining.result(30)


def join_while_its_payment_commits(sale, product, buyer: int) -> tuple[Any, Any]:
    """The entry of an order at the end of its time to pay, and what a join finds meanwhile."""
    entry = admitted(sale, buyer)
    order = buy(product, buyer)
    buying.change_order(order, expires_at=clock.now())
    with kept("UPDATE orders_order SET status = 'paying' WHERE id = %s", order.id.hex) as commit:
        joining = in_background(partial(factories.join, sale, buyer))
        wait_until(lambda: joining.done() or waiting_at("%orders_order%FOR UPDATE%") == 1)
        commit()
        return entry, joining.result(30)


JOINS = [join_while_its_order_commits, join_while_its_payment_commits]


def end(order_id):
    """End the order, which is open without a payment."""
    Order.objects.filter(id=order_id).update(status="awaiting_payment", expires_at=clock.now() + MINUTE)
    cancellation.cancel(order_id=order_id, account_id=None)


@pytest.mark.parametrize("join", JOINS)
def test_an_account_that_joins_while_its_order_or_payment_commits_keeps_its_place(join, sale, product):
    buyer = buying.account().id
    entry, joined = join(sale, product, buyer)

    assert (joined.id, joined.status) == (entry.id, "used")
    assert SaleEntry.objects.filter(account=buyer).count() == 1
    assert refusal_of(partial(buy, product, buyer)).code == "admission_required"
    assert buying.broken_laws("L16", "L14") == []
    end(SaleEntry.objects.get(pk=entry.id).order_id)
    assert factories.join(sale, buyer).id != entry.id


def _look_naively(entry, sale, now):
    status = sale.status_of_entry(entry.status, entry.admitted_until, now)
    return status in (Status.EXPIRED, Status.OVER) or entry.lapsed_order_id(now) is not None


@pytest.mark.usefixtures("unlawful")
@pytest.mark.parametrize("join", JOINS)
def test_without_the_lock_the_account_gets_a_second_place_and_without_the_key_a_second_order(
    join, sale, product, monkeypatch
):
    """The twin: what looks replaceable is neither locked nor read again, and a lapsed order is not ended."""
    buyer = buying.account().id
    monkeypatch.setattr(room_rows, "lock_entries", lambda _: None)
    monkeypatch.setattr(CurrentEntry, "is_replaceable", _look_naively)
    entry, joined = join(sale, product, buyer)
    assert joined.id != entry.id
    used = SaleEntry.objects.filter(pk=entry.id)
    used.update(holds_place=True)
    advancing.advance(sale.pk)

    assert refusal_of(partial(buy, product, buyer)).code == "admission_required", "its first order holds it"
    second = SaleEntry.objects.filter(pk=joined.id)
    with pytest.raises(IntegrityError, match="sales_saleentry_one_place_per_account"):
        second.update(holds_place=True)
    used.update(holds_place=None)
    order = buy(product, buyer)

    assert second.get().order_id == order.id
    [broken] = buying.broken_laws("L16")
    assert set(broken.offenders) == {str(entry.id), str(joined.id)}


def test_two_orders_of_an_account_that_holds_two_admitted_entries_are_one(sale, product, monkeypatch):
    """The key alone decides: neither has read that the other's entry holds the place."""
    buyer = buying.account().id
    entry = admitted(sale, buyer)
    SaleEntry.objects.filter(pk=entry.id).update(is_current=None)
    other = admitted(sale, buyer)
    both = [AdmittedEntry(one.id, clock.now() + MINUTE) for one in (entry, other)]

    def read(terms, pairs, *, is_locked):
        terms.entries[sale.pk, buyer] = both.pop()

    usual = rows._read_entries
    monkeypatch.setattr(rows, "_read_entries", lambda *a, **b: (read if both else usual)(*a, **b))
    buy(product, buyer)

    assert refusal_of(partial(buy, product, buyer)).code == "admission_required"
    assert Order.objects.count() == 1


@buying.by_two_strategies
def test_a_place_that_the_release_before_left_to_an_ended_order_is_free(strategy, sale, product):
    """It replaces entries, and writes no more than that they are not current."""
    buyer = buying.account().id
    entry = admitted(sale, buyer)
    cancellation.cancel(order_id=buy(product, buyer).id, account_id=buyer)
    SaleEntry.objects.filter(pk=entry.id).update(is_current=None)
    other = admitted(sale, buyer)

    order = buy(product, buyer)

    holding = SaleEntry.objects.filter(holds_place=True)
    assert [one.pk for one in holding] == [other.id]
    assert holding.get().order_id == order.id


def test_a_place_that_the_release_before_did_not_hold_is_not_given_away(sale, product):
    buyer = buying.account().id
    entry = admitted(sale, buyer)
    buy(product, buyer)
    SaleEntry.objects.filter(pk=entry.id).update(holds_place=None)
    assert factories.join(sale, buyer).id == entry.id


@pytest.mark.usefixtures("unlawful")
def test_the_migration_holds_the_places_of_open_and_paid_orders_one_for_each_account(
    sale, product, settings, monkeypatch
):
    places = importlib.import_module("sales.migrations.0003_places")
    monkeypatch.setattr(places, "ROWS", 2)
    buyers = accounts(5)
    used = {buyer: admitted(sale, buyer).id for buyer in buyers}
    orders = [buy(product, buyer) for buyer in buyers]
    cancellation.cancel(order_id=orders[0].id, account_id=buyers[0])
    # Of the last account, before the law.
    SaleEntry.objects.update(holds_place=None)
    SaleEntry.objects.filter(pk=used[buyers[4]]).update(is_current=None)
    admitted(sale, buyers[4])
    buy(product, buyers[4])
    SaleEntry.objects.update(holds_place=None)

    for _ in range(2):
        places.hold_places(apps, None)
        held = SaleEntry.objects.filter(holds_place=True)
        assert sorted(held.values_list("account", flat=True)) == sorted(buyers[1:])


@pytest.mark.usefixtures("unlawful")
def test_two_open_orders_of_one_account_in_a_sale_are_named_by_l16_alone(sale, product):
    buyer, other = buying.account().id, buying.account().id
    entry = admitted(sale, buyer)
    buy(product, buyer)
    admitted(sale, other)
    buy(product, other)
    assert buying.broken_laws() == []
    SaleEntry.objects.filter(pk=entry.id).update(is_current=None, holds_place=None)
    second = admitted(sale, buyer)
    order = buy(product, buyer)

    [broken] = buying.broken_laws()
    assert broken.law == "L16"
    assert set(broken.offenders) == {str(entry.id), str(second.id)}
    end(order.id)
    assert buying.broken_laws() == []


def test_a_join_does_not_wait_for_the_product_of_a_lapsed_order_and_repeated_it_gets_a_place(sale, product):
    buyer, other = buying.account().id, buying.account().id
    entry = admitted(sale, buyer)
    order = buy(product, buyer)
    buying.change_order(order, expires_at=clock.now())
    with holding_row(product):
        joins = [in_background(partial(factories.join, sale, account)) for account in (buyer, other)]
        kept, new = [joining.result(2) for joining in joins]
        assert (kept.id, kept.status, new.status) == (entry.id, "used", "waiting")
    assert factories.join(sale, buyer).id != entry.id
    assert buying.state_of(order) == "expired"
