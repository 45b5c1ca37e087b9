"""Who may make which call of the API: every route and method of the URL table has a line in
docs/reference/access.md.

What groups of staff may do beyond it is in rights.md, which test_rights compares. And every page,
in Korean.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from uuid import uuid4

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import URLPattern, reverse

from accounts.models import ApiKey
from accounts.tests.clients import client_of
from coupons.models import Campaign, Coupon, QueueTicket
from events.models import WebhookEndpoint
from events.webhooks import endpoints
from foundation.models import IdempotencyKey, JournalLine
from foundation.tests import admin_addresses, reference_tables
from foundation.tests.factories import AccountFactory, SuperuserFactory
from foundation.tests.journal_lines import journal_line
from foundation.tests.korean import KOREAN, english_in, texts_of_rows
from foundation.tests.rolled_back import rolled_back
from inventory.models import Product
from orders.models import Order
from payments.models import Payment
from sales.models import SaleEntry
from shop.urls import API

HEADING = "Who may make which call"
OPEN = "open"
"""The call is answered, or refused for its body alone."""
REFUSALS = {401: "401", 403: "403", 404: "404"}
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("_a_row_of_every_model")]


def calls() -> Iterator[tuple[str, str, URLPattern]]:
    for route in API:
        path = re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(route.pattern))
        for method in ("get", "post", "put", "patch", "delete"):
            if hasattr(route.callback.view_class, method):
                yield f"{method.upper()} /{path}", method, route


def access(api, method: str, path: str) -> str:
    """`open`, or the status that refuses the caller. Bodies are empty, so an open call changes little."""
    body = None if method == "get" else {}
    key = "" if method == "get" else uuid4().hex
    answer = api._call(method.upper(), path, body, key, {})
    assert answer.status_code < 500, (method, path, answer.content)
    is_problem = answer.headers["Content-Type"].startswith("application/problem")
    # The calls that sign in refuse what the body says, and no caller.
    is_about_the_body = is_problem and answer.json()["code"] in ("invalid_credentials", "token_invalid")
    return OPEN if is_about_the_body else REFUSALS.get(answer.status_code, OPEN)


@pytest.fixture
def owners():
    """By the name of a path's variable: a row, and its owner, None where it has none."""
    order, coupon, ticket = Order.objects.get(), Coupon.objects.get(), QueueTicket.objects.get()
    payment, entry = Payment.objects.get(), SaleEntry.objects.get()
    Product.objects.filter(pk=order.lines.get().product_id).update(reserved=1)
    return {
        "orders/{order_id}": (str(order.pk), User.objects.get(pk=order.account_id)),
        "coupons/{code}": (coupon.code, User.objects.get(pk=coupon.account_id)),
        "queue-tickets/{ticket_id}": (str(ticket.pk), User.objects.get(pk=ticket.account_id)),
        "payments/{payment_id}": (str(payment.pk), User.objects.get(pk=payment.account_id)),
        "sale-entries/{entry_id}": (str(entry.pk), User.objects.get(pk=entry.account_id)),
        "sales/{sale_id}": (str(entry.sale_id), None),
        "campaigns/{campaign_id}": (str(Campaign.objects.first().pk), None),
        "products/{product_id}": (str(Product.objects.first().pk), None),
        "webhooks/{gateway}": ("simulator", None),
        "webhook-endpoints/{endpoint_id}": (str(WebhookEndpoint.objects.first().pk), None),
        "api-keys/{key_id}": (str(ApiKey.objects.first().pk), None),
        "users/{user_id}": (str(order.account_id), User.objects.get(pk=order.account_id)),
    }


def concrete(name: str, owners: Mapping[str, tuple[str, User | None]]) -> tuple[str, User | None]:
    path = name.partition(" /")[2]
    for prefix, (value, owner) in owners.items():
        if path.startswith(prefix):
            rest = path.removeprefix(prefix).replace("{code}", "NONE").replace("{delivery_id}", "1")
            return f"/{prefix.partition('{')[0]}{value}{rest}", owner
    assert "{" not in path, f"name a row for {path} in `owners`"
    return f"/{path}", None


def test_every_route_and_method_is_open_to_those_that_the_table_says(owners):
    other, wrong = AccountFactory(), []
    for column in ("no account", "another account", "its owner"):
        actual = {}
        with rolled_back():
            for name, method, _ in calls():
                path, owner = concrete(name, owners)
                caller = {"no account": None, "another account": other, "its owner": owner}[column]
                is_asked = column != "its owner" or owner is not None
                actual[name] = access(client_of(caller), method, path) if is_asked else ""
        wrong.append(reference_tables.differences(HEADING, column, actual, page=reference_tables.ACCESS))
    assert not any(wrong), "\n".join(wrong)


@pytest.fixture
def operator():
    client = Client(headers=KOREAN)
    client.force_login(SuperuserFactory(username="Ada"))
    return client


def text_of(answer) -> str:
    # Read to its end, a response in parts frees its place.
    content = b"".join(answer.streaming_content) if answer.streaming else answer.content
    return content.decode()


def leftovers(answer, rows: Sequence[str] = ()) -> list[str]:
    """The English that the page still has; that it is not in Korean at all, if so."""
    page = text_of(answer)
    if not (answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/html")):
        return []
    is_korean = "<html" not in page or '<html lang="ko"' in page
    return english_in(page, rows or texts_of_rows()) if is_korean else ["no page in Korean"]


def test_no_english_is_left_in_the_pages_and_the_change_page_of_every_model_opens(operator):
    endpoints.find()  # The built-in one is the first, as in a shop.
    rows, found, changed = texts_of_rows(), {}, {}
    for address in admin_addresses.addresses():
        # An export's line in the journal would be text of a row that is not known here.
        with rolled_back():
            answer = operator.get(address.path)
            found[address.written] = leftovers(answer, rows)
            if address.written.endswith("/<id>/change/"):
                changed[address.written] = answer.status_code
    assert {path: status for path, status in changed.items() if status != 200} == {}
    assert len(changed) == len(admin.site._registry)
    assert "\n".join(f"{path}: {texts}" for path, texts in found.items() if texts) == ""
    assert len(found) > 200


@pytest.mark.parametrize("action", ["disable", "sign-out", "issue-coupon", "grant-points"])
def test_the_steps_of_an_action_and_what_it_did_are_in_korean_and_the_journal_is_not(operator, action):
    account, campaign = AccountFactory(username="Bob"), Campaign.objects.get()
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


def test_an_exported_list_and_its_line_in_the_journal_are_in_english(operator):
    header = text_of(operator.get("/admin/shop/lawstatus/export/")).splitlines()
    assert header[0].isascii() or header[0].startswith("\ufeff")
    assert header[0].lstrip("\ufeff").startswith("law,says,answer,since")
    assert ",broken," in header[1]
    assert "answer" in journal_line("list.exported").after["columns"]
