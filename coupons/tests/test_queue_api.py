"""Queue tickets over HTTP: drawing one, waiting, and every final status."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import User

from coupons.models import Campaign, Coupon, QueueTicket
from coupons.queue import worker
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken
from coupons.tests.test_api_decisions import ask
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(strategy="queue", quantity=2)


def test_a_ticket_waits_and_then_has_a_coupon(user: Api, campaign: Campaign) -> None:
    drawn = ask(user, campaign)

    ticket = drawn.json()
    assert drawn.status_code == 202
    assert ticket == {
        "id": str(QueueTicket.objects.get().pk),
        "campaign": campaign.pk,
        "status": "waiting",
        "ahead": 0,
        "coupon": None,
    }
    assert drawn["Location"] == f"/api/v1/queue-tickets/{ticket['id']}"
    assert drawn["Retry-After"] == "1"
    waiting = user.get(drawn["Location"])
    assert (waiting.status_code, waiting.json(), waiting["Retry-After"]) == (200, ticket, "1")

    worker.serve_once()
    issued = user.get(drawn["Location"])
    again = ask(user, campaign)

    assert "Retry-After" not in issued
    coupon = user.get(f"/coupons/{Coupon.objects.get().code}").json()
    assert coupon["position"] == 1
    assert issued.json() == ticket | {"status": "issued", "coupon": coupon}
    assert (again.status_code, again.json()) == (200, coupon)


def test_the_position_in_the_queue_advances(user: Api, campaign: Campaign, staff: Api) -> None:
    for account_id in accounts(2):
        ask(staff, campaign, user=account_id)
    drawn = ask(user, campaign)
    last = ask(client_of(AccountFactory.create()), campaign)

    assert (drawn.json()["ahead"], last.json()["ahead"]) == (2, 3)
    worker.serve_once()
    settled = user.get(drawn["Location"]).json()
    assert (settled["status"], settled["ahead"], settled["coupon"]) == ("sold_out", 0, None)
    refused = ask(user, campaign)
    assert (refused.status_code, refused.json()["code"]) == (409, "sold_out")
    assert broken() == {}


def test_staff_draw_a_ticket_for_another_account_and_see_it(
    account: User, campaign: Campaign, staff: Api
) -> None:
    drawn = ask(staff, campaign, user=account.pk)

    assert drawn.status_code == 202
    assert QueueTicket.objects.get().account_id == account.pk
    assert staff.get(drawn["Location"]).json() == drawn.json()
    assert client_of(account).get(drawn["Location"]).json() == drawn.json()


def test_the_ticket_of_another_account_and_a_missing_one_are_not_found(user: Api, campaign: Campaign) -> None:
    others = ask(client_of(AccountFactory.create()), campaign)["Location"]

    for path in (others, f"/queue-tickets/{uuid4()}", "/queue-tickets/one"):
        refused = user.get(path)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    assert client_of().get(others).status_code == 401


def test_staff_without_the_permission_see_only_their_own(campaign: Campaign) -> None:
    others = ask(client_of(AccountFactory.create()), campaign)["Location"]

    assert client_of(AccountFactory.create(is_staff=True)).get(others).status_code == 404
