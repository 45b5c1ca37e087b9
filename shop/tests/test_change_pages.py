"""Every page that changes a row can be saved in every state of the row, just as it is shown, or paused.

A campaign that had issued one coupon could not be saved: its form waited for a field that the page showed as
text.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group, User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from accounts.tests.clients import signed_in
from coupons import campaigns, issuing
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory
from foundation.models import JournalLine
from foundation.tests.factories import AccountFactory, staff_member
from foundation.tests.instants import ago, from_now
from foundation.tests.journal_lines import journal_line
from foundation.tests.sent_forms import fields_of
from inventory import products
from inventory.models import Product
from inventory.tests.factories import ProductFactory
from orders.tests import buying
from sales.tests.factories import create_sale

pytestmark = pytest.mark.django_db(transaction=True)


def with_a_coupon(**terms) -> Campaign:
    products = terms.pop("products", None)
    made = CampaignFactory(**terms)
    if products:
        campaigns.change(campaign_id=made.id, products=products)
    issuing.issue(campaign_id=made.id, user_id=AccountFactory().id)
    return made


def ordered_product() -> Product:
    product = ProductFactory(on_hand=5, price=500)
    buying.place_for_newcomer(product)
    return product


ROWS = {
    "campaign, scheduled": lambda: CampaignFactory(opens_at=from_now(days=1)),
    "campaign, open": CampaignFactory.create,
    "campaign, with a coupon": with_a_coupon,
    "campaign, with a coupon and products": lambda: with_a_coupon(products=[ProductFactory().id]),
    "campaign, with a pool": lambda: CampaignFactory(code_source="pool"),
    "campaign, shared": lambda: CampaignFactory(code_source="shared", shared_code="A-SHARED-CODE"),
    "campaign, sold out": lambda: with_a_coupon(quantity=1),
    "campaign, paused": lambda: campaigns.set_paused(
        campaign_id=with_a_coupon().id, is_paused=True, reason="a test"
    ),
    "campaign, closed": lambda: CampaignFactory(opens_at=ago(days=2), closes_at=ago(days=1)),
    "product": ProductFactory.create,
    "product, ordered": ordered_product,
    "product, paused": lambda: products.set_paused(
        product_id=ordered_product().id, is_paused=True, reason="a test"
    ),
    "product, inactive": lambda: ProductFactory(is_active=False),
    "sale, scheduled": lambda: create_sale(ProductFactory(), opens_in=3_600, closes_in=7_200),
    "sale, scheduled, with a queue": lambda: create_sale(
        ProductFactory(), opens_in=3_600, closes_in=7_200, admission="queue", rate_per_minute=60
    ),
    "sale, open": lambda: create_sale(ProductFactory()),
    "account": lambda: AccountFactory(),
    "account, staff": lambda: staff_member(),
    "account, disabled": lambda: AccountFactory(is_active=False),
    "group": lambda: Group.objects.create(name="some of the staff"),
}


def values_of(row: Model) -> dict[str, Any]:
    """The row's columns; instants to the second, as Django's page of an account sends them."""
    values: dict[str, Any] = type(row)._base_manager.filter(pk=row.pk).values().get()
    return {
        name: value.replace(microsecond=0) if isinstance(value, datetime) else value
        for name, value in values.items()
        if name != "version"
    }


def test_every_model_whose_rows_can_be_changed_is_in_the_list(operator, rf):
    request = rf.get("/")
    request.user = User.objects.get(username="ada")
    changed = {model for model, pages in admin.site._registry.items() if pages.has_change_permission(request)}
    assert changed == {type(make()) for make in ROWS.values()}, changed


@pytest.mark.parametrize("name", ROWS)
def test_a_page_is_saved_as_it_is_shown(name, operator):
    row = ROWS[name]()
    before = values_of(row)
    page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])

    shown = fields_of(operator.get(page).text, reason="saved as it was shown")
    answer = operator.post(page, shown, follow=True)

    context = answer.context or {}
    wrong = context["adminform"].errors if "adminform" in context else ""
    assert [str(one) for one in context.get("messages", ())] and not wrong, wrong
    assert "changed successfully" in answer.text
    assert values_of(row) == before


KINDS = {
    "campaign": ("coupons", CampaignFactory.create_batch),
    "product": ("inventory", ProductFactory.create_batch),
    "sale": ("sales", lambda count: [create_sale(name=f"Drop {number}") for number in range(count)]),
}
WHY = "The price is wrong."


@pytest.fixture(params=KINDS)
def kind(request):
    return str(request.param)


@pytest.fixture
def account(kind):
    """An operator who may view and change rows of the kind."""
    rights = [f"{KINDS[kind][0]}.{right}_{kind}" for right in ("view", "change")]
    return staff_member(*rights)


def page(kind: str, name: str, *arguments) -> str:
    return reverse(f"admin:{KINDS[kind][0]}_{kind}_{name}", args=arguments)


def press(client, kind: str, row: Model, button: str, **fields: str):
    return client.post(page(kind, button, row.pk), {"form_id": str(uuid7())} | fields)


def select(client, kind: str, rows: Sequence[Model], action: str, **fields: str):
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(page(kind, "changelist"), chosen | fields)


def are_paused(rows: Sequence[Any]) -> list[bool]:
    for row in rows:
        row.refresh_from_db()
    return [row.paused_at is not None for row in rows]


def shown(client, address: str) -> str:
    return client.get(address).text


def test_the_page_has_one_button_of_the_two_which_acts_at_once_and_the_reason_comes_after(kind, account):
    [row] = KINDS[kind][1](1)
    client, own = signed_in(account), page(kind, "change", row.pk)
    back = reverse("product-page", args=[row.pk]) if kind == "product" else own
    pause, resume = page(kind, "pause", row.pk), page(kind, "resume", row.pk)
    assert (pause in shown(client, own), resume in shown(client, own)) == (True, False)
    for button in (pause, resume):
        assert client.get(button).status_code == 405
    for wrong in ("", "  ", "x" * 501):
        for button in ("pause", "resume"):
            assert press(client, kind, row, button, reason=wrong)["Location"] == back
    assert are_paused([row]) == [False]

    answer = client.post(pause)

    assert answer["Location"] == back
    assert are_paused([row]) == [True]
    for after in (shown(client, own), shown(client, back)):
        assert "Undo" in after and "Why?" in after
        assert (pause in after, resume in after) == (False, True)
    assert client.post(pause)["Location"] == back, "a slower operator's"
    [line] = JournalLine.objects.filter(what=f"{kind}.paused")
    assert (line.subject, line.detail) == (f"{kind} {row.pk}", "")
    assert (line.actor_id, line.actor_name) == (account.pk, account.username)
    for wrong in ("", "  ", "x" * 501):
        assert press(client, kind, row, "explain", reason=wrong).status_code == 200
    press(client, kind, row, "explain", reason=WHY)
    line = journal_line(f"{kind}.pause_explained")
    assert (line.subject, line.detail, line.actor_name) == (f"{kind} {row.pk}", WHY, account.username)

    client.post(resume)
    assert are_paused([row]) == [False]
    assert journal_line(f"{kind}.resumed").detail == ""


def test_a_forged_request_and_an_onlooker_pause_nothing(kind):
    [row] = KINDS[kind][1](1)
    onlooker = signed_in(staff_member(f"{KINDS[kind][0]}.view_{kind}"))
    forged = Client(enforce_csrf_checks=True)
    forged.force_login(staff_member(*(f"{KINDS[kind][0]}.{right}_{kind}" for right in ("view", "change"))))

    for client in (onlooker, forged):
        assert client.post(page(kind, "pause", row.pk)).status_code == 403

    assert page(kind, "pause", row.pk) not in shown(onlooker, page(kind, "change", row.pk))
    assert are_paused([row]) == [False]


def test_the_history_is_the_journal_of_the_row(kind, account):
    [row] = KINDS[kind][1](1)
    client = signed_in(account)
    client.post(page(kind, "pause", row.pk))
    press(client, kind, row, "explain", reason=WHY)
    history = page(kind, "history", row.pk)

    onlooker = shown(signed_in(staff_member(f"{KINDS[kind][0]}.view_{kind}")), history)
    assert WHY not in onlooker
    assert "right to view the journal" in onlooker
    reader = staff_member(f"{KINDS[kind][0]}.view_{kind}", "shop.view_journalline")

    text = shown(signed_in(reader), history)

    assert WHY in text and account.username in text and "Paused" in text
    assert f"{kind}.paused" not in text


def test_selected_rows_are_changed_after_a_page_that_asks_for_the_reason(kind, account):
    rows, client = KINDS[kind][1](3), signed_in(account)

    asked = select(client, kind, rows[:2], "pause_selected")

    body = asked.text
    assert asked.status_code == 200
    named = {"sale": "sale event"}.get(kind, kind)
    assert f"Pause 2 {named}s" in body and "What is paused issues and sells nothing" in body
    assert "Pause now" in body
    assert all(str(row) in body for row in rows[:2])
    assert str(rows[2]) not in body
    assert are_paused(rows) == [False] * 3
    form = {"form_id": str(uuid7())}
    again = select(client, kind, rows[:2], "pause_selected", reason=" ", **form)
    assert "This field is required" in again.text
    assert are_paused(rows) == [False] * 3

    done = select(client, kind, rows[:2], "pause_selected", reason=WHY, **form)

    assert done.status_code == 302
    assert f"Paused: {rows[0]}, {rows[1]}." in shown(client, done["Location"])
    assert are_paused(rows) == [True, True, False]
    resumed = select(client, kind, rows, "resume_selected", reason="Right.", **form)
    assert are_paused(rows) == [False] * 3
    assert "Not paused, so nothing was done" in shown(client, resumed["Location"])
    lines = JournalLine.objects.filter(what__in=[f"{kind}.paused", f"{kind}.resumed"]).order_by("id")
    assert [line.what for line in lines] == [*[f"{kind}.paused"] * 2, *[f"{kind}.resumed"] * 2]
