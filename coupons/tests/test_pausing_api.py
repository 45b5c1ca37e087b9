"""Pausing campaigns over HTTP."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from coupons.tests.test_campaigns_api import faults, refusal
from shop.models import JournalLine
from shop.tests.case_tables import in_one_test
from shop.tests.clients import Api, client_of
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db
WHY = {"reason": "The price is wrong."}


@pytest.fixture
def ada() -> User:
    return AccountFactory.create(is_staff=True, permissions=["coupons.change_campaign"])


@pytest.fixture
def staff(ada: User) -> Api:
    return client_of(ada)


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(name="Spring")


def paused(campaign: Campaign) -> str:
    return f"/campaigns/{campaign.pk}/pause"


def resumed(campaign: Campaign) -> str:
    return f"/campaigns/{campaign.pk}/resume"


def test_a_paused_campaign_is_409_until_it_is_resumed(staff: Api, campaign: Campaign) -> None:
    owner, late, body = AccountFactory.create(), AccountFactory.create(), {"campaign": campaign.pk}
    code = client_of(owner).post("/coupons", body).json()["code"]

    answer = staff.post(paused(campaign), WHY)

    assert (answer.status_code, answer.json()["status"]) == (200, "paused")
    assert answer.json() == client_of().get(f"/campaigns/{campaign.pk}").json()
    assert [row["status"] for row in client_of().get("/campaigns").json()["results"]] == ["paused"]
    refused = client_of(late).post("/coupons", body)
    assert refusal(refused) == (409, "campaign_paused")
    assert "Spring is paused" in refused.json()["detail"]
    assert "Retry-After" not in refused
    issuer = client_of(AccountFactory.create(is_staff=True, permissions=["coupons.add_coupon"]))
    assert refusal(issuer.post("/coupons", body | {"user": late.pk})) == (409, "campaign_paused")
    again = client_of(owner).post("/coupons", body)
    assert (again.status_code, again.json()["code"]) == (200, code)

    answer = staff.post(resumed(campaign), WHY)

    assert (answer.status_code, answer.json()["status"]) == (200, "open")
    assert client_of(late).post("/coupons", body).status_code == 201


def test_repeats_answer_the_same_and_note_nothing(staff: Api, ada: User, campaign: Campaign) -> None:
    for path, status in ((paused(campaign), "paused"), (resumed(campaign), "open")):
        answers = [staff.post(path, WHY) for _ in range(3)]
        assert [(one.status_code, one.json()["status"]) for one in answers] == [(200, status)] * 3

    lines = JournalLine.objects.filter(subject=f"campaign {campaign.pk}").order_by("id")
    assert [(line.what, line.actor, line.actor_id, line.detail) for line in lines] == [
        ("campaign.paused", "staff", ada.pk, WHY["reason"]),
        ("campaign.resumed", "staff", ada.pk, WHY["reason"]),
    ]


def test_a_waiting_ticket_is_202_and_the_same_while_it_is_paused(staff: Api) -> None:
    campaign = CampaignFactory.create(strategy="queue")
    owner, body = client_of(AccountFactory.create()), {"campaign": campaign.pk}
    ticket = owner.post("/coupons", body).json()["id"]
    staff.post(paused(campaign), WHY)

    again = owner.post("/coupons", body)

    assert (again.status_code, again.json()["id"], again.json()["status"]) == (202, ticket, "waiting")
    shown = owner.get(f"/queue-tickets/{ticket}")
    assert (shown.json()["status"], "Retry-After" in shown) == ("waiting", True)
    assert refusal(client_of(AccountFactory.create()).post("/coupons", body)) == (409, "campaign_paused")


@in_one_test(
    ("body", "fault"),
    [
        ({}, ("reason", "required")),
        ({"reason": ""}, ("reason", "string_pattern_mismatch")),
        ({"reason": "  "}, ("reason", "string_pattern_mismatch")),
        ({"reason": "x" * 501}, ("reason", "string_too_long")),
        ({"reason": "a\x00b"}, ("reason", "control_character")),
        ({"reason": "a", "until": "tomorrow"}, ("until", "unknown_field")),
    ],
)
def test_without_a_proper_reason_it_is_400_and_nothing_changes(
    staff: Api, campaign: Campaign, body: Any, fault: tuple[str, str]
) -> None:
    for path in (paused(campaign), resumed(campaign)):
        assert faults(staff.post(path, body)) == [fault]
    campaign.refresh_from_db()
    assert campaign.paused_at is None
