"""The operators' page of one product: stock, sales, open orders, movements, and the limit's action."""

import re
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from inventory import stock_reports
from inventory.models import Product, StockMovement
from inventory.tests.factories import ProductFactory, StockMovementFactory
from shop import clock
from shop.models import JournalLine
from shop.tests.clients import client_of, signed_in
from shop.tests.confirming import confirmed, message_of, shown, to_confirm
from shop.tests.factories import AccountFactory
from shop.tests.racing import race
from shop.tests.test_account_page import buy, operator, rows

__all__ = ["operator"]
pytestmark = pytest.mark.django_db


@pytest.fixture
def tea() -> Product:
    return ProductFactory.create(sku="TEA", name="Tea", on_hand=20)


def page_of(product: Product) -> str:
    return reverse("product-page", args=[product.pk])


def limit_of(product: Product) -> str:
    return reverse("product-limit", args=[product.pk])


def sell(product: Product, units: int, **columns: Any) -> StockMovement:
    sold = {"kind": "sold", "delta": -units, "on_hand_after": 1}
    return StockMovementFactory.create(product=product, **sold, **columns)


def test_the_page_shows_the_stock_and_the_open_orders_that_hold_it(operator: Client, tea: Product) -> None:
    ada = AccountFactory(username="ada")
    order = buy(ada, tea, 5)
    cancelled = buy(ada, tea, 2)
    client_of(ada).post(f"/orders/{cancelled}/cancel")
    buy(ada, ProductFactory.create(on_hand=1), 1)

    page = operator.get(page_of(tea))

    facts = dict(page.context["facts"])
    assert [facts[name] for name in ("On hand", "Reserved by open orders", "Available")] == ["20", "5", "15"]
    assert [text for _, text in page.context["legend"]] == ["15 available", "5 reserved"]
    assert '<rect class="fc-reserved" x="900" width="300"' in page.content.decode()
    [held] = rows(page, "Open orders that hold it: 1")
    assert order in held[0] and "ada" in held[1] and held[3] == "5"


def test_sales_are_added_up_by_the_hour(operator: Client, tea: Product) -> None:
    this_hour = clock.now().replace(minute=0, second=0, microsecond=0)
    for hours, units in ((0, 2), (0, 3), (1, 4), (11, 5), (12, 6)):
        sell(tea, units, at=this_hour - timedelta(hours=hours))
    sell(ProductFactory.create(), 9)

    page = operator.get(page_of(tea))

    sales = page.context["sales"]
    assert [units for _, units in sales.by_hour] == [5, *[0] * 9, 4, 5]
    assert (sales.units, sales.is_complete) == (14, True)
    column = f'x="1100" width="88" height="100"><title>{this_hour:%H:%M}: 5 sold</title>'
    assert column in page.content.decode()


def test_a_movement_that_is_archived_while_sales_are_added_up_counts_as_older(
    operator: Client, tea: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page of its product was answered 500."""
    monkeypatch.setattr(stock_reports, "MOST_MOVEMENTS", 2)
    sell(tea, 1, at=clock.now() - timedelta(days=200))
    sell(tea, 1)
    archived: list[bool] = []

    def archive_between(execute: Any, sql: str, *rest: Any) -> Any:
        if "`at`" in sql.partition(" FROM ")[0] and "stockmovement" in sql and not archived:
            archived.append(True)
            StockMovement.objects.filter(at__lt=clock.now() - timedelta(days=100)).delete()
        return execute(sql, *rest)

    with connection.execute_wrapper(archive_between):
        sales = stock_reports.read_recent_sales(tea.pk)
    assert (sales.units, sales.is_complete, archived) == (1, True, [True])


def test_the_newest_movements_are_shown_with_a_link_to_the_list_of_all(
    operator: Client, tea: Product
) -> None:
    for number in range(60):
        StockMovementFactory.create(product=tea, on_hand_after=number)
    StockMovementFactory.create()
    page = operator.get(page_of(tea))
    assert [row[2] for row in rows(page, "Movements")] == [str(number) for number in range(59, 34, -1)]
    [section] = [one for one in page.context["sections"] if one["title"] == "Movements"]
    [address] = re.findall(r'href="([^"]+)"', section["all"])
    assert operator.get(address).context["cl"].queryset.count() == 61


def test_each_part_is_shown_with_the_permission_to_view_it(tea: Product) -> None:
    def shown_to(*permissions: str) -> tuple[list[str], bool, list[str]]:
        client = signed_in(AccountFactory(is_staff=True, permissions=permissions))
        page = client.get(page_of(tea))
        titles = [section["title"] for section in page.context["sections"]]
        return titles, "sales" in page.context, [button.title for button in page.context["buttons"]]

    view = "inventory.view_product"
    assert shown_to(view) == ([], False, [])
    assert shown_to(view, "inventory.view_stockmovement") == (["Movements"], True, [])
    assert shown_to(view, "orders.view_order") == (["Open orders that hold it: 0"], False, [])
    assert shown_to(view, "inventory.add_stockmovement")[2] == ["Move stock"]
    assert shown_to("inventory.change_product")[2] == ["Change the limit"]


def test_the_limit_is_changed_once_with_the_operator_and_the_reason(operator: Client, tea: Product) -> None:
    page = shown(operator, limit_of(tea), limit=3, reason="resellers")
    assert dict(page.context["preview"].facts)["Limit per account"] == "none → 3"
    sent = dict(page.context["hidden"]) | {"confirmed": "yes"}

    assert operator.post(limit_of(tea), sent)["Location"] == page_of(tea)
    assert message_of(operator, page_of(tea)) == "Limit per account of TEA: 3."
    assert confirmed(operator, limit_of(tea), limit="", reason="over").status_code == 302
    # The first form comes again, from a page that was left open: it has had its effect.
    operator.post(limit_of(tea), sent)

    tea.refresh_from_db()
    assert tea.limit_per_account is None
    lines = JournalLine.objects.filter(what="product.changed").order_by("id")
    assert [(line.actor_name, line.detail, line.before, line.after) for line in lines] == [
        ("olga", "resellers", {"limit_per_account": None}, {"limit_per_account": 3}),
        ("olga", "over", {"limit_per_account": 3}, {"limit_per_account": None}),
    ]


@pytest.mark.django_db(transaction=True)
def test_a_limit_that_is_sent_four_times_at_once_is_changed_once(operator: Client, tea: Product) -> None:
    sent = to_confirm(operator, limit_of(tea), limit=3, reason="resellers")
    responses = race([partial(operator.post, limit_of(tea), sent)] * 4)
    assert [response.status_code for response in responses] == [302] * 4
    assert JournalLine.objects.filter(what="product.changed").count() == 1
