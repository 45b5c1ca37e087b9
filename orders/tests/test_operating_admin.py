"""The admin's pages of sagas and the commands for them: each button and each command calls the domain."""

import getpass
from typing import Any
from uuid import uuid4

import pytest
from django.core.management.base import CommandError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.tests.clients import signed_in
from foundation.approval_models import Approval
from foundation.errors import Rejected
from foundation.journal import ActorContext
from foundation.models import JournalLine
from foundation.tests import commands
from foundation.tests.case_tables import in_one_test
from foundation.tests.confirming import confirmed, said
from foundation.tests.factories import reloaded, set_columns, staff_member
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import wait_until
from orders.models import Saga
from orders.tests import hanging, owners, stepping
from payments.gateways import gateway

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("transmitting")]
LIST = reverse("admin:orders_saga_changelist")
BUTTONS = ("retry", "compensate", "complete")


@pytest.fixture
def operator():
    return staff_member("orders.change_saga", username="ada")


@pytest.fixture
def stuck(away):
    away.take("DATA_PLATFORM_URL")
    return make_stuck()


def make_stuck() -> Saga:
    """A saga of a paid order whose event the data platform, which is away, doesn't receive."""
    row = started()
    stepping.advance(row.id)
    hanging.let_stick(row)
    return row


def started(token="tok_ok") -> Saga:
    return owners.order(token).started.saga


def button(row: Saga, name: str) -> str:
    return reverse(f"admin:orders_saga_{name}", args=[row.id])


def listed(client: Client, **query: str) -> set[Any]:
    return {row.id for row in client.get(LIST, query).context["cl"].result_list}


def press(client: Client, row: Saga, name: str, **fields: str) -> tuple[int, list[str]]:
    """Send the button's form. Returns the response's status, and the messages or refusals."""
    sent = confirmed(client, button(row, name), **{"reason": "it is back"} | fields)
    return sent.status_code, said(client, sent)


def test_the_list_opens_with_the_sagas_that_need_an_operator(operator, stuck, unlawful):
    client, fine, done = signed_in(operator), started(), started()
    set_columns(done, state="done", ended_at=timezone.now(), next_attempt_at=None)
    assert listed(client) == {stuck.id}
    assert listed(client, needs="unfinished") == {stuck.id, fine.id}
    assert listed(client, needs="everything") == {stuck.id, fine.id, done.id}
    assert listed(client, q=str(fine.id)) == {fine.id}
    assert listed(client, o="1") == {stuck.id}


def test_a_stuck_saga_is_retried_by_a_worker(operator, stuck, broker_server):
    status, messages = press(signed_in(operator), stuck, "retry")
    assert (status, messages) == (
        302,
        ["Done: it goes on within seconds. Load the page again to see how far it is."],
    )
    line = journal_line("saga.retried")
    assert (line.actor, line.actor_id, line.actor_name) == ("staff", operator.id, "ada")
    assert line.detail == "it is back"
    assert line.request_id
    wait_until(lambda: broker_server.llen("celery") > 0)
    assert broker_server.llen("celery") == 1


def test_a_charge_is_completed_as_the_gateway_has_it(operator, settings):
    settings.GATEWAY_TIMEOUT_SECONDS = 0.5
    row, client = started("tok_timeout_charged"), signed_in(operator)
    stepping.advance(row.id)
    set_columns(row, state=Saga.State.STUCK)
    _, messages = press(client, row, "complete", reference="ch_1")
    assert "not the one that you gave" in messages[0]
    press(client, row, "complete")
    [charge] = gateway().charges(order_id=row.about_id)
    assert journal_line("charge_card.forced").reference == charge.reference


def test_what_can_not_be_asked_about_waits_for_another_operator(operator, stuck):
    _, [message] = press(signed_in(operator), stuck, "complete")
    asked = Approval.objects.get()
    assert message == (
        f"Done: nothing happens yet. Another member of staff has to approve it (approval {asked.pk})."
    )
    assert (asked.asker_id, reloaded(stuck).state) == (operator.pk, "stuck")


