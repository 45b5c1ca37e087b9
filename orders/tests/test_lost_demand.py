"""What is asked for and not sold counts once for each account, product and day, beside the requests' path."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import transaction

from accounts.personal_data import erasure
from accounts.tests.clients import client_of
from foundation import clock
from foundation.db import bulk_sql, transactions
from foundation.tests.factories import AccountFactory
from foundation.tests.racing import race
from inventory import adjustments, lost_demand, rows
from inventory.lost_demand import Loss
from inventory.models import LostDemand, Product, ProductDay
from inventory.product_counts import DayChange
from inventory.tests.factories import ProductFactory
from orders import cancellation, product_days as days_of_orders
from orders.tests import buying

pytestmark = pytest.mark.django_db(transaction=True)
REASONS = ("sold_out", "over_limit", "expired", "declined", "given_up")


def refused(account, product, units=1) -> str:
    answer = client_of(account).post("/orders", buying.order_of(product, quantity=units), key=str(uuid4()))
    assert answer.status_code == 409, answer.content
    return str(answer.json()["code"])


def lost(product) -> tuple[int, int, dict[str, int]]:
    """Once all is written, the units and their amount that were lost today, and accounts by reason."""
    lost_demand.write_waiting()
    assert not lost_demand._waiting
    row = ProductDay.objects.filter(day=clock.today(), product=product).first() or ProductDay()
    counts = {reason: getattr(row, f"lost_{reason}") for reason in REASONS}
    return row.lost_units, row.lost_amount, {reason: number for reason, number in counts.items() if number}


def test_a_refusal_counts_once_an_account_product_and_day_at_the_price_of_then():
    tea = ProductFactory(on_hand=2, price=500, limit_per_account=3)
    buyer, other = AccountFactory(), AccountFactory()
    assert refused(buyer, tea, 3) == "insufficient_stock"
    assert refused(buyer, tea, 3) == "insufficient_stock"
    assert refused(other, tea, 3) == "insufficient_stock"
    assert lost(tea) == (6, 3_000, {"sold_out": 2})
    Product.objects.update(price=700)
    adjustments.receive(product_id=tea.pk, quantity=7, reason="delivery")
    assert refused(AccountFactory(), tea, 4) == "purchase_limit_reached"
    assert refused(buyer, tea, 4) == "purchase_limit_reached"
    assert lost(tea) == (10, 5_800, {"sold_out": 2, "over_limit": 1})
    with clock.shifted(by=timedelta(days=1)):
        assert refused(buyer, tea, 4) == "purchase_limit_reached"
        assert lost(tea) == (4, 2_800, {"over_limit": 1})
    assert buying.broken_laws("L5") == []


def test_orders_that_expire_or_are_declined_are_lost_less_their_discounts(own_gateway):
    tea = ProductFactory(on_hand=9, price=500)
    buyer = buying.account()
    coupon = buying.coupon_code(buyer, discount_value=100)
    expired = buying.place(buyer, tea, coupon=coupon)
    buying.change_order(expired.order, expires_at=clock.now())
    assert cancellation.expire_due() == 1
    buying.buy(buying.account(), {tea: 2}, token="tok_declined")
    kept = buying.place(buying.account(), tea, token="tok_declined", keep_on_decline=True)
    assert buying.advance(kept).status == "awaiting_payment"
    assert lost(tea) == (3, 1_400, {"expired": 1, "declined": 1})
    buying.cancel(kept)
    assert lost(tea) == (3, 1_400, {"expired": 1, "declined": 1})


def test_a_crowd_that_is_refused_costs_no_statement_each_and_is_written_in_groups(
    django_assert_num_queries, django_assert_max_num_queries
):
    tea, day = ProductFactory(price=500), clock.today()
    losses = [Loss(day, tea.pk, number, "sold_out", 1) for number in range(1, 1_201)]
    with django_assert_num_queries(0):
        lost_demand.note(losses * 3)
    with django_assert_max_num_queries(30):
        assert lost_demand.write_waiting() == 1_200
    assert lost(tea) == (1_200, 600_000, {"sold_out": 1_200})


def test_what_waits_is_bounded_and_the_rest_is_lost(monkeypatch):
    monkeypatch.setattr(lost_demand, "MOST_WAITING", 3)
    tea = ProductFactory(price=500)
    lost_demand.note(Loss(clock.today(), tea.pk, number, "sold_out", 1) for number in range(1, 9))
    assert lost(tea) == (3, 1_500, {"sold_out": 3})


def test_two_processes_count_an_account_once():
    tea, day = ProductFactory(price=500), clock.today()
    groups = [[Loss(day, tea.pk, number, "sold_out", 1) for number in range(1, 41)] for _ in range(4)]
    write = lambda group: partial(transactions.run, partial(lost_demand._write, group), transactions.ONCE)  # noqa: E731
    outcomes = race([write(group) for group in groups])
    for group, outcome in zip(groups, outcomes, strict=True):
        if not isinstance(outcome, int):
            lost_demand.note(group)
    assert lost(tea) == (40, 20_000, {"sold_out": 40})


def test_those_that_other_processes_count_meanwhile_cost_no_others(monkeypatch):
    """At the second of them the whole group was lost."""
    tea, day = ProductFactory(price=500), clock.today()
    meanwhile, insert = iter((1, 2)), bulk_sql.insert

    def insert_after_another(table, *arguments, **more):
        if table is rows.LOSSES and (number := next(meanwhile, None)):
            theirs = {"day": day, "product": tea, "account_id": number, "units": 1, "amount": 500}
            with ThreadPoolExecutor(1) as other:
                other.submit(LostDemand.objects.create, **theirs, reason="sold_out").result()
        insert(table, *arguments, **more)

    monkeypatch.setattr(bulk_sql, "insert", insert_after_another)
    lost_demand.note(Loss(day, tea.pk, number, "sold_out", 1) for number in range(1, 41))
    assert lost(tea) == (38, 19_000, {"sold_out": 38})
    assert LostDemand.objects.count() == 40


def one_loss() -> tuple[Product, User]:
    """Two units of the product that the account did not get."""
    tea, account = ProductFactory(price=500), AccountFactory()
    lost_demand.note([Loss(clock.today(), tea.pk, account.pk, "sold_out", 2)])
    return tea, account


def test_rows_go_after_two_days_and_the_counts_stay():
    tea, _ = one_loss()
    before = lost(tea)
    for days, left in ((1, 1), (2, 0)):
        with clock.shifted(by=timedelta(days=days)):
            lost_demand.sweep()
            assert LostDemand.objects.count() == left
    assert lost(tea) == before == (2, 1_000, {"sold_out": 1})


def test_an_erased_account_leaves_no_row():
    tea, account = one_loss()
    assert lost(tea)[0] == 2
    erasure.start(account_id=account.pk, reason="asked")
    with clock.shifted(by=timedelta(minutes=1)):
        erasure.erase(account_id=account.pk, reason="asked")
    assert not LostDemand.objects.exists()


def test_a_rebuild_keeps_what_was_lost():
    tea, day = ProductFactory(price=500), clock.today()
    with transaction.atomic():
        numbers = {"lost_units": 2, "lost_amount": 900, "lost_expired": 1}
        rows.add_to_days([DayChange(day, tea.pk, numbers)])
    ProductDay.objects.update(units_sold=3)
    assert days_of_orders.rebuild(day) == 1
    assert lost(tea) == (2, 900, {"expired": 1})
