"""The list of orders: a row for each in words, its filters, its sorting and its export."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from accounts.tests.clients import signed_in
from coupons.models import Campaign, Coupon
from foundation.tests.factories import SuperuserFactory, set_columns
from orders.models import Order
from orders.tests import operating_pages

pytestmark = pytest.mark.django_db
LIST = "/admin/orders/order/"


@pytest.fixture
def client():
    return signed_in(SuperuserFactory())


@pytest.fixture
def order():
    """A paid order with a coupon, its number known."""
    order = operating_pages.paid_order(discount=100)
    set_columns(order, number="K7QM42XD")
    return order


def cells(client, **query: str) -> list[str]:
    """The texts of the list's rows, without tags."""
    answer = client.get(LIST, query)
    pages = answer.context["cl"].model_admin
    shown = ("items", "total_figure", "buyer", "placed")
    return [
        " ".join(str(getattr(pages, name)(row)) for name in shown) for row in answer.context["cl"].result_list
    ]


def found(client, **query: str) -> list[str]:
    return [row.number for row in client.get(LIST, query).context["cl"].result_list]


def test_a_row_says_what_was_ordered_how_much_is_refunded_by_whom_and_when(client, order, unlawful):
    line = order.lines.get()
    set_columns(line, name="Stoneware mug")
    set_columns(order, refunded_amount=3)
    at = timezone.now() - timedelta(hours=3, minutes=5)
    set_columns(order, placed_at=at)

    [row] = cells(client)

    assert f"{line.quantity:,} × Stoneware mug" in row
    assert "refunded 3</span>" in row
    assert order.account.username in row
    assert f'title="{at:%Y-%m-%d %H:%M:%S} UTC">3 hours ago</time>' in row
    page = client.get(LIST).text
    assert f'href="{LIST}{order.pk}/change/"' in page
    assert "K7QM-42XD</span></a>" in page
    assert str(order.pk) not in page.replace(f"{LIST}{order.pk}/change/", "")


def test_orders_are_found_by_day_product_total_campaign_and_method(client, order):
    set_columns(order, placed_at=datetime(2026, 11, 21, 23, 59, tzinfo=UTC))
    product = order.lines.get().product
    campaign = Campaign.objects.get(pk=Coupon.objects.get(order=order).campaign_id)
    other = operating_pages.unpaid_order()
    total = f"{order.total_amount:,}"
    both = sorted(["K7QM42XD", Order.objects.get(pk=other.pk).number or ""])

    assert found(client, placed_at_from="2026-11-21", placed_at_to="2026-11-21") == ["K7QM42XD"]
    assert found(client, placed_at_from="2026-11-22", placed_at_to="2026-11-22") == []
    assert found(client, product=product.sku) == found(client, product=product.name.upper()) == ["K7QM42XD"]
    assert found(client, product="nothing") == found(client, campaign="nothing") == []
    set_columns(product, name="Green tea")
    buyer = order.account
    names = (product.sku, "green tea", "een te", buyer.email, buyer.username)
    for term in (*names, str(order.pk), "K7QM-42XD", "#K7QM-42XD", "42XD"):
        assert found(client, q=term) == ["K7QM42XD"], term
    assert "K7QM42XD" in found(client, total=total)
    assert "K7QM42XD" in found(client, total=f"1-{total}")
    assert found(client, total="900,000,000,000") == []
    assert found(client, campaign=campaign.name) == ["K7QM42XD"]
    methods = [found(client, method=name) for name in ("card", "points", "both", "free")]
    assert sorted(number or "" for numbers in methods for number in numbers) == both


@pytest.mark.parametrize("query", [{"total": "many"}, {"total": "5-"}, {"product": "x"}, {"campaign": "x"}])
def test_a_filter_that_finds_nothing_says_why(client, order, query):
    answer = client.get(LIST, query)
    assert list(answer.context["cl"].result_list) == []
    assert [str(one) for one in answer.context["messages"]]


def test_a_day_that_is_none_is_refused(client, order):
    answer = client.get(LIST, {"placed_at_from": "21/11/2026"}, follow=True)
    assert "“21/11/2026” is not a day. Write it as 2026-11-21." in answer.text


def test_the_oldest_orders_come_first_on_request_and_nothing_else_is_sorted(client, order):
    later = operating_pages.unpaid_order()
    newest_first = [row.pk for row in client.get(LIST).context["cl"].result_list]
    assert newest_first == [later.pk, order.pk]
    for query, expected in {"5": newest_first[::-1], "-5": newest_first, "": newest_first}.items():
        rows = client.get(LIST, {"o": query}).context["cl"].result_list
        assert [row.pk for row in rows] == expected, query
    assert "?o=5" in client.get(LIST).text
    assert "?o=3" not in client.get(LIST).text
