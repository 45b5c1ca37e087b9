"""The outbox delivers every committed event, and an order's events in sequence, whatever fails."""

import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.conf import LazySettings
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from scripts.tests.simulator import Simulator
from shop.db import transactions
from shop.events import journal, outbox, replaying
from shop.models import JournalLine
from shop.operations.doctor import work as doctor
from shop.redis import redis_client
from shop.tests import servers
from shop.tests.outages import OwnRedis, own_redis
from shop.tests.own_data_platform import (
    REFUSED,
    data_platform_process,
    knowing_secret,
    own_data_platform,
    received_event_ids,
    use,
)
from shop.tests.racing import race
from shop.tests.second_process import another_process

__all__ = ["data_platform_process", "own_data_platform", "own_redis"]
pytestmark = pytest.mark.django_db(transaction=True)

NOWHERE = "http://127.0.0.1:1"
# Delivers, and hangs before it can record the result.
HANGS_AFTER_SENDING = """
from django.conf import settings
from shop.events import outbox

settings.DATA_PLATFORM_URL, settings.EVENT_SECRET = sys.argv[1:3]

def hang(*_):
    print("ready", flush=True)
    sys.stdin.readline()

outbox._record_result = hang
outbox.deliver_due()
"""


def note(*whats: str, order_id: UUID | None = None) -> list[str]:
    """Note outgoing lines in a transaction of their own; returns the ids of their events."""

    def work() -> None:
        for what in whats:
            journal.note(
                what=what, subject="test", order_id=order_id, after={"order": str(order_id)}, is_outgoing=True
            )

    transactions.run(work, transactions.KEYED)
    lines = JournalLine.objects.order_by("-id")[: len(whats)]
    return [str(line.event_id) for line in reversed(lines)]


def line(event: str) -> JournalLine:
    return JournalLine.objects.get(event_id=event)


def make_due(*events: str) -> None:
    wanted = JournalLine.objects.filter(event_id__in=events) if events else JournalLine.objects.all()
    wanted.filter(delivery="queued").update(next_attempt_at=timezone.now())


def deliveries() -> list[str]:
    return list(JournalLine.objects.order_by("id").values_list("delivery", flat=True))


def test_due_events_are_delivered_once_in_batches(own_data_platform: Simulator) -> None:
    events = note(*["test.happened"] * 1_250)
    with CaptureQueriesContext(connection) as captured:
        assert outbox.deliver_due() == 1_250

    assert received_event_ids(own_data_platform) == events
    assert set(deliveries()) == {"delivered"}
    assert len([query for query in captured if "shop_journalline" in query["sql"]]) == 2 * 3
    assert outbox.deliver_due() == 0
    assert own_data_platform.get("/summary")[1] == {"events": 1_250, "repeated": 0}


def test_a_row_number_that_a_promoted_replica_reuses_is_another_event(own_data_platform: Simulator) -> None:
    """The replica lacked the last commits; the receiver mistook the new event for the old one."""
    [lost] = note("test.happened")
    outbox.deliver_due()
    number = line(lost).pk
    JournalLine.objects.filter(pk=number).delete()
    [new] = note("test.happened")
    JournalLine.objects.filter(event_id=new).update(id=number)
    outbox.deliver_due()
    assert own_data_platform.get("/summary")[1] == {"events": 2, "repeated": 0}
    assert received_event_ids(own_data_platform) == [lost, new]


def test_a_wrong_secret_makes_no_event_dead(own_data_platform: Simulator, settings: LazySettings) -> None:
    [event] = note("test.happened")
    right, settings.EVENT_SECRET = settings.EVENT_SECRET, "another"
    assert outbox.deliver_due() == 0
    assert line(event).delivery == "queued"
    assert "HTTP 401" in line(event).last_error and "signature_invalid" in line(event).last_error

    settings.EVENT_SECRET = right
    make_due(event)
    assert outbox.deliver_due() == 1


def test_an_orders_events_keep_their_order_while_the_first_fails(
    own_data_platform: Simulator, settings: LazySettings
) -> None:
    order_id = uuid4()
    first, second = note("order.paid", order_id=order_id), note("order.refunded", order_id=order_id)
    other = note("coupon.issued")
    right, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, NOWHERE
    assert outbox.deliver_due() == 0

    settings.DATA_PLATFORM_URL = right
    make_due(*second, *other)
    assert outbox.deliver_due() == 1
    assert received_event_ids(own_data_platform) == other

    make_due(*first)
    assert outbox.deliver_due() == 2, "the second became due as soon as the first was delivered"
    assert received_event_ids(own_data_platform) == [*other, *first, *second]


