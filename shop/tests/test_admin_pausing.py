"""The admin's buttons and list actions that pause and resume campaigns, products and sales."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.db.models import Model
from django.test import Client
from django.urls import reverse
from uuid_utils.compat import uuid7

from coupons.tests.factories import CampaignFactory
from inventory.tests.factories import ProductFactory
from sales.tests.factories import create_sale
from shop.models import JournalLine
from shop.operators.actions import MOST_SELECTED
from shop.tests.clients import signed_in
from shop.tests.factories import AccountFactory

pytestmark = pytest.mark.django_db(transaction=True)
KINDS: dict[str, tuple[Callable[[int], list[Any]], str, str]] = {
    "campaign": (CampaignFactory.create_batch, "admin:coupons_campaign", "coupons"),
    "product": (ProductFactory.create_batch, "admin:inventory_product", "inventory"),
    "sale": (
        lambda count: [create_sale(name=f"Drop {number}") for number in range(count)],
        "admin:sales_sale",
        "sales",
    ),
}
WHY = "The price is wrong."


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def rows_of(kind: str, count: int) -> list[Any]:
    return KINDS[kind][0](count)


def operator(kind: str, *rights: str) -> User:
    names = [f"{KINDS[kind][2]}.{right}_{kind}" for right in rights]
    return AccountFactory.create(is_staff=True, permissions=names)


def page(kind: str, name: str, *arguments: object) -> str:
    return reverse(f"{KINDS[kind][1]}_{name}", args=arguments)


def press(client: Client, kind: str, row: Model, button: str, **fields: str) -> Any:
    return client.post(page(kind, button, row.pk), {"form_id": str(uuid7())} | fields)


def select(client: Client, kind: str, rows: Sequence[Model], action: str, **fields: str) -> Any:
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(page(kind, "changelist"), chosen | fields)


def are_paused(rows: Sequence[Any]) -> list[bool]:
    for row in rows:
        row.refresh_from_db()
    return [row.paused_at is not None for row in rows]


def shown(client: Client, address: str) -> str:
    return client.get(address).content.decode()


def test_the_page_has_one_button_of_the_two_and_each_does_what_it_says(kind: str) -> None:
    [row], account = rows_of(kind, 1), operator(kind, "view", "change")
    client, own = signed_in(account), page(kind, "change", row.pk)
    pause, resume = page(kind, "pause", row.pk), page(kind, "resume", row.pk)
    assert (pause in shown(client, own), resume in shown(client, own)) == (True, False)
    assert "Nothing more is issued or sold" in shown(client, pause)

    answer = press(client, kind, row, "pause", reason=WHY)

    assert answer["Location"] == own
    assert are_paused([row]) == [True]
    after = shown(client, own)
    assert "Paused: " in after
    assert (pause in after, resume in after) == (False, True)
    [line] = JournalLine.objects.filter(what=f"{kind}.paused")
    assert (line.subject, line.actor_id, line.actor_name, line.detail) == (
        f"{kind} {row.pk}",
        account.pk,
        account.username,
        WHY,
    )
    assert WHY in LogEntry.objects.get(object_id=str(row.pk)).change_message

    press(client, kind, row, "resume", reason="The price is right.")
    assert are_paused([row]) == [False]
    assert JournalLine.objects.get(what=f"{kind}.resumed").detail == "The price is right."


def test_without_a_reason_the_form_is_shown_again_and_nothing_changes(kind: str) -> None:
    [row], client = rows_of(kind, 1), signed_in(operator(kind, "view", "change"))
    for wrong in ("", "  ", "x" * 501):
        for button in ("pause", "resume"):
            assert press(client, kind, row, button, reason=wrong).status_code == 200
    assert are_paused([row]) == [False]


def test_a_button_that_another_operator_was_faster_to_press_says_so(kind: str) -> None:
    [row], client = rows_of(kind, 1), signed_in(operator(kind, "view", "change"))
    _, second = (press(client, kind, row, "pause", reason=WHY) for _ in range(2))

    assert "Nothing to do, paused already" in second.content.decode()
    assert JournalLine.objects.filter(what=f"{kind}.paused").count() == 1


def test_selected_rows_are_changed_after_a_page_that_asks_for_the_reason(kind: str) -> None:
    rows, client = rows_of(kind, 3), signed_in(operator(kind, "view", "change"))

    asked = select(client, kind, rows[:2], "pause_selected")

    body = asked.content.decode()
    assert asked.status_code == 200
    assert f"Pause 2 {kind}s" in body and "Nothing more is issued or sold" in body
    assert "Pause now" in body
    assert all(str(row) in body for row in rows[:2])
    assert str(rows[2]) not in body
    assert are_paused(rows) == [False] * 3
    form = {"form_id": str(uuid7())}
    again = select(client, kind, rows[:2], "pause_selected", reason=" ", **form)
    assert "This field is required" in again.content.decode()
    assert are_paused(rows) == [False] * 3

    done = select(client, kind, rows[:2], "pause_selected", reason=WHY, **form)

    assert done.status_code == 302
    assert f"Paused: {rows[0]}, {rows[1]}." in shown(client, done["Location"])
    assert are_paused(rows) == [True, True, False]
    resumed = select(client, kind, rows, "resume_selected", reason="Right.", **form)
    assert are_paused(rows) == [False] * 3
    assert "Nothing to do, not paused" in shown(client, resumed["Location"])
    lines = JournalLine.objects.filter(what__in=[f"{kind}.paused", f"{kind}.resumed"]).order_by("id")
    assert [line.what for line in lines] == [*[f"{kind}.paused"] * 2, *[f"{kind}.resumed"] * 2]


def test_too_many_selected_rows_are_refused(kind: str) -> None:
    rows, client = rows_of(kind, MOST_SELECTED + 1), signed_in(operator(kind, "view", "change"))

    select(client, kind, rows, "pause_selected", form_id=str(uuid7()), reason=WHY)

    assert "Nothing was done: select 100 at most" in shown(client, page(kind, "changelist"))
    assert not any(are_paused(rows))
