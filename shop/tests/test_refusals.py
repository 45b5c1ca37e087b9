"""What a browser shows in the place of a page that is refused, or that doesn't exist."""

import pytest
from django.test import Client

from coupons.tests.factories import CampaignFactory
from shop.tests.clients import signed_in
from shop.tests.staff_groups import member_of

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_staff_groups")]
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
NAVIGATION = "/admin/board/"


def refusal(client: Client, path: str, status: int) -> str:
    answer = client.get(path, headers={"Accept": BROWSER})
    assert (answer.status_code, answer["Content-Type"]) == (status, "text/html; charset=utf-8"), path
    return str(answer.content.decode())


def test_a_page_that_is_refused_names_the_missing_right_and_the_groups_that_have_it() -> None:
    page = refusal(signed_in(member_of("Viewer")), "/admin/payments/payment/", 403)
    assert "payments.view_payment" in page
    assert "Members of these groups have it: Finance, Operations, Support." in page
    assert NAVIGATION in page


def test_only_the_rights_that_the_account_lacks_are_named() -> None:
    page = refusal(signed_in(member_of("Support")), "/admin/orders/order/export/", 403)
    assert ("shop.export_list" in page, "orders.view_order" in page) == (True, False)
    campaign = CampaignFactory.create()
    assert "rights" not in refusal(signed_in(member_of("")), f"/admin/campaigns/{campaign.pk}/", 403)


def test_an_address_without_a_page_is_said_to_staff_with_their_navigation_and_to_others_without() -> None:
    assert NAVIGATION in refusal(signed_in(member_of("Viewer")), "/admin/orders/nothing/", 404)
    for path in ("/nothing", "/demo/nothing"):
        assert NAVIGATION not in refusal(Client(), path, 404)


def test_programs_and_the_scripts_of_pages_get_problems() -> None:
    for accept in ("application/json", "*/*", ""):
        for path, status in (("/admin/payments/payment/", 403), ("/nothing", 404)):
            answer = signed_in(member_of("Viewer")).get(path, headers={"Accept": accept})
            assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    answer = Client().get("/api/v1/nothing", headers={"Accept": BROWSER})
    assert (answer.status_code, answer["Content-Type"]) == (404, "application/problem+json")
