"""Operators' pages of a campaign's list of accounts."""

from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.test import Client

from coupons import eligible_accounts
from coupons.models import Campaign
from coupons.restriction_models import EligibleAccount
from coupons.tests.factories import CampaignFactory, accounts
from shop.models import JournalLine
from shop.tests.confirming import confirmed
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def campaign() -> Campaign:
    return CampaignFactory.create(eligible="listed")


def page_of(campaign: Campaign, name: str) -> str:
    return f"/admin/coupons/campaign/{campaign.pk}/{name}/"


def send(client: Client, campaign: Campaign, step: str, data: bytes, first_line: int = 1) -> Any:
    address = f"{page_of(campaign, f'upload_accounts/{step}')}?{urlencode({'first_line': first_line})}"
    return client.post(address, data, content_type="text/csv", headers={"X-Reason": quote("Members.")})


def test_a_file_is_checked_and_then_added_and_any_piece_twice(operator: Client, campaign: Campaign) -> None:
    first, second = accounts(2)
    data = f"user\r\n{first}\r\n{second}\r\n".encode()

    checked = send(operator, campaign, "check", data).json()
    assert not EligibleAccount.objects.exists()
    added, again = (send(operator, campaign, "add", data).json() for _ in range(2))

    assert checked == {
        "codes": 2,
        "bad": [],
        "first": [str(first), str(second)],
        "in_pool": 0,
        "elsewhere": [],
    }
    assert added == {"added": 2, "total": 2, "in_pool": 0, "elsewhere": []}
    assert again == {"added": 0, "total": 2, "in_pool": 2, "elsewhere": []}
    [line] = JournalLine.objects.filter(what="campaign.accounts_listed")
    assert (line.actor_name, line.detail) == ("ada", "Members.")
    assert line.after == {"accounts": 2, "ids": sorted([first, second])}


def test_bad_lines_are_named_with_accounts_that_do_not_exist_and_nothing_is_added(
    operator: Client, campaign: Campaign
) -> None:
    [known] = accounts(1)
    data = f"{known}\nada\n999999999\n1,2\n".encode()

    checked = send(operator, campaign, "check", data, first_line=101).json()
    refused = send(operator, campaign, "add", data, first_line=101)

    assert [(bad["line"], bad["code"]) for bad in checked["bad"]] == [
        (102, "not_an_account"),
        (103, "unknown"),
        (104, "wrong_number_of_cells"),
    ]
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "users")
    assert not EligibleAccount.objects.exists()


def test_the_pages_need_the_right(campaign: Campaign) -> None:
    viewer = Client()
    viewer.force_login(AccountFactory.create(is_staff=True))
    for name in ("upload_accounts", "list_accounts"):
        assert viewer.get(page_of(campaign, name)).status_code == 403
    assert send(viewer, campaign, "add", b"1\n").status_code == 403


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
