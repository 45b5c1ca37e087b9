"""Times on the operators' pages are of the shop's zone, which they name."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from accounts.tests.clients import signed_in
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from foundation import clock
from foundation.models import JournalLine
from foundation.tests.factories import SuperuserFactory, reloaded
from foundation.tests.sent_forms import fields_of
from inventory.tests.factories import ProductFactory
from sales.models import Sale
from sales.tests.factories import create_sale

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def operator(settings):
    settings.SHOP_TIME_ZONE = "Asia/Seoul"
    return signed_in(SuperuserFactory())


def test_ten_oclock_in_seoul_is_when_a_campaign_and_a_sale_open(operator):
    for kind, model in (("coupons_campaign", Campaign), ("sales_sale", Sale)):
        page = reverse(f"admin:{kind}_add")
        shown = operator.get(page).text
        assert "Opens at (Asia/Seoul)" in shown and 'data-zone="Asia/Seoul"' in shown
        typed = {"name": "Drop", "opens_at": "2099-01-01T10:00:00", "closes_at": "2099-01-02T10:00:00"}
        typed |= {"products": ProductFactory().pk} if model is Sale else {"discount_type": "percent"}
        typed |= {} if model is Sale else {"discount_value": "10", "quantity": "5"}

        operator.post(page, fields_of(shown) | typed)

        row = model.objects.get()
        assert row.opens_at == datetime(2099, 1, 1, 1, tzinfo=UTC)
        change = operator.get(reverse(f"admin:{kind}_change", args=[row.pk])).text
        assert 'value="2099-01-01T10:00"' in change


def test_a_page_that_is_saved_as_it_is_shown_keeps_the_instants(operator):
    sale = create_sale(opens_in=3_600, closes_in=7_200)
    page = reverse("admin:sales_sale_change", args=[sale.pk])

    operator.post(page, fields_of(operator.get(page).text, name="Later", reason="A better name."))

    after = reloaded(sale)
    assert (after.name, after.opens_at, after.closes_at) == ("Later", sale.opens_at, sale.closes_at)


def test_lists_show_the_shops_time_and_the_api_utc(operator):
    at = clock.now().replace(hour=20, minute=30, second=0, microsecond=0) + timedelta(days=2)
    campaign = CampaignFactory(opens_at=at)

    page = operator.get(reverse("admin:coupons_campaign_changelist")).text

    assert "5:30 a.m." in page or "05:30" in page
    answer = operator.get(f"/api/v1/campaigns/{campaign.pk}").json()
    assert answer["opens_at"].startswith(f"{at:%Y-%m-%dT%H:%M}")


@pytest.mark.parametrize("address", ["", "export/"])
def test_days_of_the_journals_filters_are_the_shops_on_the_page_and_in_the_export(operator, address):
    at = datetime(2026, 3, 1, 20, tzinfo=UTC)  # early on the next day in Seoul
    JournalLine.objects.create(at=at, actor="system", what="test.noted", subject="x", detail="Early there.")

    def shows(**filters: str) -> bool:
        filters["actor__exact"] = "everything"
        answer = operator.get(f"/admin/shop/journalline/{address}", filters)
        return b"Early there." in b"".join(answer)

    assert shows(at_from="2026-03-02", at_to="2026-03-02")
    assert not shows(at_to="2026-03-01") and not shows(at_from="2026-03-03")
