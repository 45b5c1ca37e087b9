"""The data platform gets every committed event, and an order's events in sequence, whatever fails."""

import logging
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from events import doctor, retries
from events.feed import reading, sequencing
from events.models import BUILT_IN, FeedEvent, FeedState, WebhookDelivery, WebhookEndpoint
from events.tests import delivering
from events.tests.delivering import deliver_due, deliver_to_nobody, delivery, make_due, note, statuses
from events.tests.own_data_platform import REFUSED, knowing_secret, received_event_ids, use
from events.webhooks import data_platform, deliveries, delivery_pass
from foundation import journal
from foundation.db import transactions
from foundation.models import JournalLine
from foundation.tests import servers
from foundation.tests.instants import ago, from_now
from foundation.tests.journal_lines import journal_line
from foundation.tests.racing import race_each
from foundation.tests.second_process import another_process, starts_another_process
from scripts.tests.simulator import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

# Delivers, and hangs before it can record the result.
HANGS_AFTER_SENDING = """
from django.conf import settings
from events.tests.delivering import deliver_due
from events.webhooks import delivery_pass

settings.DATA_PLATFORM_URL, settings.EVENT_SECRET = sys.argv[1:3]

def hang(*_):
    print("ready", flush=True)
    sys.stdin.readline()

delivery_pass._record = hang
deliver_due("another worker")
"""


def test_due_events_are_delivered_once_in_batches(own_data_platform):
    events = note(*["test.happened"] * 1_250)
    with CaptureQueriesContext(connection) as captured:
        assert deliver_due() == 1_250

    assert received_event_ids(own_data_platform) == events
    assert set(statuses()) == {"delivered"}
    statements = [query["sql"].replace("`", "") for query in captured]
    assert len([one for one in statements if one.startswith("INSERT INTO events_webhookdelivery")]) == 3
    assert len([one for one in statements if "FROM events_feedevent WHERE" in one]) == 2 + 2 * 3
    assert deliver_due() == 0
    assert own_data_platform.get("/summary")[1] == {"events": 1_250, "repeated": 0}


def test_a_row_number_that_a_promoted_replica_reuses_is_another_event(own_data_platform):
    """The replica lacked the last commits; the receiver mistook the new event for the old one."""
    [lost] = note("test.happened")
    deliver_due()
    number = FeedEvent.objects.get().pk
    for rows in (FeedEvent.objects, WebhookDelivery.objects):
        rows.all().delete()
    FeedState.objects.update(last_position=0)
    WebhookEndpoint.objects.update(position=0)
    [new] = note("test.happened")
    FeedEvent.objects.update(id=number)
    deliver_due()
    assert own_data_platform.get("/summary")[1] == {"events": 2, "repeated": 0}
    assert received_event_ids(own_data_platform) == [lost, new]


def test_a_wrong_secret_makes_no_event_dead(own_data_platform, settings):
    [event] = note("test.happened")
    right, settings.EVENT_SECRET = settings.EVENT_SECRET, "another"
    assert deliver_due() == 0
    assert delivery(event).status == "pending"
    assert "HTTP 401" in delivery(event).error and "signature_invalid" in delivery(event).error

    settings.EVENT_SECRET = right
    make_due(event)
    assert deliver_due() == 1


def test_an_orders_events_keep_their_order_while_the_first_fails(own_data_platform):
    order_id = uuid4()
    first, second = note("order.paid", order_id=order_id), note("order.refunded", order_id=order_id)
    other = note("coupon.issued")
    assert deliver_to_nobody() == 0
    WebhookDelivery.objects.update(next_attempt_at=from_now(minutes=5))

    make_due(*second, *other)
    assert deliver_due() == 1
    assert received_event_ids(own_data_platform) == other

    make_due(*first)
    assert deliver_due() == 2, "the second became due as soon as the first was delivered"
    assert received_event_ids(own_data_platform) == [*other, *first, *second]


def test_without_the_check_of_earlier_events_an_orders_events_are_reordered(own_data_platform, monkeypatch):
    """The control case: each event is sent by itself, as soon as its own pause is over."""
    monkeypatch.setattr(delivery_pass, "_order_key", lambda row: str(row.event_id))
    order_id = uuid4()
    first, second = note("order.paid", order_id=order_id), note("order.refunded", order_id=order_id)
    deliver_to_nobody()

    make_due(*second)
    deliver_due()
    make_due(*first)
    deliver_due()
    assert received_event_ids(own_data_platform) == [*second, *first]