def test_a_refusal_is_shown_and_changes_nothing_and_an_ended_saga_has_no_buttons(operator, stuck):
    status, [message] = press(signed_in(operator), stuck, "compensate")
    assert status == 200
    assert message == f"This purchase can't be compensated any more; refund order {stuck.about_id} instead."
    assert reloaded(stuck).state == "stuck"
    set_columns(stuck, state="done", ended_at=timezone.now(), next_attempt_at=None)
    address = reverse("admin:orders_saga_change", args=[stuck.id])
    page = signed_in(operator).get(address).text
    assert not any(button(stuck, name) in page for name in BUTTONS)


def test_sagas_are_listed_for_people_and_for_programs(stuck):
    row, fine = stuck, started()
    _, listed = commands.run("list_sagas", "--stuck")
    for shown in (row.id, row.about_id, "purchase", "stuck", "do transmit", "no answer"):
        assert str(shown) in listed
    assert str(fine.id) not in listed
    code, document = commands.run_json("list_sagas")
    assert code == 0
    steps = {one["saga_id"]: one["step"] for one in document["sagas"]}
    assert steps == {str(row.id): "transmit", str(fine.id): "charge_card"}
    shown = {"kind", "order_id", "direction", "late_since", "last_error", "attempts"}
    assert shown <= document["sagas"][0].keys()


def test_one_saga_is_retried(stuck, away):
    code, output = commands.run("retry_saga", str(stuck.id), "--reason", "it is back", "--by", "ada")
    said = f"purchase saga {stuck.id}: it goes on within seconds. Load the page again to see how far it is.\n"
    assert (code, output) == (0, said)
    line = journal_line("saga.retried")
    assert (line.actor_name, line.detail) == ("ada", "it is back")
    away.back()
    assert [one.id for one in stepping.due(limit=10)] == [stuck.id]
    assert stepping.advance(stuck.id) == Saga.State.DONE


def test_all_stuck_sagas_are_retried(stuck):
    rows, fine = [stuck, make_stuck()], started()
    code, output = commands.run("retry_saga", "--all-stuck", "--reason", "it is back")
    assert code == 0
    assert {line.split()[2].rstrip(":") for line in output.splitlines()} == {str(row.id) for row in rows}
    assert not Saga.objects.filter(state=Saga.State.STUCK).exists()
    lines = JournalLine.objects.filter(what="saga.retried")
    assert {line.actor_name for line in lines} == {getpass.getuser()}
    assert not lines.filter(order_id=fine.about_id).exists()
    assert commands.run("retry_saga", "--all-stuck", "--reason", "again") == (0, "No saga is stuck.\n")


def test_a_refusal_is_one_line_and_the_others_are_retried(stuck, capsys):
    row, unknown = stuck, uuid4()
    code, output = commands.run("retry_saga", str(unknown), str(row.id), "--reason", "it is back")
    assert code == 1
    assert output.startswith(f"purchase saga {row.id}: ")
    assert capsys.readouterr().err == f"{unknown}: There is no saga {unknown}.\n"
    assert reloaded(row).state == Saga.State.RUNNING


@in_one_test("arguments", [[], [str(uuid4()), "--all-stuck"]])
def test_either_ids_or_all_stuck_is_required(arguments):
    with pytest.raises(CommandError, match="either the ids of sagas, or --all-stuck"):
        commands.run("retry_saga", *arguments, "--reason", "why not")


@in_one_test("command", ["retry_saga", "compensate_saga", "complete_saga"])
def test_a_reason_and_a_name_are_required(command):
    row = started()
    with pytest.raises(CommandError, match="--reason"):
        commands.run(command, str(row.id))
    with pytest.raises(CommandError, match="Give your name"):
        commands.run(command, str(row.id), "--reason", "why not", "--by", " ")


def test_what_can_not_be_asked_about_waits_for_an_operator_who_is_signed_in(stuck):
    _, output = commands.run("complete_saga", str(stuck.id), "--reason", "seen", "--by", "ada")
    asked = Approval.objects.get()
    assert output == (
        f"purchase saga {stuck.id}: nothing happens yet. Another member of staff has to approve it "
        f"(approval {asked.pk}).\n"
    )
    assert (asked.asker_id, asked.asker_name) == (None, "ada")
    same = staff_member(username="ada")
    with pytest.raises(Rejected, match="You have asked for it yourself"):
        hanging.approve(asked, by=ActorContext(actor="staff", id=same.pk, name="ada"))
    assert hanging.approve(asked).status == "approved"
