"""The exports of orders, lines, refunds and coupons add up to the sales report of their days, to the unit."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.tests.clients import signed_in
from backoffice.accounting_exports import EXPORTS, PERMISSIONS
from backoffice.sales_report import AMOUNTS, Figures
from backoffice.tests.test_list_exports import rows_of, text_of
from backoffice.tests.test_sales_report import buy, give_back, products
from foundation import clock
from foundation.tests.factories import set_columns, staff_member
from foundation.tests.journal_lines import journal_line
from inventory.models import Product
from orders.tests import buying
from orders.tests.test_failed_refunds import handle as fail_at_the_gateway

__all__ = ["products"]
pytestmark = pytest.mark.django_db
RIGHTS = [*PERMISSIONS, *(one.permission for one in EXPORTS.values())]


@pytest.fixture
def accountant() -> Client:
    return signed_in(staff_member(*RIGHTS, username="fina"))


def exported(client: Client, name: str, **query: Any) -> list[dict[str, str]]:
    """The rows of the file of today, after the minute that figures leave out."""
    with clock.shifted(by=timedelta(minutes=2)):
        today = clock.today().isoformat()
        days = {"since": today, "through": today} | query
        return rows_of(client.get(f"/admin/reports/exports/{name}/", days))


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
