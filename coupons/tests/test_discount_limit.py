"""A discount above `DISCOUNT_LIMIT_AMOUNT` takes two operators, by whatever call or page it is set."""

from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.tests.clients import client_of, signed_in
from coupons import campaigns
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from foundation.approval_models import Approval
from foundation.models import JournalLine
from foundation.tests.factories import SuperuserFactory, reloaded, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.sent_forms import fields_of

pytestmark = pytest.mark.django_db
ADD = "/admin/coupons/campaign/add/?template=amount"
LIST = "/admin/coupons/campaign/"
WAITS = (
    "A discount above 7,500 KRW takes two operators, and is asked for in the admin. "
    "Nothing is changed yet: another member of staff has to approve it."
)
REFUSED = (403, "approval_required")


@pytest.fixture(autouse=True)
def bound(settings):
    settings.DISCOUNT_LIMIT_AMOUNT = 7_500


@pytest.fixture
def clerk():
    rights = ["coupons.add_campaign", "coupons.change_campaign", "coupons.view_campaign"]
    return staff_member(*rights, username="clerk")


def body(value: int, **discount) -> dict[str, Any]:
    return {"name": "Autumn", "quantity": 3, "discount": {"type": "amount", "value": value} | discount}


def outcome(response) -> tuple[int, str]:
    return response.status_code, response.json().get("code", "")


def page_of(campaign, button="change") -> str:
    return f"{LIST}{campaign.pk}/{button}/"


def send(by: User, address: str, **changed: str):
    client = signed_in(by)
    return client.post(address, fields_of(client.get(address).text, **changed), follow=True)


def messages_of(page) -> list[str]:
    return [str(message) for message in page.context["messages"]]


def decide(by: User, approval, button="approve") -> list[str]:
    return messages_of(send(by, f"/admin/shop/approval/{approval.pk}/{button}/", reason="I agree."))


def test_a_campaign_with_a_larger_discount_is_refused_and_nothing_is_recorded(clerk):
    api = client_of(clerk)
    lines = JournalLine.objects.count()

    assert outcome(api.post("/campaigns", body(7_501))) == REFUSED
    assert outcome(api.post("/campaigns", body(10**12, max_discount_amount=100))) == REFUSED
    assert (Campaign.objects.count(), Approval.objects.count()) == (0, 0)
    assert JournalLine.objects.count() == lines
    assert outcome(api.post("/campaigns", body(7_500))) == (201, "")
    assert outcome(api.post("/campaigns", body(100, type="percent"))) == (201, "")
    assert outcome(api.post("/campaigns", body(0))) == (400, "invalid")


def test_a_change_to_a_larger_discount_is_refused_and_what_costs_nothing_is_not(clerk):
    api, campaign = client_of(clerk), CampaignFactory(discount_value=500)
    large = CampaignFactory(discount_value=8_000)
    percent = CampaignFactory(discount_type="percent", discount_value=90)
    discount = {"discount": {"value": 9_000}}

    assert outcome(api.patch(f"/campaigns/{campaign.pk}", discount | {"name": "Winter"})) == REFUSED
    assert outcome(api.patch(f"/campaigns/{large.pk}", {"quantity": 101})) == REFUSED
    for row in (campaign, large):
        before = campaigns.terms_of(row)
        assert campaigns.terms_of(reloaded(row)) == before
    assert outcome(api.patch(f"/campaigns/{large.pk}", {"name": "Spring"})) == (200, "")
    assert outcome(api.patch(f"/campaigns/{large.pk}", {"discount": {"value": 7_000}})) == (200, "")
    assert outcome(api.patch(f"/campaigns/{percent.pk}", {"quantity": 101})) == (200, "")
    assert not Approval.objects.exists()


def test_without_a_bound_and_for_commands_any_discount_is_set(clerk, settings):
    assert campaigns.create(**TERMS).discount_value == 10**12
    settings.DISCOUNT_LIMIT_AMOUNT = None
    assert outcome(client_of(clerk).post("/campaigns", body(10**12))) == (201, "")


TERMS = {"name": "Seed", "quantity": 1, "discount_type": "amount", "discount_value": 10**12}


def test_the_page_of_a_new_campaign_asks_and_it_is_created_once_another_approves(transactional_db, clerk):
    values = {"name": "Autumn", "discount_value": "88000", "opens_at": "2099-10-01T09:00:00"}
    for _ in range(2):
        assert messages_of(send(clerk, ADD, **values)) == [WAITS]
    [asked] = Approval.objects.all()
    assert (Campaign.objects.count(), asked.asker_name, asked.kind) == (0, "clerk", "campaign.create")
    boss = SuperuserFactory()
    shown = signed_in(boss).get("/admin/shop/approval/").text
    assert "Create a campaign" in shown and "88000" in shown and "Autumn" in shown

    assert decide(boss, asked) == ["Approved and done: Autumn."]

    campaign = Campaign.objects.get()
    assert (campaign.discount_value, campaign.opens_at.isoformat()) == (88_000, "2099-10-01T09:00:00+00:00")
    made = journal_line("campaign.created")
    assert (made.actor_id, made.actor_name) == (clerk.pk, "clerk")
    assert journal_line("approval.approved").actor_id == boss.pk


def test_a_campaigns_page_and_its_copy_ask_and_a_refused_one_changes_nothing(transactional_db, clerk):
    campaign, large = CampaignFactory(), CampaignFactory(name="Big", discount_value=9_999)
    changed = send(clerk, page_of(campaign), discount_value="12345", name="Better", reason="Sells badly.")
    copied = send(clerk, page_of(large, "duplicate"), opens_at="2099-01-01T00:00:00", reason="Again.")
    assert (messages_of(changed), messages_of(copied)) == ([WAITS], [WAITS])
    change, copy = Approval.objects.order_by("id")
    assert (change.subject, change.reason, copy.reason) == (
        f"campaign {campaign.pk}",
        "Sells badly.",
        "Again.",
    )
    assert change.arguments == {"campaign_id": campaign.pk, "name": "Better", "discount_value": 12_345}
    boss = SuperuserFactory()

    assert decide(boss, copy, "refuse") == ["Refused: nothing was done."]
    decide(boss, change)

    assert Campaign.objects.count() == 2
    campaign.refresh_from_db()
    assert (campaign.discount_value, campaign.name, campaign.version) == (12_345, "Better", 1)
    line = journal_line("campaign.changed")
    assert (line.actor_id, line.detail) == (clerk.pk, "Sells badly.")


def test_what_is_approved_is_checked_as_it_is_then(clerk):
    """The shared code was taken while the approval waited."""
    shared = {"code_source": "shared", "shared_code": "AUTUMN-2099"}
    opens_at = {"opens_at": "2099-10-01T09:00:00"}
    send(clerk, ADD, name="Autumn", discount_value="88000", **shared, **opens_at)
    CampaignFactory(**shared)
    [asked] = Approval.objects.all()

    send(SuperuserFactory(), f"/admin/shop/approval/{asked.pk}/approve/", reason="I agree.")

    asked.refresh_from_db()
    assert (asked.status, Campaign.objects.count()) == ("waiting", 1)
