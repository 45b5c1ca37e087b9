"""Operators' pages of a campaign's list of accounts."""

from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from coupons import eligible_accounts
from coupons.models import Campaign, EligibleAccount
from coupons.tests.factories import CampaignFactory, accounts
from shop.models import JournalLine
from shop.tests.confirming import confirmed, message_of, said, shown, to_confirm

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(eligible="listed")


def page_of(campaign: Campaign, name: str) -> str:
    return f"/admin/coupons/campaign/{campaign.pk}/{name}/"


def values(data: bytes) -> dict[str, Any]:
    return {"file": SimpleUploadedFile("accounts.csv", data), "reason": "Members."}


def test_a_file_is_checked_and_then_added_and_any_file_twice(operator: Client, campaign: Campaign) -> None:
    first, second = accounts(2)
    page, data = page_of(campaign, "upload_accounts"), f"user\r\n{first}\r\n{second}\r\n".encode()

    checked = shown(operator, page, **values(data)).context["preview"]
    assert not EligibleAccount.objects.exists()
    reports = []
    for _ in range(2):
        campaign_page = confirmed(operator, page, **values(data))["Location"]
        reports.append(message_of(operator, campaign_page))

    assert checked.facts[:3] == [
        ("Accounts", "2"),
        ("Listed already: skipped", "0"),
        ("The first ones", f"{first}, {second}"),
    ]
    assert reports == ["2 added, 0 skipped, 2 in all.", "0 added, 2 skipped, 2 in all."]
    [line] = JournalLine.objects.filter(what="campaign.accounts_listed")
    assert (line.actor_name, line.detail) == ("ada", "Members.")
    assert line.after == {"accounts": 2, "ids": sorted([first, second])}


def test_bad_lines_are_named_with_accounts_that_do_not_exist_and_nothing_is_added(
    operator: Client, campaign: Campaign
) -> None:
    [known] = accounts(1)
    data = f"{known}\nada\n999999999\n1,2\n".encode()

    refused = confirmed(operator, page_of(campaign, "upload_accounts"), **values(data))

    named = [problem.split(":")[0] for problem in said(operator, refused)[1:]]
    assert named == ["Line 2", "Line 3", "Line 4"]
    assert not EligibleAccount.objects.exists()


def test_a_confirmed_form_is_checked_all_the_same(operator: Client, campaign: Campaign) -> None:
    [known] = accounts(1)
    page = page_of(campaign, "list_accounts")
    sent = to_confirm(operator, page, change="add", accounts=str(known), reason="Members.")
    refused = operator.post(page, sent | {"accounts": f"{known} ada"})
    assert "Nothing can be added" in said(operator, refused)[0]
    assert not EligibleAccount.objects.exists()


def test_accounts_are_added_and_removed_on_a_page_after_a_question(
    operator: Client, campaign: Campaign
) -> None:
    first, second = accounts(2)
    page = page_of(campaign, "list_accounts")

    confirmed(operator, page, change="add", accounts=f"{first}\n{second}", reason="Members.")
    assert eligible_accounts.listed(campaign_id=campaign.pk, account_ids=[first, second]) == {first, second}
    confirmed(operator, page, change="remove", accounts=f"{first}", reason="Left.")

    assert eligible_accounts.listed(campaign_id=campaign.pk, account_ids=[first, second]) == {second}
    assert JournalLine.objects.get(what="campaign.accounts_unlisted").detail == "Left."
    for wrong in ("ada", "999999999", ""):
        sent = {"change": "add", "accounts": wrong, "reason": "Members."}
        assert operator.post(page, sent).status_code == 200
    assert EligibleAccount.objects.count() == 1