def test_without_the_check_of_earlier_events_an_orders_events_are_reordered(
    own_data_platform: Simulator, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control case: each event is sent by itself, as soon as its own pause is over."""
    monkeypatch.setattr(outbox, "_select_next_in_order", lambda lines: lines)
    order_id = uuid4()
    first, second = note("order.paid", order_id=order_id), note("order.refunded", order_id=order_id)
    right, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, NOWHERE
    outbox.deliver_due()

    settings.DATA_PLATFORM_URL = right
    make_due(*second)
    outbox.deliver_due()
    make_due(*first)
    outbox.deliver_due()
    assert received_event_ids(own_data_platform) == [*second, *first]


def test_an_event_that_is_not_due_yet_is_not_overtaken(own_data_platform: Simulator) -> None:
    order_id = uuid4()
    [first] = note("order.paid", order_id=order_id)
    JournalLine.objects.update(next_attempt_at=timezone.now() + timedelta(seconds=15))
    note("order.refunded", order_id=order_id)

    assert outbox.deliver_due() == 0
    assert received_event_ids(own_data_platform) == []
    make_due(first)
    assert outbox.deliver_due() == 2


@pytest.fixture
def relays() -> list[Callable[[], int]]:
    """Six relays that run at once, like those of six processes."""
    return [outbox.deliver_due] * 6


def note_of_many_orders() -> dict[UUID, list[str]]:
    return {id: note("order.paid", "order.refunded", order_id=id) for id in (uuid4() for _ in range(40))}


def heard_of(platform: Simulator, order_id: UUID) -> list[str]:
    return [event["id"] for event in platform.get("/events", order=str(order_id))[1]["results"]]


def test_many_relays_at_once_deliver_each_event_once(
    own_data_platform: Simulator, relays: list[Callable[[], int]]
) -> None:
    orders = note_of_many_orders()
    assert sum(race(relays)) == 80
    assert own_data_platform.get("/summary")[1] == {"events": 80, "repeated": 0}
    assert {id: heard_of(own_data_platform, id) for id in orders} == orders


def test_many_relays_at_once_without_redis_deliver_each_order_in_sequence(
    own_data_platform: Simulator, relays: list[Callable[[], int]], own_redis: OwnRedis, settings: LazySettings
) -> None:
    """Without a lease events are delivered several times, but none is lost or overtakes another."""
    settings.EVENTS_AT_ONCE = 7
    orders = note_of_many_orders()
    own_redis.stop()

    race(relays)
    while outbox.deliver_due():
        pass

    assert set(deliveries()) == {"delivered"}
    assert {id: heard_of(own_data_platform, id) for id in orders} == orders


@pytest.mark.boots("another process of the shop")
@pytest.mark.first_circle
def test_events_of_a_relay_that_died_before_recording_are_sent_again_and_dropped(
    own_data_platform: Simulator, settings: LazySettings
) -> None:
    order_id = uuid4()
    events = note("order.paid", "order.refunded", order_id=order_id)
    with another_process(HANGS_AFTER_SENDING, settings.DATA_PLATFORM_URL, settings.EVENT_SECRET):
        assert received_event_ids(own_data_platform) == events
        assert outbox.deliver_due() == 0, "the other relay still has its lease"

    assert deliveries() == ["queued", "queued"]
    redis_client.client().delete(outbox.LEASE_NAME)
    assert outbox.deliver_due() == 2
    assert own_data_platform.get("/summary")[1] == {"events": 2, "repeated": 2}
    assert received_event_ids(own_data_platform) == events


def test_retries_back_off_with_jitter(settings: LazySettings) -> None:
    settings.DATA_PLATFORM_URL = NOWHERE
    [event] = note("test.happened")
    pauses = []
    for _ in range(12):
        make_due(event)
        assert outbox.deliver_due() == 0
        pauses.append((line(event).next_attempt_at - timezone.now()).total_seconds())

    assert line(event).attempts == 12
    assert "no answer" in line(event).last_error
    full = [min(300, 2**attempt) for attempt in range(12)]
    assert all(0.5 * most - 0.5 <= pause <= most for pause, most in zip(pauses, full, strict=True))
    assert len({round(pause / most, 3) for pause, most in zip(pauses, full, strict=True)}) > 6


def test_while_the_platform_is_down_only_one_batch_is_tried(settings: LazySettings) -> None:
    settings.DATA_PLATFORM_URL = NOWHERE
    note(*["test.happened"] * (settings.EVENTS_AT_ONCE + 50))
    outbox.deliver_due()
    assert JournalLine.objects.filter(attempts=1).count() == settings.EVENTS_AT_ONCE


@pytest.fixture
def impatient(settings: LazySettings) -> None:
    """An event that is refused for good is dead at once."""
    settings.EVENT_REFUSED_SECONDS = 0


@pytest.mark.usefixtures("impatient")
def test_a_poison_event_dies_alone(own_data_platform: Simulator, caplog: pytest.LogCaptureFixture) -> None:
    before, [poison], after = note("test.a", "test.b"), note(REFUSED), note("test.c", "test.d")
    assert outbox.deliver_due() == 4

    assert received_event_ids(own_data_platform) == [*before, *after]
    assert (line(poison).delivery, line(poison).attempts) == ("dead", 1)
    assert "type_refused" in line(poison).last_error
    assert [record.levelno for record in caplog.records if poison in record.getMessage()] == [logging.ERROR]
    assert outbox.deliver_due() == 0


@pytest.mark.boots("another process of the shop")
@pytest.mark.first_circle
@pytest.mark.usefixtures("impatient")
def test_a_dead_event_blocks_its_order_until_it_is_replayed(
    own_data_platform: Simulator, settings: LazySettings, tmp_path: Path
) -> None:
    order_id = uuid4()
    [dead], [held] = note(REFUSED, order_id=order_id), note("order.refunded", order_id=order_id)
    others = note("order.paid", order_id=uuid4())
    assert outbox.deliver_due() == 1
    assert received_event_ids(own_data_platform) == others
    make_due(held)
    assert outbox.deliver_due() == 0
    assert deliveries() == ["dead", "queued", "delivered"]
    assert line(held).next_attempt_at > timezone.now() + timedelta(seconds=200), "not tried again and again"

    with knowing_secret(tmp_path) as corrected:
        use(corrected, settings)
        operator = journal.ActorContext(actor=journal.Actor.STAFF, id=7, name="ada")
        with journal.acting(operator):
            assert replaying.replay([line(dead).pk, line(held).pk]) == [line(dead).pk]
            assert replaying.replay([line(dead).pk]) == []
        assert outbox.deliver_due() == 2
        assert received_event_ids(corrected) == [dead, held]
    noted = JournalLine.objects.get(what="event.replayed")
    assert (noted.actor_name, noted.subject, noted.order_id) == ("ada", f"event {dead}", order_id)
    assert noted.before["delivery"] == "dead" and noted.is_internal


def levels() -> dict[str, str]:
    return {finding.check: finding.level for finding in doctor.events()}


def refused_for(seconds: float) -> None:
    now = timezone.now()
    JournalLine.objects.filter(refused_at__isnull=False).update(
        refused_at=now - timedelta(seconds=seconds), next_attempt_at=now
    )


def test_a_misrouted_404_kills_no_event_and_all_arrive_once_the_route_is_right(
    own_data_platform: Simulator, settings: LazySettings
) -> None:
    order_id = uuid4()
    events = [*note("order.paid", "order.refunded", order_id=order_id), *note(*["test.happened"] * 50)]
    right = settings.DATA_PLATFORM_URL
    settings.DATA_PLATFORM_URL = f"{right}/a/wrong/route"
    assert outbox.deliver_due() == 0
    assert set(deliveries()) == {"queued"}
    assert outbox.refused_count() == 51, "one more waits for its predecessor"
    assert levels()["refused events"] == "warning"

    settings.DATA_PLATFORM_URL = right
    refused_for(settings.EVENT_REFUSED_SECONDS - 10)
    while outbox.deliver_due():
        make_due(*events)
    assert sorted(received_event_ids(own_data_platform)) == sorted(events)
    assert heard_of(own_data_platform, order_id) == events[:2]
    assert outbox.refused_count() == 0


def test_an_event_is_dead_once_it_was_refused_with_the_same_answer_for_long_enough(
    own_data_platform: Simulator, settings: LazySettings
) -> None:
    [poison], others = note(REFUSED), note("test.a", "test.b")
    assert outbox.deliver_due() == 2
    assert (line(poison).delivery, line(poison).attempts) == ("queued", 1)

    refused_for(settings.EVENT_REFUSED_SECONDS - 10)
    more = note("test.c")
    assert outbox.deliver_due() == 1, "a refused event blocks no other order"
    assert line(poison).delivery == "queued"

    refused_for(settings.EVENT_REFUSED_SECONDS)
    assert outbox.deliver_due() == 0
    assert line(poison).delivery == "dead"
    assert line(poison).last_error.startswith("HTTP 422")
    assert received_event_ids(own_data_platform) == [*others, *more]


def test_another_answer_restarts_the_time(own_data_platform: Simulator, settings: LazySettings) -> None:
    [poison] = note(REFUSED)
    outbox.deliver_due()
    refused_for(settings.EVENT_REFUSED_SECONDS)
    right = settings.DATA_PLATFORM_URL
    settings.DATA_PLATFORM_URL = f"{right}/a/wrong/route"
    outbox.deliver_due()
    assert line(poison).delivery == "queued"

    refused_for(settings.EVENT_REFUSED_SECONDS)
    settings.DATA_PLATFORM_URL = NOWHERE
    outbox.deliver_due()
    assert line(poison).refused_at is None, "a missing answer is not a refusal"
    settings.DATA_PLATFORM_URL = right
    make_due(poison)
    outbox.deliver_due()
    assert line(poison).delivery == "queued"


def test_an_event_that_is_too_old_is_given_up_after_a_few_attempts(
    own_data_platform: Simulator, settings: LazySettings
) -> None:
    [event] = note("test.happened")
    JournalLine.objects.update(at=timezone.now() - timedelta(seconds=settings.EVENT_GIVE_UP_SECONDS + 1))
    right, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, NOWHERE
    for attempt in range(1, outbox.FEWEST_ATTEMPTS + 1):
        assert line(event).delivery == "queued", attempt
        make_due(event)
        outbox.deliver_due()
    assert line(event).delivery == "dead"
    assert line(event).last_error.startswith("given up: no answer")
    assert [dead.pk for dead in replaying.EventFilter().lines()] == [line(event).pk]

    replaying.replay([line(event).pk])
    for _ in range(outbox.FEWEST_ATTEMPTS + 1):
        make_due(event)
        outbox.deliver_due()
        assert line(event).delivery == "queued", "the age of a replayed event is counted from its replay"
    settings.DATA_PLATFORM_URL = right
    make_due(event)
    assert outbox.deliver_due() == 1


def test_an_old_order_whose_events_are_sent_again_while_the_platform_is_away_has_no_dead_events(
    own_data_platform: Simulator, settings: LazySettings
) -> None:
    order_id = uuid4()
    [event] = note("order.paid", order_id=order_id)
    assert outbox.deliver_due() == 1
    JournalLine.objects.update(at=timezone.now() - timedelta(seconds=settings.EVENT_GIVE_UP_SECONDS + 1))
    right, settings.DATA_PLATFORM_URL = settings.DATA_PLATFORM_URL, NOWHERE
    replaying.replay_order(order_id=order_id, reason="lost there", settled_refunds=0)
    for _ in range(outbox.FEWEST_ATTEMPTS + 1):
        make_due(event)
        outbox.deliver_due()
        assert line(event).delivery == "queued"

    JournalLine.objects.filter(delivery="queued").update(
        requeued_at=timezone.now() - timedelta(seconds=settings.EVENT_GIVE_UP_SECONDS + 1)
    )
    make_due(event)
    outbox.deliver_due()
    assert line(event).delivery == "dead", "it is given up once that is as long ago"
    settings.DATA_PLATFORM_URL = right


@pytest.mark.boots("a simulator")
@pytest.mark.first_circle
def test_a_platform_that_fails_half_the_time_receives_everything_in_order(
    settings: LazySettings, tmp_path: Path
) -> None:
    order_ids = [uuid4() for _ in range(5)]
    for what in ("order.paid", "order.refunded", "order.refunded"):
        for order_id in order_ids:
            note(what, order_id=order_id)
    with knowing_secret(tmp_path, "--failure-rate", "0.5") as flaky:
        use(flaky, settings)
        for _ in range(200):
            make_due()
            outbox.deliver_due()
            if set(deliveries()) == {"delivered"}:
                break
        assert set(deliveries()) == {"delivered"}
        for order_id in order_ids:
            delivered = [event["id"] for event in flaky.get("/events", order=str(order_id))[1]["results"]]
            own = JournalLine.objects.filter(order_id=order_id).order_by("id")
            assert delivered == [str(line.event_id) for line in own]


def test_nothing_is_delivered_inside_a_transaction(own_data_platform: Simulator) -> None:
    note("test.happened")
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
        outbox.deliver_due()
    assert received_event_ids(own_data_platform) == []


@pytest.mark.usefixtures("impatient")
def test_gauges_count_queued_and_dead_events(own_data_platform: Simulator, settings: LazySettings) -> None:
    assert (outbox.queued_count(), replaying.dead_count(), outbox.oldest_age_seconds()) == (0, 0, 0.0)
    note(REFUSED)
    outbox.deliver_due()
    note("test.happened", "test.happened")
    JournalLine.objects.filter(delivery="queued").update(at=timezone.now() - timedelta(minutes=2))
    assert (outbox.queued_count(), replaying.dead_count()) == (2, 1)
    assert 120 <= outbox.oldest_age_seconds() < 130


@pytest.mark.parametrize("read", [outbox.queued_count, replaying.dead_count, outbox.oldest_age_seconds])
def test_a_gauge_reads_queued_events_by_an_index(read: Callable[[], Any]) -> None:
    """It is read every few seconds, from a table that only grows."""
    note("test.happened")
    with CaptureQueriesContext(connection) as captured:
        read()
    statement = captured[0]["sql"]
    assert servers.explain(statement)[0]["key"] == "shop_journalline_by_delivery"
