"""The exports of orders, lines, refunds and coupons add up to the sales report of their days, to the unit."""

from datetime import timedelta

import pytest

from accounts.tests.clients import signed_in
from backoffice.accounting_exports import EXPORTS, PERMISSIONS
from backoffice.sales_report import AMOUNTS, Figures
from backoffice.tests.test_list_exports import rows_of, text_of
from backoffice.tests.test_sales_report import buy, give_back, products
from foundation import clock
from foundation.money import format_amount
from foundation.tests.factories import set_columns, staff_member
from foundation.tests.journal_lines import journal_line
from inventory.models import Product
from orders.tests import buying
from orders.tests.test_failed_refunds import handle as fail_at_the_gateway

__all__ = ["products"]
pytestmark = pytest.mark.django_db
RIGHTS = [*PERMISSIONS, *(one.permission for one in EXPORTS.values())]


@pytest.fixture
def accountant():
    return signed_in(staff_member(*RIGHTS, username="fina"))


def exported(client, name: str, **query) -> list[dict[str, str]]:
    """The rows of the file of today, after the minute that figures leave out, by the report's names."""
    with clock.shifted(by=timedelta(minutes=2)):
        today = clock.today().isoformat()
        days = {"since": today, "through": today} | query
        rows = rows_of(client.get(f"/admin/reports/exports/{name}/", days))
    return [{title.lower().replace(" ", "_"): cell for title, cell in row.items()} for row in rows]


def sums(rows: list[dict[str, str]], *columns: str) -> dict[str, int]:
    return {name: sum(int(row[name]) for row in rows) for name in columns}


def test_every_sum_is_that_of_the_report_with_all_its_rounding(accountant, products):
    tea, cup, pin = products
    Product.objects.filter(pk=pin.pk).update(name="=1+1")
    pin.refresh_from_db()
    percent = {"discount_type": "percent", "discount_value": 33}
    first = buy({tea: 3, cup: 1, pin: 5}, points=101, coupon=percent)
    second = buy({tea: 1, cup: 7, pin: 11}, points=997, coupon={"discount_value": 500})
    buy({pin: 1})
    for units in ({tea: 1, pin: 2}, {tea: 1}, {cup: 1}):
        give_back(first, units)
    give_back(second)
    placed = buying.place(buying.account(points=101), {cup: 2, pin: 1}, points=101, token="tok_ok")
    give_back(buying.advance(placed), {cup: 1})
    fail_at_the_gateway(placed)

    with clock.shifted(by=timedelta(minutes=2)):
        since, until = clock.day_bounds(clock.today())[0], clock.now() - timedelta(minutes=1)
        figures = Figures(since, until)
        figures.read()
    total = figures.total()
    sold = ["discount_amount", "items_amount", "sales_amount", "points_amount", "card_amount"]
    for name in ("orders", "lines"):
        rows = exported(accountant, name)
        assert sums(rows, "units", *sold) == {one: total[one] for one in ("units", *sold)}, name
    assert len(exported(accountant, "orders")) == total["orders"] == 4
    refunded = [name for name in AMOUNTS if name.startswith("refunded")]
    rows = exported(accountant, "refunds")
    assert sums(rows, *refunded) == {one: total[one] for one in refunded}
    assert {row["what"] for row in rows} == {"refunded", "failed"}
    coupons = exported(accountant, "coupons")
    assert sums(coupons, "discount_amount") == {"discount_amount": total["discount_amount"]}
    assert {row["coupon"] for row in coupons} == {first.coupon_code, second.coupon_code}
    by_sku = {row["sku"]: row["product_name"] for row in exported(accountant, "lines")}
    assert by_sku[pin.sku] == "'=1+1"

    with clock.shifted(by=timedelta(minutes=2)):
        day = clock.today().isoformat()
        said = text_of(accountant.get("/admin/reports/exports/sizes/", {"since": day, "through": day}))
    for amount in ("sales_amount", "refunded_amount", "discount_amount"):
        assert f"{amount.replace('_', ' ').capitalize()}: {format_amount(total[amount])}" in said, amount
    assert [f"{len(exported(accountant, name))} rows" in said for name in EXPORTS] == [True] * 4


def test_a_file_has_its_header_in_the_readers_language_and_the_shops_time_to_the_second(accountant, products):
    order = buy({products[0]: 1})
    with clock.shifted(by=timedelta(minutes=2)):
        [row] = rows_of(
            accountant.get(
                "/admin/reports/exports/orders/",
                {"since": clock.today().isoformat(), "through": clock.today().isoformat()},
                headers={"accept-language": "ko"},
            )
        )
    assert [*row][:4] == ["주문", "주문 ID", "결제일", "결제 시각"]
    assert row["결제 시각"] == f"{clock.local(order.paid_at):%Y-%m-%d %H:%M:%S}"


def test_days_are_the_shops(accountant, products, settings):
    order = buy({products[0]: 1})
    since, until = clock.day_bounds(clock.today())
    for at, days in ((since, 1), (since - timedelta(microseconds=1), 0), (until, 0)):
        set_columns(order, paid_at=at)
        with clock.shifted(by=timedelta(days=2)):
            found = exported(accountant, "orders", since=clock.day_of(since), through=clock.day_of(since))
        assert len(found) == days
        assert all(row["paid_on"] == clock.day_of(since).isoformat() for row in found)


def test_it_opens_with_last_month_and_is_journaled(accountant):
    page = accountant.get("/admin/reports/exports/")
    last = clock.today().replace(day=1) - timedelta(days=1)
    assert page.context["form"].data == {"since": f"{last.replace(day=1)}", "through": f"{last}"}
    assert f'/admin/reports/exports/?since={clock.today()}&amp;through={clock.today()}"' in page.text
    text_of(accountant.get("/admin/reports/exports/orders/"))
    line = journal_line("report.exported")
    assert (line.subject, line.actor_name, line.after["through"]) == ("report orders", "fina", f"{last}")


def test_each_file_needs_its_right_and_no_other_is_offered():
    client = signed_in(staff_member(*PERMISSIONS))
    page = client.get("/admin/reports/exports/")
    assert [address for address, _ in page.context["exports"]] == ["/admin/reports/exports/orders/"]
    for name in EXPORTS.keys() - {"orders"}:
        assert client.get(f"/admin/reports/exports/{name}/").status_code == 403
    text_of(client.get("/admin/reports/exports/orders/"))
    assert client.get("/admin/reports/exports/nothing/").status_code == 404
