"""The commands on sagas: their output, effect and exit code."""

import getpass
from uuid import uuid4

import pytest
from django.conf import LazySettings
from django.core.management.base import CommandError

from orders.models import Saga
from orders.saga import store
from orders.tests import hanging, stepping
from orders.tests.test_operating_admin import make_stuck, started
from scripts.stack import ports
from shop.approval_models import Approval
from shop.errors import Rejected
from shop.events.journal import ActorContext
from shop.models import JournalLine
from shop.tests import commands
from shop.tests.case_tables import in_one_test
from shop.tests.factories import AccountFactory

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("transmitting")]


@pytest.fixture
def data_platform(settings: LazySettings) -> str:
    """Makes the data platform unreachable; returns its real URL."""
    address: str = settings.DATA_PLATFORM_URL
    settings.DATA_PLATFORM_URL = f"http://{ports.HOST}:{ports.free()}"
    return address


def test_sagas_are_listed_for_people_and_for_programs(data_platform: str) -> None:
    row, fine = make_stuck(), started()
    _, listed = commands.run("list_sagas", "--stuck")
    for shown in (row.id, row.about_id, "purchase", "stuck", "do transmit", "no answer"):
        assert str(shown) in listed
    assert str(fine.id) not in listed
    code, document = commands.run_json("list_sagas")
    assert code == 0
    steps = {one["saga_id"]: one["step"] for one in document["sagas"]}
    assert steps == {str(row.id): "transmit", str(fine.id): "charge_card"}
    assert {"kind", "order_id", "direction", "late_since", "last_error", "attempts"} <= document["sagas"][
        0
    ].keys()


def test_one_saga_is_retried(data_platform: str, settings: LazySettings) -> None:
    row = make_stuck()
    code, output = commands.run("retry_saga", str(row.id), "--reason", "it is back", "--by", "ada")
    assert (code, output) == (0, f"purchase saga {row.id}: it continues; the next free worker executes it.\n")
    line = JournalLine.objects.get(what="saga.retried")
    assert (line.actor_name, line.detail) == ("ada", "it is back")
    settings.DATA_PLATFORM_URL = data_platform
    assert [one.id for one in store.find_due(limit=10)] == [row.id]
    assert stepping.advance(row.id) == Saga.State.DONE


def test_all_stuck_sagas_are_retried(data_platform: str) -> None:
    rows, fine = [make_stuck(), make_stuck()], started()
    code, output = commands.run("retry_saga", "--all-stuck", "--reason", "it is back")
    assert code == 0
    assert {line.split()[2].rstrip(":") for line in output.splitlines()} == {str(row.id) for row in rows}
    assert not Saga.objects.filter(state=Saga.State.STUCK).exists()
    lines = JournalLine.objects.filter(what="saga.retried")
    assert {line.actor_name for line in lines} == {getpass.getuser()}
    assert not lines.filter(order_id=fine.about_id).exists()
    assert commands.run("retry_saga", "--all-stuck", "--reason", "again") == (0, "No saga is stuck.\n")


def test_a_refusal_is_one_line_and_the_others_are_retried(
    data_platform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    row, unknown = make_stuck(), uuid4()
    code, output = commands.run("retry_saga", str(unknown), str(row.id), "--reason", "it is back")
    assert code == 1
    assert output.startswith(f"purchase saga {row.id}: ")
    assert capsys.readouterr().err == f"{unknown}: There is no saga {unknown}.\n"
    assert Saga.objects.get(id=row.id).state == Saga.State.RUNNING


@in_one_test("arguments", [[], [str(uuid4()), "--all-stuck"]])
def test_either_ids_or_all_stuck_is_required(arguments: list[str]) -> None:
    with pytest.raises(CommandError, match="either the ids of sagas, or --all-stuck"):
        commands.run("retry_saga", *arguments, "--reason", "why not")


@in_one_test("command", ["retry_saga", "compensate_saga", "complete_saga"])
def test_a_reason_and_a_name_are_required(command: str) -> None:
    row = started()
    with pytest.raises(CommandError, match="--reason"):
        commands.run(command, str(row.id))
    with pytest.raises(CommandError, match="Give your name"):
        commands.run(command, str(row.id), "--reason", "why not", "--by", " ")


def test_what_can_not_be_asked_about_waits_for_an_operator_who_is_signed_in(data_platform: str) -> None:
    row = make_stuck()
    _, output = commands.run("complete_saga", str(row.id), "--reason", "seen", "--by", "ada")
    asked = Approval.objects.get()
    assert output == (
        f"purchase saga {row.id}: nothing is done yet, because another operator has to approve it "
        f"(approval {asked.pk}).\n"
    )
    assert (asked.asker_id, asked.asker_name) == (None, "ada")
    same = AccountFactory.create(username="ada", is_staff=True)
    with pytest.raises(Rejected, match="You have asked for it yourself"):
        hanging.approve(asked, by=ActorContext(actor="staff", id=same.pk, name="ada"))
    assert hanging.approve(asked).status == "approved"