def heard_of(platform: Simulator, order_id: UUID) -> list[str]:
    return [event["id"] for event in platform.get("/events", order=str(order_id))[1]["results"]]


def test_many_relays_at_once_deliver_each_event_once(own_data_platform):
    orders = {id: note("order.paid", "order.refunded", order_id=id) for id in (uuid4() for _ in range(40))}
    # Like those of six processes.
    race_each(lambda number: deliver_due(f"worker {number}"), range(6))
    deliver_due()
    assert delivering.delivered_count() == 80
    assert own_data_platform.get("/summary")[1] == {"events": 80, "repeated": 0}
    assert {id: heard_of(own_data_platform, id) for id in orders} == orders


@starts_another_process
def test_events_of_a_relay_that_died_before_recording_are_sent_again_and_dropped(own_data_platform, settings):
    events = note("order.paid", "order.refunded", order_id=uuid4())
    with another_process(HANGS_AFTER_SENDING, settings.DATA_PLATFORM_URL, settings.EVENT_SECRET):
        assert received_event_ids(own_data_platform) == events
        assert deliver_due() == 0, "the other relay still has its lease"

    assert statuses() == []
    WebhookEndpoint.objects.filter(pk=BUILT_IN).update(leased_until=timezone.now())
    assert deliver_due() == 2
    assert own_data_platform.get("/summary")[1] == {"events": 2, "repeated": 2}
    assert received_event_ids(own_data_platform) == events


def test_retries_back_off_with_jitter():
    [event] = note("test.happened")
    pauses = []
    for _ in range(12):
        make_due(event)
        assert deliver_to_nobody() == 0
        pauses.append((delivery(event).next_attempt_at - timezone.now()).total_seconds())

    assert delivery(event).attempts == 12
    assert "no answer" in delivery(event).error
    full = [min(300, 2**attempt) for attempt in range(12)]
    assert all(0.5 * most - 0.5 <= pause <= most for pause, most in zip(pauses, full, strict=True))
    assert len({round(pause / most, 3) for pause, most in zip(pauses, full, strict=True)}) > 6


def test_while_the_platform_is_down_only_one_batch_is_tried():
    note(*["test.happened"] * (delivery_pass.MOST_DUE + 50))
    deliver_to_nobody()
    assert WebhookDelivery.objects.filter(attempts=1).count() == delivery_pass.MOST_DUE


@pytest.fixture
def impatient(settings):
    """An event that is refused for good is dead at once."""
    settings.EVENT_REFUSED_SECONDS = 0


def test_a_poison_event_dies_alone(own_data_platform, caplog, impatient):
    before, [poison], after = note("test.a", "test.b"), note(REFUSED), note("test.c", "test.d")
    assert deliver_due() == 4

    assert received_event_ids(own_data_platform) == [*before, *after]
    assert (delivery(poison).status, delivery(poison).attempts) == ("failed", 1)
    assert "type_refused" in delivery(poison).error
    assert [record.levelno for record in caplog.records if poison in record.getMessage()] == [logging.ERROR]
    assert deliver_due() == 0


@starts_another_process
def test_a_dead_event_blocks_its_order_until_it_is_replayed(own_data_platform, settings, tmp_path, impatient):
    order_id = uuid4()
    [dead], [held] = note(REFUSED, order_id=order_id), note("order.refunded", order_id=order_id)
    others = note("order.paid", order_id=uuid4())
    assert deliver_due() == 1
    assert received_event_ids(own_data_platform) == others
    make_due(held)
    assert deliver_due() == 0
    assert (delivery(dead).status, delivery(held).status) == ("failed", "pending")
    assert delivery(*others).status == "delivered"
    later = from_now(seconds=200)
    assert delivery(held).next_attempt_at > later, "not tried again and again"

    with knowing_secret(tmp_path) as corrected:
        use(corrected, settings)
        operator = journal.ActorContext(actor=journal.Actor.STAFF, id=7, name="ada")
        with journal.acting(operator):
            both = [delivery(dead).pk, delivery(held).pk]
            assert deliveries.resend_dead(both) == both[:1]
            assert deliveries.resend_dead(both[:1]) == []
        assert deliver_due() == 2
        assert received_event_ids(corrected) == [dead, held]
    noted = journal_line("event.resent")
    assert (noted.actor_name, noted.subject, noted.order_id) == ("ada", f"event {dead}", order_id)
    assert noted.before["status"] == "failed" and noted.is_internal


def refused_for(seconds: float):
    now = timezone.now()
    WebhookDelivery.objects.filter(refused_at__isnull=False).update(
        refused_at=now - timedelta(seconds=seconds), next_attempt_at=now
    )


