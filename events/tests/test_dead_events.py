"""Dead letters for operators: listed, and replayed by command and from the list of deliveries."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.core.management.base import CommandError
from django.urls import reverse
from django.utils import timezone
from uuid_utils.compat import uuid7

from events.models import WebhookDelivery
from events.tests.delivering import dead
from events.webhooks import deliveries
from shop.db import transactions
from shop.models import JournalLine
from shop.tests.clients import signed_in
from shop.tests.commands import run, run_json
from shop.tests.confirming import done
from shop.tests.factories import SuperuserFactory

pytestmark = pytest.mark.django_db


def dead_rows() -> set[WebhookDelivery]:
    return set(WebhookDelivery.objects.filter(status="failed"))


def test_dead_events_are_listed() -> None:
    assert run("replay_events") == (0, "No event is dead.\n")
    first, order_id = dead(), uuid4()
    second = dead("order.refunded", order_id=order_id)
    dead(status="pending", next_attempt_at=timezone.now())

    _, listed = run_json("replay_events")
    assert listed["replayed"] == []
    assert [(event["id"], event["order"], event["attempts"]) for event in listed["dead"]] == [
        (str(first.event_id), None, 7),
        (str(second.event_id), str(order_id), 7),
    ]


def test_some_or_all_dead_events_are_replayed() -> None:
    first, second, third = dead(), dead(), dead()

    assert run("replay_events", str(first.event_id)) == (
        0,
        "1 queued again: they are delivered within seconds.\n",
    )
    assert dead_rows() == {second, third}
    code, output = run_json("replay_events", "--all")
    assert (code, output["replayed"], output["dead"]) == (0, [str(second.event_id), str(third.event_id)], [])
    queued = WebhookDelivery.objects.filter(status="pending", attempts=0, next_attempt_at__lte=timezone.now())
    assert set(queued) == {first, second, third}
    assert JournalLine.objects.filter(what="event.resent", actor="system").count() == 3


@pytest.mark.parametrize("arguments", [["evt_1"], ["--all", "evt_1"], ["order.paid"], [str(UUID(int=1))]])
def test_an_id_that_cannot_be_replayed_is_reported_and_nothing_is_replayed(arguments: list[str]) -> None:
    kept = dead()
    with pytest.raises(CommandError):
        run("replay_events", *arguments, *([str(kept.event_id)] if arguments == ["evt_1"] else []))
    assert dead_rows() == {kept}


def test_the_journal_is_read_only_in_the_admin() -> None:
    client = signed_in(SuperuserFactory.create())
    kept = JournalLine.objects.create(at=timezone.now(), actor="system", what="order.paid")

    assert client.get(reverse("admin:shop_journalline_add")).status_code == 403
    changed = client.post(reverse("admin:shop_journalline_change", args=[kept.pk]), {"what": "else"})
    assert changed.status_code == 403
    assert client.post(reverse("admin:shop_journalline_delete", args=[kept.pk])).status_code == 403


def test_the_list_sends_events_again_and_records_the_actor_and_the_reason() -> None:
    operator = SuperuserFactory.create()
    dead_letter = dead()
    sent = {"action": "resend", "_selected_action": [dead_letter.pk]}
    client, page = signed_in(operator), reverse("admin:events_webhookdelivery_changelist")

    asked = client.post(page, sent).content.decode()
    assert "Send 1 delivery again" in asked and "with the same id" in asked
    assert not JournalLine.objects.filter(what="event.resent").exists()
    answered = sent | {"form_id": str(uuid7()), "reason": "The receiver is mended."}
    done = client.post(page, answered, follow=True)

    assert [str(message) for message in done.context["messages"]] == ["1 are sent again."]
    assert dead_rows() == set()
    noted = JournalLine.objects.get(what="event.resent")
    assert (noted.actor, noted.actor_id, noted.actor_name) == ("staff", operator.pk, operator.username)
    assert noted.detail == "The receiver is mended."


def test_the_page_says_how_many_events_are_queued_again_though_the_database_is_lost_on_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    *_, last = [dead() for _ in range(3)]
    monkeypatch.setattr(deliveries, "RESENT_AT_ONCE", 2)
    run_transaction = transactions.run

    def lose_the_second(work: Any, effect: Any, **more: Any) -> Any:
        if JournalLine.objects.filter(what="event.resent").exists():
            raise transactions.DatabaseUnavailable("The database can't be reached; try again.")
        return run_transaction(work, effect, **more)

    monkeypatch.setattr(transactions, "run", lose_the_second)
    page = reverse("admin:events_webhookdelivery_replay_events")
    assert done(signed_in(SuperuserFactory.create()), page, reason="mended") == [
        "The database can't be reached; try again. 2 were queued again before that. Try again in 1 s."
    ]
    assert dead_rows() == {last}
