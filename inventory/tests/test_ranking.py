"""Popular products: who is among them and where, from Redis and without it, and what is asked wrongly."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from django.test import Client

from accounts.tests.clients import faults
from foundation import clock
from foundation.operations.audits import laws
from foundation.tests.factories import set_columns
from foundation.tests.racing import wait_until
from inventory import ranking, rows
from inventory.models import ProductDay
from inventory.product_counts import DayChange
from inventory.tests.factories import ProductFactory
from scripts.stack import ports

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/products/ranking"


def sold(product, *units: int, refunded=0):
    """So many units were sold on the last day, on the one before it, and so on."""
    last = clock.today()
    with transaction.atomic():
        rows.add_to_days(
            DayChange(
                last - timedelta(days=back), product.pk, {"units_sold": sold, "units_refunded": refunded}
            )
            for back, sold in enumerate(units)
        )


def ranked(**query) -> list[tuple[int, int, int]]:
    """Rank, product and units."""
    answer = Client().get(ADDRESS, query)
    assert answer.status_code == 200, answer.content
    return [(one["rank"], one["product"], one["units"]) for one in answer.json()["results"]]


@pytest.fixture(params=["with Redis", "without Redis"])
def _both_ways(request, settings):
    if request.param == "without Redis":
        location = f"redis://{ports.HOST}:{ports.free()}/0"
        settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": location}}


@pytest.mark.usefixtures("_both_ways")
def test_the_ranking_is_of_units_sold_less_refunded_within_the_full_days_and_today_ties_by_product():
    first, second, third, returned, older, gone = ProductFactory.create_batch(6, on_hand=5)
    set_columns(gone, is_active=False)
    sold(second, 1, 0, 0, 2)
    sold(first, 3)
    sold(third, 9, refunded=5)
    sold(returned, 2, refunded=2)
    sold(older, 0, 0, 0, 0, 8)
    sold(gone, 99)
    assert ranked() == [(1, third.pk, 4), (2, first.pk, 3), (3, second.pk, 3)]
    assert ranked(limit=1) == [(1, third.pk, 4)]
    assert ranked(days=1) == [(1, third.pk, 4), (2, first.pk, 3), (3, second.pk, 1)]
    assert ranked(days=4)[0] == (1, older.pk, 8)
    yesterday = clock.today() - timedelta(days=1)
    assert ranked(date=yesterday.isoformat()) == [(1, older.pk, 8), (2, second.pk, 2)]
    assert ranked(date="0001-01-02", days=30) == []


def test_the_answer_says_what_it_is_of(settings):
    settings.SHOP_TIME_ZONE = "Asia/Seoul"
    product = ProductFactory(on_hand=5, reserved=5, name="Tea")
    sold(product, 2)
    before = clock.now()
    answer = Client().get(ADDRESS, {"days": "7", "limit": "100"}).json()
    as_of = datetime.fromisoformat(answer.pop("as_of"))
    assert before - timedelta(seconds=5) < as_of <= clock.now()
    assert answer == {
        "results": [
            {
                "rank": 1,
                "product": product.pk,
                "sku": product.sku,
                "name": "Tea",
                "units": 2,
                "available": 0,
                "availability": "reserved",
            }
        ],
        "days": 7,
    }
    # Of a day that has ended payments count up to its end, here by the clock of Seoul.
    ended = Client().get(ADDRESS, {"date": "2026-11-01"}).json()
    assert (ended["results"], ended["as_of"]) == ([], "2026-11-01T15:00:00Z")


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ({"days": "0"}, "days", "greater_than_equal"),
        ({"days": "31"}, "days", "less_than_equal"),
        ({"days": "1.0"}, "days", "int_parsing"),
        ({"limit": "0"}, "limit", "greater_than_equal"),
        ({"limit": "101"}, "limit", "less_than_equal"),
        ({"date": "20261101"}, "date", "date_parsing"),
        ({"date": "2026-02-30"}, "date", "date_parsing"),
        ({"date": "9999-12-30"}, "date", "in_future"),
        ({"offset": "5"}, "offset", "unknown_field"),
    ],
)
def test_what_is_asked_wrongly_is_named(query, field, code):
    refused = Client().get(ADDRESS, query)
    assert faults(refused) == [(field, code)]
    korean = Client().get(ADDRESS, query, headers={"accept-language": "ko"}).json()
    assert korean["errors"][0]["detail"] != refused.json()["errors"][0]["detail"]


def test_tomorrow_is_the_shops(settings):
    """The first instant of a day in Seoul is the afternoon before in UTC."""
    settings.SHOP_TIME_ZONE = "Asia/Seoul"
    at = datetime(2027, 3, 1, 15, 0, tzinfo=UTC)
    for seconds, day in ((-1, "2027-03-01"), (1, "2027-03-02")):
        with clock.shifted(by=at + timedelta(seconds=seconds) - clock.now()):
            assert clock.today().isoformat() == day
            assert Client().get(ADDRESS, {"date": day}).status_code == 200
            assert Client().get(ADDRESS, {"date": "2027-03-03"}).status_code == 400


@pytest.mark.usefixtures("_both_ways")
def test_many_that_are_sold_no_more_cost_few_queries(django_assert_max_num_queries):
    left, *gone = ProductFactory.create_batch(41)
    for product in gone:
        set_columns(product, is_active=False)
        sold(product, 2)
    sold(left, 1)
    with django_assert_max_num_queries(15):
        assert ranked(limit=1) == [(1, left.pk, 1)]


def test_a_product_shows_its_rank_of_three_days_and_none_beyond_100():
    products = ProductFactory.create_batch(102)
    for number, product in enumerate(products):
        sold(product, 200 - number)
    unsold = ProductFactory()
    sold(products[101], 0, 0, 0, 0, 999)
    shown = {}
    for product in (products[0], products[99], products[100], unsold):
        shown[product.pk] = Client().get(f"/api/v1/products/{product.pk}").json()["rank"]
    assert [*shown.values()] == [1, 100, None, None]
    listed = Client().get("/api/v1/products", {"search": products[99].sku}).json()
    assert [one["rank"] for one in listed["results"]] == [100]


def test_redis_is_filled_from_the_table_and_lost_again_without_harm(redis_server):
    product = ProductFactory()
    sold(product, 1, 2)
    assert ranked() == [(1, product.pk, 3)]
    keys = sorted(redis_server.scan_iter("firstcome:{ranking}:day:*"))
    assert len(keys) == 4
    today = keys[-1].decode()
    assert 0 < redis_server.ttl(today) <= ranking.LIVE_SECONDS < redis_server.ttl(keys[0]) <= 3_600
    redis_server.flushall()
    sold(product, 1)
    assert ranked() == [(1, product.pk, 4)]


def test_a_clock_that_is_set_back_over_midnight_finds_no_set_that_is_kept(redis_server):
    product, until_midnight = ProductFactory(), clock.day_bounds(clock.today())[1] - clock.now()
    sold(product, 1)
    with clock.shifted(by=until_midnight + timedelta(minutes=5)):
        assert ranked() == [(1, product.pk, 1)]
    sold(product, 1)
    assert ranked() == [(1, product.pk, 2)]
    with clock.shifted(by=until_midnight + timedelta(minutes=2)):
        assert ranked(days=1) == [(1, product.pk, 2)] and broken() == []


def test_a_payment_is_in_the_ranking_within_five_seconds(redis_server):
    product = ProductFactory()
    assert ranked() == [] and rank_of(product) is None
    sold(product, 1)
    wait_until(lambda: ranked() == [(1, product.pk, 1)] and rank_of(product) == 1, seconds=5)


def rank_of(product):
    return Client().get(f"/api/v1/products/{product.pk}").json()["rank"]


def test_a_set_in_redis_that_differs_from_the_table_breaks_l5_until_it_is_dropped(redis_server):
    product = ProductFactory()
    sold(product, 1, 2)
    assert ranked() and broken() == []
    yesterday = clock.today() - timedelta(days=1)
    redis_server.zadd(ranking.DAY_KEY.format(yesterday), {f"{product.pk:019}": -3})
    assert broken() == [f"ranking of {yesterday} in Redis"]
    redis_server.delete(ranking.DAY_KEY.format(yesterday))
    assert broken() == []


def broken() -> list[str]:
    [report] = [one for one in laws.audit() if one.law == "L5"]
    return [one for one in report.offenders if one.startswith("ranking")]


def test_the_ranking_is_read_by_the_tables_key(transactional_db):
    product, today = ProductFactory(), clock.today()
    rows = [
        ProductDay(day=today - timedelta(days=number), product=product, units_sold=1)
        for number in range(2_000)
    ]
    ProductDay.objects.bulk_create(rows)
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE TABLE inventory_productday")
    plan = ProductDay.objects.filter(day__range=(today - timedelta(days=3), today)).values("product_id")
    explained = plan.explain()
    assert "PRIMARY" in explained or "USING INDEX" in explained, explained
    assert ranked(days=30) == [(1, product.pk, 31)]
