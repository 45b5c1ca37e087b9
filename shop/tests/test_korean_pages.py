"""The operators' pages in Korean: every address, and the steps of actions, without English of ours."""

from collections.abc import Sequence
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from coupons.models import Campaign
from shop.models import IdempotencyKey, JournalLine
from shop.tests import admin_addresses
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.korean import KOREAN, english_in, texts_of_rows
from shop.tests.rolled_back import rolled_back
from shop.tests.test_admin_pages import _a_row_of_every_model
from shop.webhook_endpoints import endpoints

__all__ = ["_a_row_of_every_model"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_a_row_of_every_model")]


@pytest.fixture
def operator() -> Client:
    client = Client(headers=KOREAN)
    client.force_login(SuperuserFactory.create(username="Ada"))
    return client


def text_of(answer: Any) -> str:
    # Read to its end, a response in parts frees its place.
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    text: str = content.decode()
    return text


def leftovers(answer: Any, rows: Sequence[str] = ()) -> list[str]:
    """The English that the page still has; that it is not in Korean at all, if so."""
    page = text_of(answer)
    if not is_page(answer):
        return []
    is_korean = "<html" not in page or '<html lang="ko"' in page
    return english_in(page, rows or texts_of_rows()) if is_korean else ["no page in Korean"]


def is_page(answer: Any) -> bool:
    return answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")


def test_no_english_is_left_in_the_pages(operator: Client) -> None:
    endpoints.find()  # The built-in one is the first, as in a shop.
    rows, found = texts_of_rows(), {}
    for address in admin_addresses.addresses():
        # An export's line in the journal would be text of a row that is not known here.
        with rolled_back():
            found[address.written] = leftovers(operator.get(address.path), rows)
    assert "\n".join(f"{path}: {texts}" for path, texts in found.items() if texts) == ""
    assert len(found) > 200


@pytest.mark.parametrize("action", ["disable", "sign-out", "issue-coupon", "grant-points"])
def test_the_steps_of_an_action_and_what_it_did_are_in_korean_and_the_journal_is_not(
    operator: Client, action: str
) -> None:
    account, campaign = AccountFactory.create(username="Bob"), Campaign.objects.get()
    Campaign.objects.update(quantity=5)
    address = reverse(f"account-{action}", args=[account.pk])
    form = operator.get(address)
    fields = {
        "form_id": form.context["form"]["form_id"].value(),
        "reason": "Kim Minjun",
        "campaign": campaign.pk,
        "amount": 5,
    }

    pages = [form, operator.post(address, fields)] if form.context["action"].preview else [form]
    done = operator.post(address, fields | {"confirmed": "yes"}, follow=True)
    repeated = operator.post(address, fields | {"confirmed": "yes"}, follow=True)

    assert [leftovers(page) for page in (*pages, done)] == [[]] * (len(pages) + 1)
    assert "다시 처리하지 않았습니다" in text_of(repeated)
    lines = JournalLine.objects.filter(actor="staff")
    assert lines.exists()
    assert all(str(line.after).isascii() and line.detail.isascii() for line in lines)
    recorded = IdempotencyKey.objects.filter(account__username="Ada").values_list("body", flat=True)
    assert recorded
    assert all(body.isascii() for body in recorded)


def test_an_exported_list_and_its_line_in_the_journal_are_in_english(operator: Client) -> None:
    header = text_of(operator.get("/admin/shop/lawstatus/export/")).splitlines()
    assert header[0].isascii() or header[0].startswith("\ufeff")
    assert header[0].lstrip("\ufeff").startswith("law,says,answer,since")
    assert ",broken," in header[1]
    assert "answer" in JournalLine.objects.get(what="list.exported").after["columns"]
