"""Products' days are what orders and refunds say, whatever happens to them, and can be computed again."""

import json
import random
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from functools import partial
from io import StringIO
from threading import Barrier, BrokenBarrierError
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.test import Client

from foundation import clock
from foundation.operations.audits import laws
from foundation.tests.factories import OrderFactory
from foundation.tests.instants import ago
from foundation.tests.racing import race
from inventory import availability, rows as stock_rows, stock_levels
from inventory.availability import Line
from inventory.models import ProductDay
from inventory.tests.factories import ProductFactory
from orders import product_days
from orders.models import Order, Refund
from orders.tests import buying, stepping
from orders.tests.owners import payment_of
from orders.tests.test_failed_refunds import handle as fail_at_the_gateway
from payments.reconciliation import reconciling
from payments.reconciliation.reconciling import Fix
from payments.tests.own_gateway import on_its_page

pytestmark = pytest.mark.django_db(transaction=True)
Numbers = tuple[int, int, int, int]


def stored(product) -> dict[str, Numbers]:
    """Units and amount that were sold and refunded, by the day."""
    columns = ("day", "units_sold", "sold_amount", "units_refunded", "refunded_amount")
    rows = ProductDay.objects.filter(product=product).order_by("day").values_list(*columns)
    return {day.isoformat(): tuple(numbers) for day, *numbers in rows}


def rows() -> list[Any]:
    return [*ProductDay.objects.order_by("day", "product_id").values_list()]


def rebuilt() -> dict[str, int]:
    """What the command says."""
    call_command("rebuild_product_days", "--json", stdout=(said := StringIO()))
    return dict(json.loads(said.getvalue()))


def assert_rebuilt_alike():
    """Every law holds, and the table computed again from nothing is the same."""
    assert buying.broken_laws() == []
    before = [one for one in rows() if any(one[2:])]
    ProductDay.objects.all().delete()
    assert {one.law for one in buying.broken_laws("L5")} == ({"L5"} if before else set())
    found = rebuilt()
    assert (found["wrong"], found["corrected"]) == (0, len(before))
    assert rows() == before
    assert rebuilt()["corrected"] == 0


def sell(product, units=1, **more) -> Order:
    return buying.buy(buying.account(points=500), {product: units}, **more)


def test_what_is_paid_and_refunded_counts_on_its_day_less_discounts():
    tea, pin = ProductFactory.create_batch(2, on_hand=9, price=500)
    today = clock.today().isoformat()
    buyer = buying.account(points=500)
    coupon = buying.coupon_code(buyer, discount_value=301)
    order = buying.buy(buyer, {tea: 2, pin: 1}, points=100, coupon=coupon)
    sell(tea, token="tok_declined")
    buying.place(buying.account(), tea)
    assert (stored(tea), stored(pin)) == ({today: (2, 800, 0, 0)}, {today: (1, 399, 0, 0)})
    buying.execute_refund(buying.refund(order, tea))
    assert stored(tea) == {today: (2, 800, 1, 400)}
    with clock.shifted(by=timedelta(days=1)):
        buying.execute_refund(buying.refund(order))
        tomorrow = clock.today().isoformat()
        assert stored(tea) == {today: (2, 800, 1, 400), tomorrow: (0, 0, 1, 400)}
        assert_rebuilt_alike()


def test_the_money_of_a_refund_that_fails_comes_back_and_its_units_stay_returned():
    tea = ProductFactory(on_hand=9, price=500)
    placed = buying.place(buying.account(points=500), {tea: 2}, token="tok_ok", points=100)
    order, day = buying.advance(placed), clock.today().isoformat()
    buying.execute_refund(buying.refund(order))
    assert stored(tea) == {day: (2, 1_000, 2, 1_000)}
    fail_at_the_gateway(placed)
    assert stored(tea) == {day: (2, 1_000, 2, 100)}
    assert_rebuilt_alike()
    buying.execute_refund(buying.refund(order))
    assert stored(tea) == {day: (2, 1_000, 2, 1_000)}
    assert_rebuilt_alike()