def test_a_misrouted_404_kills_no_event_and_all_arrive_once_the_route_is_right(own_data_platform, settings):
    order_id = uuid4()
    events = [*note("order.paid", "order.refunded", order_id=order_id), *note(*["test.happened"] * 50)]
    right = settings.DATA_PLATFORM_URL
    settings.DATA_PLATFORM_URL = f"{right}/a/wrong/route"
    assert deliver_due() == 0
    assert set(statuses()) == {"pending"}
    assert deliveries.refused_count() == 51, "one more waits for its predecessor"
    [level] = [one.level for one in doctor.examine() if one.check == "refused events"]
    assert level == "warning"

    settings.DATA_PLATFORM_URL = right
    refused_for(settings.EVENT_REFUSED_SECONDS - 10)
    while deliver_due():
        make_due(*events)
    assert sorted(received_event_ids(own_data_platform)) == sorted(events)
    assert heard_of(own_data_platform, order_id) == events[:2]
    assert deliveries.refused_count() == 0


def test_an_event_is_dead_once_it_was_refused_with_the_same_answer_for_long_enough(
    own_data_platform, settings
):
    [poison], others = note(REFUSED), note("test.a", "test.b")
    assert deliver_due() == 2
    assert (delivery(poison).status, delivery(poison).attempts) == ("pending", 1)

    refused_for(settings.EVENT_REFUSED_SECONDS - 10)
    more = note("test.c")
    assert deliver_due() == 1, "a refused event blocks no other order"
    assert delivery(poison).status == "pending"

    refused_for(settings.EVENT_REFUSED_SECONDS)
    assert deliver_due() == 0
    assert delivery(poison).status == "failed"
    assert delivery(poison).error.startswith("HTTP 422")
    assert received_event_ids(own_data_platform) == [*others, *more]


def test_an_event_that_is_too_old_is_given_up_after_a_few_attempts(own_data_platform, settings):
    [event] = note("test.happened")
    FeedEvent.objects.update(at=ago(seconds=settings.EVENT_GIVE_UP_SECONDS + 1))
    deliver_to_nobody()
    for attempt in range(2, retries.FEWEST_ATTEMPTS + 1):
        assert delivery(event).status == "pending", attempt
        make_due(event)
        deliver_to_nobody()
    assert delivery(event).status == "failed"
    assert delivery(event).error.startswith("given up: no answer")
    assert [dead.pk for dead in deliveries.find_dead()] == [delivery(event).pk]

    assert deliveries.resend_dead([delivery(event).pk]) == [delivery(event).pk]
    for _ in range(retries.FEWEST_ATTEMPTS + 1):
        make_due(event)
        deliver_to_nobody()
        assert delivery(event).status == "pending", "the age of a replayed event is counted from its replay"
    make_due(event)
    assert deliver_due() == 1


def test_old_events_that_are_sent_again_while_the_platform_is_away_are_not_dead(own_data_platform, settings):
    order_id = uuid4()
    line = {"what": "order.paid", "subject": f"order {order_id}", "order_id": order_id}
    transactions.run(lambda: journal.note(**line), transactions.ONCE)
    event = str(FeedEvent.objects.get().event_id)
    assert deliver_due() == 1
    for rows in (JournalLine.objects, FeedEvent.objects):
        rows.update(at=ago(seconds=settings.EVENT_GIVE_UP_SECONDS + 1))
    deliveries.resend_order(order_id=order_id, reason="lost there")
    for _ in range(retries.FEWEST_ATTEMPTS + 1):
        make_due(event)
        deliver_to_nobody()
        assert delivery(event).status == "pending"

    too_long_ago = ago(seconds=settings.EVENT_GIVE_UP_SECONDS + 1)
    WebhookDelivery.objects.filter(status="pending").update(created_at=too_long_ago)
    make_due(event)
    deliver_to_nobody()
    assert delivery(event).status == "failed", "it is given up once that is as long ago"


@pytest.mark.boots("a simulator", in_first_circle=True)
def test_a_platform_that_fails_half_the_time_receives_everything_in_order(settings, tmp_path):
    order_ids = [uuid4() for _ in range(5)]
    for what in ("order.paid", "order.refunded", "order.refunded"):
        for order_id in order_ids:
            note(what, order_id=order_id)
    with knowing_secret(tmp_path, "--failure-rate", "0.5") as flaky:
        use(flaky, settings)
        for _ in range(200):
            make_due()
            deliver_due()
            if set(statuses()) == {"delivered"}:
                break
        assert set(statuses()) == {"delivered"}
        for order_id in order_ids:
            own = FeedEvent.objects.filter(order_id=order_id).order_by("id")
            assert heard_of(flaky, order_id) == [str(event.event_id) for event in own]


