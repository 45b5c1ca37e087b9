"""Every page that changes a row can be saved in every state of the row, just as it is shown.

A campaign that had issued one coupon could not be saved: its form waited for a field that the page showed as
text.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from coupons import campaigns, pausing as campaign_pausing
from coupons.issuing import issuing
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from inventory import pausing as product_pausing
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from sales.tests.factories import create_sale
from shop import clock
from shop.models import JournalLine
from shop.tests.factories import AccountFactory
from shop.tests.sent_forms import fields_of

pytestmark = pytest.mark.django_db(transaction=True)


def campaign(**terms: Any) -> Campaign:
    return CampaignFactory.create(**terms)


def with_a_coupon(**terms: Any) -> Campaign:
    products = terms.pop("products", None)
    made = campaign(**terms)
    if products:
        campaigns.change(campaign_id=made.id, products=products)
    issuing.issue(campaign_id=made.id, user_id=AccountFactory.create().id)
    return Campaign.objects.get(id=made.id)


def paused_campaign() -> Campaign:
    made = with_a_coupon()
    campaign_pausing.pause(campaign_id=made.id, reason="a test")
    return Campaign.objects.get(id=made.id)


def ordered_product() -> Product:
    product = ProductFactory.create(on_hand=5, price=500)
    buying.place(buying.account().id, {product: 1})
    return Product.objects.get(id=product.id)


def paused_product() -> Product:
    product = ordered_product()
    product_pausing.pause(product_id=product.id, reason="a test")
    return Product.objects.get(id=product.id)


ROWS: dict[str, Callable[[], Model]] = {
    "campaign, scheduled": lambda: campaign(opens_at=clock.now() + timedelta(days=1)),
    "campaign, open": campaign,
    "campaign, with a coupon": with_a_coupon,
    "campaign, with a coupon and products": lambda: with_a_coupon(products=[ProductFactory.create().id]),
    "campaign, with a pool": lambda: campaign(code_source="pool"),
    "campaign, shared": lambda: campaign(code_source="shared", shared_code="A-SHARED-CODE"),
    "campaign, sold out": lambda: with_a_coupon(quantity=1),
    "campaign, paused": paused_campaign,
    "campaign, closed": lambda: campaign(
        opens_at=clock.now() - timedelta(days=2), closes_at=clock.now() - timedelta(days=1)
    ),
    "product": ProductFactory.create,
    "product, ordered": ordered_product,
    "product, paused": paused_product,
    "product, inactive": lambda: ProductFactory.create(is_active=False),
    "sale, scheduled": lambda: create_sale(ProductFactory.create(), opens_in=3_600, closes_in=7_200),
    "sale, scheduled, with a queue": lambda: create_sale(
        ProductFactory.create(), opens_in=3_600, closes_in=7_200, admission="queue", rate_per_minute=60
    ),
    "sale, open": lambda: create_sale(ProductFactory.create()),
    "account": lambda: AccountFactory.create(),
    "account, staff": lambda: AccountFactory.create(is_staff=True),
    "account, disabled": lambda: AccountFactory.create(is_active=False),
    "group": lambda: Group.objects.create(name="some of the staff"),
}


def values_of(row: Model) -> dict[str, Any]:
    """The row's columns; instants to the second, as Django's page of an account sends them."""
    values: dict[str, Any] = type(row)._base_manager.filter(pk=row.pk).values().get()
    return {
        name: value.replace(microsecond=0) if isinstance(value, datetime) else value
        for name, value in values.items()
        if name != "version"
    }


def test_every_model_whose_rows_can_be_changed_is_in_the_list(operator: Client, rf: Any) -> None:
    request = rf.get("/")
    request.user = User.objects.get(username="ada")
    changed = {model for model, pages in admin.site._registry.items() if pages.has_change_permission(request)}
    assert changed == {type(make()) for make in ROWS.values()}, changed


@pytest.mark.parametrize("name", ROWS)
def test_a_page_is_saved_as_it_is_shown(name: str, operator: Client) -> None:
    row = ROWS[name]()
    before = values_of(row)
    page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])

    shown = fields_of(operator.get(page).content.decode(), reason="saved as it was shown")
    answer = operator.post(page, shown, follow=True)

    context = answer.context or {}
    wrong = context["adminform"].errors if "adminform" in context else ""
    assert [str(one) for one in context.get("messages", ())] and not wrong, wrong
    assert "changed successfully" in answer.content.decode()
    assert values_of(row) == before


def test_a_campaigns_name_is_changed_after_a_coupon_was_issued(operator: Client) -> None:
    made = with_a_coupon()
    page = reverse("admin:coupons_campaign_change", args=[made.id])
    shown = fields_of(operator.get(page).content.decode(), reason="a clearer name", name="The clearer name")

    operator.post(page, shown)

    made.refresh_from_db()
    assert (made.name, made.issued) == ("The clearer name", 1)
    line = JournalLine.objects.filter(subject=f"campaign {made.id}", detail="a clearer name").get()
    assert line.actor_name == "ada"