@pytest.mark.parametrize(
    ("zone", "midnight"),
    [
        ("Asia/Seoul", datetime(2027, 5, 1, 15, 0, tzinfo=UTC)),
        ("America/New_York", datetime(2027, 3, 14, 5, 0, tzinfo=UTC)),
        # The day before had 23 hours.
        ("America/New_York", datetime(2027, 3, 15, 4, 0, tzinfo=UTC)),
        # It had 25.
        ("America/New_York", datetime(2027, 11, 8, 5, 0, tzinfo=UTC)),
    ],
)
def test_a_day_begins_at_midnight_of_the_shops_time_zone(settings, zone, midnight):
    settings.SHOP_TIME_ZONE = zone
    tea = ProductFactory(on_hand=9, price=500)
    for instant in (midnight - timedelta(seconds=1), midnight):
        order = sell(tea)
        buying.change_order(order, paid_at=instant)
    ProductDay.objects.all().delete()
    last = clock.day_of(midnight)
    assert clock.day_bounds(last)[0] == clock.day_bounds(last - timedelta(days=1))[1] == midnight
    for day in (last - timedelta(days=1), last):
        product_days.rebuild(day)
    assert stored(tea) == {
        (last - timedelta(days=1)).isoformat(): (1, 500, 0, 0),
        last.isoformat(): (1, 500, 0, 0),
    }
    with clock.shifted(by=midnight - timedelta(milliseconds=500) - clock.now()):
        expected = clock.today()
        sell(tea)
    assert ProductDay.objects.filter(day__gte=expected).exists()


@pytest.mark.parametrize("seed", range(4))
def test_a_random_series_leaves_what_can_be_computed_again(seed, own_gateway):
    """Sales, refunds of items and of all, made here and at the gateway, failed ones, unpaid ends."""
    chance = random.Random(seed)
    products = ProductFactory.create_batch(3, on_hand=200, price=500)
    paid = []

    def buy(token):
        account = buying.account(points=300)
        lines = {product: chance.randint(1, 3) for product in chance.sample(products, chance.randint(1, 3))}
        coupon = buying.coupon_code(account, discount_value=77) if chance.random() < 0.4 else ""
        points = chance.choice([0, 0, 131])
        placed = buying.place(account, lines, token=token, points=points, coupon=coupon)
        if buying.advance(placed).status == "paid":
            paid.append(placed)

    def expire():
        order = buying.order(buying.account(), products[0])
        buying.change_order(order, expires_at=clock.now())

    def of_paid(work):
        if paid:
            work(chance.choice(paid))

    def refund(placed):
        order = buying.order_now(placed)
        left = [line for line in order.lines.all() if line.quantity > line.refunded_quantity]
        wanted = {line.product: 1 for line in left[:1]} if chance.random() < 0.6 else None
        if order.status == "paid" and left:
            buying.execute_refund(buying.refund(order, wanted))

    def fail(placed):
        if Refund.objects.filter(order=placed.order.id, source="staff", status="succeeded").exists():
            fail_at_the_gateway(placed)

    def give_back_there(placed):
        order = buying.order_now(placed)
        if order.status == "paid" and order.card_amount - order.refunded_amount > 40:
            on_its_page("/refunds", charge=payment_of(placed).charge_reference, amount=37)
            reconciling.reconcile(fix=Fix.OURS)

    acts = [
        partial(buy, "tok_ok"), partial(buy, "tok_ok"), partial(buy, "tok_declined"), expire,
        partial(of_paid, refund), partial(of_paid, refund), partial(of_paid, fail),
        partial(of_paid, give_back_there),
    ]  # fmt: skip
    for _ in range(24):
        chance.choice(acts)()
    assert paid and ProductDay.objects.exists()
    assert_rebuilt_alike()


def test_sales_and_refunds_of_the_same_products_at_once_are_all_counted():
    """Batches that settle at once add to the same rows, in the order of products."""
    products = ProductFactory.create_batch(3, on_hand=200, price=500)
    sold = [buying.place(buying.account(), dict.fromkeys(products, 1), token="tok_ok") for _ in range(8)]
    returned = [sell(products[0], 2) for _ in range(4)]
    refunds = [buying.refund(order, products[0]) for order in returned]
    race(
        [partial(stepping.advance, placed.started.saga.id) for placed in sold]
        + [partial(stepping.advance, started.saga_id) for started in refunds]
    )
    assert stored(products[0]) == {clock.today().isoformat(): (16, 8_000, 4, 2_000)}
    assert stored(products[2]) == {clock.today().isoformat(): (8, 4_000, 0, 0)}
    assert_rebuilt_alike()