def test_nothing_is_delivered_inside_a_transaction(own_data_platform):
    note("test.happened")
    with transaction.atomic(), pytest.raises(transaction.TransactionManagementError):
        deliver_due()
    assert received_event_ids(own_data_platform) == []


def test_gauges_count_queued_and_dead_events(own_data_platform, impatient):
    assert (deliveries.queued_count(), deliveries.dead_count()) == (0, 0)
    assert deliveries.oldest_queued_seconds() == 0.0
    note(REFUSED)
    deliver_due()
    note("test.happened", "test.happened")
    sequencing.sequence()
    FeedEvent.objects.update(at=ago(minutes=2))
    assert (deliveries.queued_count(), deliveries.dead_count()) == (2, 1)
    assert 120 <= deliveries.oldest_queued_seconds() < 130


@pytest.mark.parametrize(
    "read", [deliveries.queued_count, deliveries.dead_count, deliveries.oldest_queued_seconds]
)
def test_a_gauge_reads_queued_events_by_an_index(read):
    """It is read every few seconds, from a table that only grows."""
    note("test.happened")
    deliver_due()
    with CaptureQueriesContext(connection) as captured:
        read()
    [statement] = [query["sql"] for query in captured if "`events_webhookdelivery`" in query["sql"]]
    assert servers.explain(statement)[0]["key"].startswith("events_webhookdelivery_")


def test_events_that_were_not_taken_stay_though_recording_them_is_repeated(monkeypatch):
    """A deadlock after the insert: the second attempt moved the position, and the rows were gone."""
    note("test.a", "test.b")
    record_health, failures = delivery_pass._record_health, [OperationalError(1213, "Deadlock found")]

    def fail_once(*of):
        if failures:
            raise failures.pop()
        record_health(*of)

    monkeypatch.setattr(delivery_pass, "_record_health", fail_once)
    deliver_to_nobody()
    assert (failures, statuses()) == ([], ["pending", "pending"])


def test_a_dead_event_sent_again_during_a_pass_is_not_overtaken(own_data_platform, monkeypatch, impatient):
    order_id = uuid4()
    [dead] = note(REFUSED, order_id=order_id)
    deliver_due()
    FeedEvent.objects.filter(event_id=dead).update(type="order.paid")
    payload = {**delivery(dead).payload, "type": "order.paid"}
    WebhookDelivery.objects.filter(event_id=dead).update(payload=payload)
    [later] = note("order.refunded", order_id=order_id)
    read_page, dead_ids = reading.read_page, [delivery(dead).pk]

    def resend_meanwhile(**of):
        page = read_page(**of)
        if dead_ids:
            assert deliveries.resend_dead([dead_ids.pop()]) == [delivery(dead).pk]
        return page

    monkeypatch.setattr(reading, "read_page", resend_meanwhile)
    deliver_due()
    make_due()
    deliver_due()
    assert received_event_ids(own_data_platform) == [dead, later]


def test_what_is_refused_or_waits_behind_that_holds_up_no_other(own_data_platform, monkeypatch, settings):
    settings.EVENT_REFUSED_SECONDS = 3600
    monkeypatch.setattr(delivery_pass, "MOST_PENDING", 3)
    for _ in range(4):
        note(REFUSED, "order.paid", order_id=uuid4())
    deliver_due()
    assert set(statuses()) == {"pending"}
    others = note("order.paid", order_id=uuid4())
    assert deliver_due() == 1
    assert received_event_ids(own_data_platform) == others


def test_a_request_has_500_events_at_most_though_orders_have_several(own_data_platform, monkeypatch):
    monkeypatch.setattr(delivery_pass, "MOST_DUE", 5)
    orders = {id: note("order.paid", "order.refunded", order_id=id) for id in (uuid4() for _ in range(6))}
    while WebhookDelivery.objects.count() < 12:
        WebhookEndpoint.objects.update(next_attempt_at=None, failures=0)
        deliver_to_nobody()
    sizes, send = list[int](), data_platform.send
    monkeypatch.setattr(data_platform, "send", lambda events: [sizes.append(len(events)), send(events)][1])
    WebhookEndpoint.objects.update(failures=0)
    make_due()
    assert deliver_due() == 12
    assert max(sizes) <= 5
    assert {id: heard_of(own_data_platform, id) for id in orders} == orders
