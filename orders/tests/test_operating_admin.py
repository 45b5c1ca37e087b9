"""The admin's pages of sagas: those that need an operator come first, and each button calls the domain."""

from typing import Any

import pytest
from django.conf import LazySettings
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from inventory.tests.factories import ProductFactory
from orders.models import Saga
from orders.tests import buying, hanging, stepping
from payments.gateways import gateway
from scripts.stack import ports
from shop.approval_models import Approval
from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.confirming import confirmed, said
from shop.tests.factories import AccountFactory, SuperuserFactory
from shop.tests.racing import wait_until

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("transmitting")]
LIST = reverse("admin:orders_saga_changelist")
BUTTONS = ("retry", "compensate", "complete")


@pytest.fixture
def operator() -> User:
    return AccountFactory(username="ada", is_staff=True, permissions=["orders.change_saga"])


@pytest.fixture
def stuck(settings: LazySettings) -> Saga:
    settings.DATA_PLATFORM_URL = f"http://{ports.HOST}:{ports.free()}"
    return make_stuck()


def make_stuck() -> Saga:
    """A saga of a paid order whose event the data platform, which is away, doesn't receive."""
    row = started()
    stepping.advance(row.id)
    hanging.make_overdue(row)
    assert stepping.advance(row.id) == Saga.State.STUCK
    return row


def started(token: str = "tok_ok") -> Saga:
    product = ProductFactory.create(on_hand=1, price=500)
    placed = buying.place(buying.account().id, {product: 1}, token=token)
    assert placed.started
    return placed.started.saga


def page_of(row: Saga) -> str:
    return reverse("admin:orders_saga_change", args=[row.id])


def button(row: Saga, name: str) -> str:
    return reverse(f"admin:orders_saga_{name}", args=[row.id])


def listed(client: Client, **query: str) -> set[Any]:
    return {row.id for row in client.get(LIST, query).context["cl"].result_list}


def press(client: Client, row: Saga, name: str, **fields: str) -> tuple[int, list[str]]:
    """Send the button's form. Returns the response's status, and the messages or refusals."""
    sent = confirmed(client, button(row, name), **{"reason": "it is back"} | fields)
    return sent.status_code, said(client, sent)


def test_the_list_opens_with_the_sagas_that_need_an_operator(operator: User, stuck: Saga) -> None:
    client, fine, done = signed_in(operator), started(), started()
    Saga.objects.filter(id=done.id).update(state="done", ended_at=timezone.now(), next_attempt_at=None)
    assert listed(client) == {stuck.id}
    assert listed(client, needs="unfinished") == {stuck.id, fine.id}
    assert listed(client, needs="everything") == {stuck.id, fine.id, done.id}
    assert listed(client, q=str(fine.id)) == {fine.id}
    assert listed(client, o="1") == {stuck.id}


def test_a_stuck_saga_is_retried(operator: User, stuck: Saga) -> None:
    status, messages = press(signed_in(operator), stuck, "retry")
    assert (status, messages) == (302, ["Recorded: it continues; the next free worker executes it."])
    line = JournalLine.objects.get(what="saga.retried")
    assert (line.actor, line.actor_id, line.actor_name) == ("staff", operator.id, "ada")
    assert line.detail == "it is back"
    assert line.request_id


def test_a_charge_is_completed_as_the_gateway_has_it(operator: User, settings: LazySettings) -> None:
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5
    row, client = started("tok_timeout_charged"), signed_in(operator)
    stepping.advance(row.id)
    Saga.objects.filter(id=row.id).update(state=Saga.State.STUCK)
    _, messages = press(client, row, "complete", reference="ch_1")
    assert "not the one that you gave" in messages[0]
    press(client, row, "complete")
    [charge] = gateway().charges(order_id=row.about_id)
    assert JournalLine.objects.get(what="charge_card.forced").reference == charge.reference


def test_what_can_not_be_asked_about_waits_for_another_operator(operator: User, stuck: Saga) -> None:
    _, [message] = press(signed_in(operator), stuck, "complete")
    asked = Approval.objects.get()
    assert message == (
        f"Recorded: nothing is done yet, because another operator has to approve it (approval {asked.pk})."
    )
    assert (asked.asker_id, Saga.objects.get(id=stuck.id).state) == (operator.pk, "stuck")


def test_a_button_enqueues_the_saga_for_a_worker(operator: User, broker_server: Any) -> None:
    press(signed_in(operator), started(), "retry")
    wait_until(lambda: broker_server.llen("celery") > 0)
    assert broker_server.llen("celery") == 1


def test_a_refusal_is_shown_and_changes_nothing(operator: User, stuck: Saga) -> None:
    status, messages = press(signed_in(operator), stuck, "compensate")
    assert status == 200
    assert messages == [
        f"This purchase can't be compensated any more; refund order {stuck.about_id} instead."
    ]
    assert Saga.objects.get(id=stuck.id).state == "stuck"


def test_an_ended_saga_has_no_buttons(operator: User, stuck: Saga) -> None:
    Saga.objects.filter(id=stuck.id).update(state="done", ended_at=timezone.now(), next_attempt_at=None)
    page = signed_in(operator).get(page_of(stuck)).content.decode()
    assert not any(button(stuck, name) in page for name in BUTTONS)


def test_nothing_is_edited_by_hand(stuck: Saga) -> None:
    client = signed_in(SuperuserFactory())
    assert client.post(page_of(stuck), {"state": "done"}).status_code == 403