def test_a_day_is_rebuilt_while_it_is_sold_on():
    """What is missing is added to the row as it is by then, so nothing that is sold meanwhile is lost."""
    tea = ProductFactory(on_hand=200, price=500)
    for _ in range(3):
        sell(tea)
    ProductDay.objects.update(units_sold=40, refunded_amount=7)
    placed = [buying.place(buying.account(), tea, token="tok_ok") for _ in range(8)]
    advances = [partial(stepping.advance, one.started.saga.id) for one in placed]
    race([*advances[:4], partial(product_days.rebuild, clock.today()), *advances[4:]])
    assert stored(tea) == {clock.today().isoformat(): (11, 5_500, 0, 0)}


def test_of_two_rebuilds_at_once_one_adds_what_is_missing(monkeypatch):
    sell(tea := ProductFactory(on_hand=9, price=500))
    ProductDay.objects.all().delete()
    differences, both_have_read = product_days.differences, Barrier(2)

    def read(day):
        found = differences(day)
        with suppress(BrokenBarrierError):
            both_have_read.wait(timeout=1)
        return found

    monkeypatch.setattr(product_days, "differences", read)
    assert sorted(race([partial(product_days.rebuild, clock.today())] * 2)) == [0, 1]
    assert stored(tea) == {clock.today().isoformat(): (1, 500, 0, 0)}


def test_a_settlement_that_is_rolled_back_is_not_counted():
    tea = ProductFactory(on_hand=9, price=500)
    with pytest.raises(RuntimeError), transaction.atomic():
        availability.reserve(stock := stock_rows.lock_stock([tea.pk]), [Line(tea.pk, 1)])
        stock_levels.save(stock)
        stock_levels.sell({OrderFactory().pk: [Line(tea.pk, 1, 500)]}, at=clock.now())
        assert stored(tea) == {clock.today().isoformat(): (1, 500, 0, 0)}
        raise RuntimeError
    assert stored(tea) == {}


DAMAGE = {
    "units": lambda: ProductDay.objects.update(units_sold=2),
    "amounts": lambda: ProductDay.objects.update(refunded_amount=1),
    "a row too much": lambda: ProductDay.objects.create(
        day=clock.today(), product=ProductFactory(), units_sold=1
    ),
    "a row too few": lambda: ProductDay.objects.all().delete(),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_breaks_l5_in_both_audits_until_it_is_rebuilt(damage):
    sell(ProductFactory(on_hand=9, price=500))
    assert buying.broken_laws() == []
    damage()
    [broken] = buying.broken_laws()
    assert broken.law == "L5" and broken.offenders[0].endswith(f"on {clock.today()}")
    [days] = [one for one in laws.SUBJECTS if one.name == "day"]
    [[law, check]] = days.checks
    assert (law, [check(chunk).holds for chunk in days.chunks()]) == ("L5", [False])
    assert rebuilt()["wrong"] == 0
    assert buying.broken_laws() == []


def test_days_before_the_table_are_rebuilt_from_the_latest_on(capsys):
    tea = ProductFactory(on_hand=9, price=500)
    old, new = (sell(tea) for _ in range(2))
    at = ago(days=3)
    buying.change_order(old, placed_at=at, paid_at=at)
    ProductDay.objects.all().delete()
    call_command("rebuild_product_days", "--since", clock.today().isoformat())
    assert stored(tea) == {clock.today().isoformat(): (1, 500, 0, 0)}
    call_command("rebuild_product_days")
    assert [*stored(tea)] == [clock.day_of(at).isoformat(), clock.day_of(new.paid_at).isoformat()]
    said = capsys.readouterr().out
    assert "1 days, 1 rows corrected, 0 still wrong." in said
    assert "4 days, 1 rows corrected, 0 still wrong." in said
    assert Client().get("/api/v1/products/ranking").json()["results"][0]["units"] == 2


def test_days_that_the_table_should_have_are_none_without_sales():
    assert product_days.days() == []
    assert rebuilt() == {"days": 0, "corrected": 0, "wrong": 0}
    assert product_days.differences(date(2026, 1, 1)) == []
