"""Dates at the ends of the calendar: refused or answered, and never an error, in any time zone."""

import pytest
from django.contrib import admin
from django.urls import reverse

from accounts.tests.clients import faults, new_superuser, signed_in
from backoffice.tests.rows_of_every_model import fill_all_models
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from foundation import literals
from foundation.tests.factories import SuperuserFactory

pytestmark = pytest.mark.django_db
ENDS = [
    *("0001-01-01", "0001-01-02", "9999-12-30", "9999-12-31"),
    *("0001-01-02T00:00:00Z", "9999-12-30T23:59:59.999999Z", "9999-12-31T00:00:00Z", "9999-12-31T23:59"),
]
ZONES = pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/Adak"])


def statuses(client, addresses: list[str]) -> dict[str, int]:
    found = {}
    for address in addresses:
        response = client.get(address)
        found[address] = response.status_code
        b"".join(response)
    return {address: status for address, status in found.items() if status >= 500}


@pytest.fixture
def operator():
    client = signed_in(SuperuserFactory())
    client.raise_request_exception = False
    return client


# Django warns of a date without a time zone that is typed into an address.
@pytest.mark.filterwarnings("ignore:DateTimeField .* received a naive datetime:RuntimeWarning")
def test_every_list_and_export_is_filtered_by_any_date(settings, operator):
    fill_all_models()
    settings.SHOP_TIME_ZONE = "America/Adak"
    addresses = []
    for model, pages in admin.site._registry.items():
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        dates = [one.name for one in model._meta.fields if one.get_internal_type() == "DateTimeField"]
        for column in [one for one in dates if one in pages.list_filter][:1]:
            lists = [reverse(f"admin:{name}_changelist"), f"/admin/{name.replace('_', '/')}/export/"]
            addresses += [f"{lists[0]}?{column}__gte={ENDS[0]}", f"{lists[0]}?{column}__lt={ENDS[3]}"]
            addresses += [f"{lists[1]}?{column}__gte={ENDS[0]}"]
    assert len(addresses) > 30
    assert statuses(operator, addresses) == {}


@pytest.mark.parametrize("page", ["", "figures/", "csv/"])
def test_the_sales_report_is_of_any_days(page, operator):
    days = [day for day in ENDS if len(day) == 10]
    addresses = [f"/admin/reports/sales/{page}?since={day}&through={day}" for day in days]
    assert statuses(operator, addresses) == {}
    beyond = operator.get("/admin/reports/sales/figures/?since=9999-12-01&through=9999-12-31")
    assert beyond.status_code == 400


@ZONES
@pytest.mark.parametrize("end", ENDS[4:6])
def test_what_opens_or_closes_at_the_ends_that_are_read_is_shown_in_every_time_zone(
    zone, end, settings, operator
):
    settings.SHOP_TIME_ZONE = zone
    times = {"opens_at": "0001-01-02T00:00:00Z"} | ({"closes_at": end} if end > "1" else {})
    body = {"name": "Always", "quantity": 5, "discount": {"type": "amount", "value": 1}, **times}
    api = new_superuser()
    assert api.post("/campaigns", body).status_code == 201
    pk = Campaign.objects.get().pk
    pages = [
        "/admin/",
        "/admin/coupons/campaign/",
        f"/admin/coupons/campaign/{pk}/change/",
        f"/admin/campaigns/{pk}/",
    ]
    assert statuses(operator, pages) == {}


@pytest.mark.parametrize("at", ["0001-01-01T23:59:59Z", "9999-12-31T00:00:00Z", "9999-12-30T23:00:00-02:00"])
def test_an_instant_beyond_them_is_refused(at):
    CampaignFactory()
    api, pk = new_superuser(), Campaign.objects.get().pk
    refused = api.patch(f"/campaigns/{pk}", {"closes_at": at})
    assert faults(refused) == [("closes_at", "value_error")]
    for read in (literals.instant, literals.instant_in_utc, literals.instant_or_wall_time):
        with pytest.raises(literals.NotOfTheForm):
            read(at)
    assert api.get(f"/products/ranking?date={at[:10]}").status_code in (200, 400, 404)
