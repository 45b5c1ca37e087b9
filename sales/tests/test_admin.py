"""Admin pages of sales and of the entries of their waiting rooms."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from inventory.models import Product
from inventory.tests.factories import ProductFactory
from sales import terms
from sales.models import Sale, SaleEntry
from sales.tests.factories import create_sale, join
from sales.waiting_room import draw
from shop import clock
from shop.models import JournalLine
from shop.operators.forms import SENT_BEFORE
from shop.tests.case_tables import in_one_test
from shop.tests.clients import signed_in
from shop.tests.factories import AccountFactory
from shop.tests.sent_forms import fields_of

pytestmark = pytest.mark.django_db
WHY = "It was announced so."
ADD, LIST, ENTRIES = "/admin/sales/sale/add/", "/admin/sales/sale/", "/admin/sales/saleentry/"


def new_form(*products: Product, **changed: Any) -> dict[str, Any]:
    """The form of a new sale, which opens tomorrow for a day."""
    opens_at = clock.now() + timedelta(days=1)
    return {
        "form_id": str(uuid7()),
        "name": "Drop",
        "products": [product.pk for product in products],
        "opens_at_0": f"{opens_at:%Y-%m-%d}",
        "opens_at_1": "12:00:00",
        "closes_at_0": f"{opens_at + timedelta(days=1):%Y-%m-%d}",
        "closes_at_1": "12:00:00",
        "admission": "queue",
        "rate_per_minute": 60,
        "admitted_for_seconds": 120,
    } | changed


def page_of(sale: Sale) -> str:
    return f"/admin/sales/sale/{sale.pk}/change/"


def shown(client: Client, page: str) -> str:
    return client.get(page).content.decode()


def change(client: Client, sale: Sale, **changed: Any) -> Any:
    """Send the sale's page with these fields changed, as a browser would."""
    page = shown(client, page_of(sale))
    products = re.findall(r'name="initial-products" value="(\d+)"', page)
    sent: dict[str, Any] = fields_of(page, reason=WHY) | {"initial-products": products, "products": products}
    return client.post(page_of(sale), sent | changed)


def test_a_sale_is_added_once_with_its_products(operator: Client) -> None:
    tea, mug = ProductFactory.create_batch(2)
    form = new_form(tea, mug)

    answers = [operator.post(ADD, form).status_code for _ in range(2)]

    sale = Sale.objects.get()
    assert answers == [302, 302]
    assert (sale.rate_per_minute, sale.admitted_for_seconds, sale.is_queued) == (60, 120, True)
    assert terms.product_ids_of(sale.pk) == {tea.pk, mug.pk}
    assert str(SENT_BEFORE) in shown(operator, LIST)
    assert LogEntry.objects.filter(object_id=str(sale.pk)).exists()


@in_one_test("value", ["0001-01-01", "1e400", "", "\x00", "²", "9" * 30, "9" * 5_000])
def test_products_that_are_no_ids_are_refused_in_a_message(value: str, operator: Client) -> None:
    tea = ProductFactory.create(on_hand=1)
    sale = create_sale(tea, opens_in=3_600, closes_in=7_200)

    added = operator.post(ADD, new_form(products=[tea.pk, value]))
    changed = change(operator, sale, products=[tea.pk, value])

    assert [added.status_code, changed.status_code] == [200, 200]
    assert all(f'<option value="{tea.pk}" selected' in one.content.decode() for one in (added, changed))
    assert Sale.objects.count() == 1


def test_a_change_is_journaled_with_its_reason_and_changes_nothing_else(operator: Client) -> None:
    sale = create_sale(opens_in=3_600, closes_in=7_200)

    answer = change(operator, sale, rate_per_minute=30)

    after = Sale.objects.get()
    line = JournalLine.objects.get(what="sale.changed")
    assert answer.status_code == 302
    assert (after.rate_per_minute, after.opens_at, after.version) == (30, sale.opens_at, 1)
    assert (line.detail, line.before, line.after) == (WHY, {"rate_per_minute": 600}, {"rate_per_minute": 30})
    assert change(operator, sale, rate_per_minute=20, reason="").status_code == 200
    assert Sale.objects.get().rate_per_minute == 30


def test_products_are_replaced_and_those_of_a_meanwhile_changed_sale_are_not(operator: Client) -> None:
    tea, mug = ProductFactory.create_batch(2, on_hand=1)
    sale = create_sale(tea, opens_in=3_600, closes_in=7_200)
    stale = fields_of(shown(operator, page_of(sale)), reason=WHY)

    change(operator, sale, products=[mug.pk])
    refused = operator.post(
        page_of(sale), stale | {"initial-products": [tea.pk], "products": [tea.pk, mug.pk]}
    )

    assert terms.product_ids_of(sale.pk) == {mug.pk}
    assert "changed since the page was opened" in refused.content.decode()


def test_the_seed_is_shown_nowhere_before_the_draw(operator: Client) -> None:
    sale = create_sale(opens_in=3_600, closes_in=7_200)
    join(sale)
    change(operator, sale, name="Other")
    operator.post(f"{page_of(sale).removesuffix('change/')}pause/", {"form_id": str(uuid7()), "reason": WHY})
    pages = [
        page_of(sale),
        f"{page_of(sale).removesuffix('change/')}history/",
        LIST,
        f"{LIST}?q={sale.seed}",
        "/admin/sales/sale/export/",
        ENTRIES,
        f"{ENTRIES}{SaleEntry.objects.get().pk}/change/",
        "/admin/sales/saleentry/export/",
        "/admin/",
        f"/admin/search/?q={sale.seed}",
    ]

    for page in pages:
        answer = operator.get(page)
        text = b"".join(answer) if answer.streaming else answer.content  # type: ignore[arg-type]
        # The search repeats what is searched for.
        assert sale.seed.encode() not in text or "?q=" in page, page
    stored = [*JournalLine.objects.values_list("before", "after", "detail"), *LogEntry.objects.values_list()]
    assert sale.seed not in str(stored)
    assert "Secret until the draw" in shown(operator, page_of(sale))

    Sale.objects.filter(pk=sale.pk).update(opens_at=clock.now())
    draw.close_if_due(Sale.objects.get())
    assert sale.seed in shown(operator, page_of(sale))


def test_no_filter_or_order_reads_the_seed_letter_by_letter(operator: Client) -> None:
    sale = create_sale(opens_in=3_600, closes_in=7_200)

    for asked in (f"seed__startswith={sale.seed[0]}", f"seed={sale.seed}"):
        assert "has no filter" in operator.get(f"{LIST}?{asked}", follow=True).content.decode()


def test_without_the_right_the_page_of_a_product_names_no_sale() -> None:
    product = ProductFactory.create(on_hand=1)
    sale = create_sale(product)
    viewer = signed_in(AccountFactory.create(is_staff=True, permissions=["inventory.view_product"]))

    assert page_of(sale) not in shown(viewer, reverse("product-page", args=[product.pk]))


def test_who_may_only_view_sees_the_terms_and_no_form() -> None:
    sale = create_sale(ProductFactory.create(sku="TEA-7"), opens_in=3_600, closes_in=7_200)
    viewer = signed_in(AccountFactory.create(is_staff=True, permissions=["sales.view_sale"]))

    page = shown(viewer, page_of(sale))

    assert "TEA-7" in page and sale.seed_hash in page
    assert 'name="rate_per_minute"' not in page and sale.seed not in page
