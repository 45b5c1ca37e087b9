"""Deliveries to real receivers: signatures, order, retries, giving up, receivers that hang, kills."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from accounts import accounts
from accounts.api_keys import keys
from accounts.models import ApiKey
from accounts.tests.api_keys import make
from events import retries
from events.feed import sequencing
from events.feed.reading import READ_EVENTS
from events.models import FeedEvent, WebhookDelivery, WebhookEndpoint
from events.tests.delivering import logged_to
from events.tests.following import publish, record
from events.tests.receivers import receiving
from events.tests.test_public_addresses import resolving_to
from events.webhooks import deliveries, delivery_pass, dispatcher, endpoints
from events.webhooks.dispatcher import Dispatcher
from events.webhooks.endpoints import Owner
from foundation import clock
from foundation.db import bulk_sql
from foundation.errors import Rejected
from foundation.models import JournalLine
from foundation.tests.factories import SuperuserFactory, reloaded, staff_member
from foundation.tests.instants import ago
from foundation.tests.journal_lines import journal_line
from foundation.tests.lost_replies import losing_reply_to_commit
from foundation.tests.racing import wait_until
from foundation.tests.samples import exposed
from foundation.tests.second_process import another_process, starts_another_process
from foundation.tests.waiting import shifted, within

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
WORKER = """
from events.webhooks.dispatcher import Dispatcher
Dispatcher().start()
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def _any_address(settings):
    settings.WEBHOOK_PRIVATE_ADDRESSES = True
    settings.WEBHOOK_TIMEOUT_SECONDS = 5.0


@pytest.fixture
def receiver():
    with receiving() as one:
        yield one


@pytest.fixture
def endpoint(receiver):
    return endpoint_for(receiver)


def endpoint_for(receiver, *events: str) -> WebhookEndpoint:
    return endpoints.create(url=receiver.url, events=events or ["*"], owner=an_owner())


def an_owner() -> Owner:
    """An account that may read events."""
    return Owner(SuperuserFactory().pk)


def deliver(endpoint: WebhookEndpoint, *names: str, passes=1) -> WebhookEndpoint:
    """Record events of these names, and do what a worker does that has the lease, so many times.

    Returns the endpoint as it is then.
    """
    record(*names)
    for _ in range(passes):
        one_pass(endpoint)
    return reloaded(endpoint)


def deliver_again(endpoint: WebhookEndpoint, *, passes=1) -> WebhookEndpoint:
    """The same, as if the pauses before the next attempts were over."""
    make_due()
    return deliver(endpoint, passes=passes)


def one_pass(endpoint: WebhookEndpoint, *, worker="worker", stop: threading.Event | None = None) -> bool:
    """A pass by a worker that has the lease; whether there is more to do at once."""
    sequencing.sequence()
    assert dispatcher.lease(endpoint.pk, worker)
    with ThreadPoolExecutor(delivery_pass.SENDING_AT_ONCE) as pool:
        return delivery_pass.run(reloaded(endpoint), pool=pool, stop=stop)


def statuses(endpoint: WebhookEndpoint) -> list[tuple[str, int]]:
    return [(row.status, row.attempts) for row in logged_to(endpoint.pk)]


def make_due():
    """As if the pauses before the next attempts were over."""
    WebhookDelivery.objects.filter(status="pending").update(next_attempt_at=clock.now())
    WebhookEndpoint.objects.update(next_attempt_at=None)


def test_the_package_of_standard_webhooks_verifies_what_is_sent(endpoint, receiver):
    deliver(endpoint, "가 'quoted'")

    [request] = receiver.requests
    verified = Webhook(endpoint.secret).verify(request.raw, request.headers)

    assert verified["id"] == request.headers["webhook-id"] == str(FeedEvent.objects.get().event_id)
    assert (verified["type"], verified["data"]) == ("order.paid", {"name": "가 'quoted'"})
    assert request.headers["content-type"] == "application/json"
    with pytest.raises(WebhookVerificationError):
        Webhook(endpoint.secret).verify(request.raw.replace(b"order.paid", b"order.lost"), request.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook("whsec_" + "A" * 43 + "=").verify(request.raw, request.headers)


def test_for_a_day_after_a_rotation_both_secrets_verify_and_then_the_new_one_alone(endpoint, receiver):
    rotated = endpoints.rotate_secret(endpoint_id=endpoint.pk)
    again = endpoints.rotate_secret(endpoint_id=endpoint.pk)
    secrets = [again.secret, endpoint.secret, rotated.secret]
    assert len({*secrets}) == 3

    def verifying():
        found, request = [], receiver.requests[-1]
        for secret in secrets:
            with suppress(WebhookVerificationError):
                Webhook(secret).verify(request.raw, request.headers)
                found.append(secret)
        return found

    deliver(endpoint, "a")
    assert verifying() == secrets
    with shifted(hours=23):
        assert endpoints.forget_former_secrets() == 0
    with shifted(hours=25):
        assert endpoints.secrets_of(again, clock.now()) == [again.secret]
        assert endpoints.forget_former_secrets() == 1
    changed = deliver(endpoint, "b")
    assert verifying() == [again.secret]
    assert changed.former_secrets is None
    lines = JournalLine.objects.filter(what="webhook_endpoint.secret_rotated")
    assert lines.count() == 2
    noted = "".join(f"{line.before}{line.after}{line.detail}" for line in lines)
    assert not any(secret in noted for secret in secrets)


def test_a_secret_that_is_rotated_too_often_signs_on_as_long_as_it_was_said_to(endpoint):
    for _ in range(endpoints.MOST_SECRETS - 1):
        latest = endpoints.rotate_secret(endpoint_id=endpoint.pk)

    with pytest.raises(Rejected) as refused:
        endpoints.rotate_secret(endpoint_id=endpoint.pk)

    assert refused.value.code == "too_many_secrets"
    assert endpoints.secrets_of(latest, clock.now())[1] == endpoint.secret
    with shifted(hours=25):
        endpoints.rotate_secret(endpoint_id=endpoint.pk)


LOSSES = {
    "key revoked": lambda owner: keys.revoke(key_id=owner.key_id or 0),
    "key expired": lambda owner: ApiKey.objects.filter(pk=owner.key_id).update(
        created_at=clock.now() - 2 * HOUR, expires_at=clock.now() - HOUR
    ),
    "key erased": lambda owner: ApiKey.objects.filter(pk=owner.key_id).delete(),
    "account disabled": lambda owner: accounts.disable(account_ids=[owner.account_id]),
    "right taken away": lambda owner: User.objects.get(pk=owner.account_id).user_permissions.clear(),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_an_endpoint_gets_no_more_once_its_key_or_its_owner_may_not_read_events(receiver, loss):
    maker = staff_member(READ_EVENTS)
    owner = Owner(maker.pk, make("events:read", maker=maker).key.pk)
    endpoint = endpoints.create(url=receiver.url, events=["*"], owner=owner)
    assert deliver(endpoint, "before").disabled_at is None

    LOSSES[loss](owner)
    stopped = deliver(endpoint, "after")

    assert receiver.names() == ["before"]
    assert stopped.disabled_at and stopped.disabled_by == "rights"
    line = journal_line("webhook_endpoint.disabled")
    assert (line.subject, line.actor) == (f"webhook endpoint {endpoint.pk}", "system")
    assert line.after["disabled_by"] == "rights"
    assert endpoints.count_disabled() == {"staff": 0, "failures": 0, "rights": 1}
    # Enabled by the same owner it stays without events; by another one it gets what happened meanwhile.
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=True)
    assert deliver(endpoint).disabled_by == "rights"
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=True, owner=an_owner())
    assert not deliver(endpoint).disabled_by
    assert receiver.names() == ["before", "after"]


def test_only_the_events_that_it_wants_are_sent_and_none_of_before_it_was_created(receiver):
    publish("before")
    endpoint = endpoint_for(receiver, "order.paid", "coupon.*")
    record("paid")
    record("cancelled", type="order.cancelled")
    record("issued", type="coupon.issued")
    deliver(endpoint)
    assert sorted(receiver.names()) == ["issued", "paid"]
    assert statuses(endpoint) == [("delivered", 1)] * 2
    deliver(endpoint)
    assert len(receiver.requests) == 2


def test_a_refused_event_holds_back_its_order_and_no_other(receiver):
    endpoint, first, second = endpoint_for(receiver), uuid4(), uuid4()
    refused = {"a2"}
    receiver.answer = lambda request: 500 if request.body["data"]["name"] in refused else 200
    record("a1", "a2", "a3", order_id=first)
    record("b1", "b2", order_id=second)
    deliver(endpoint)
    WebhookDelivery.objects.filter(status="pending").update(next_attempt_at=clock.now() + HOUR / 12)
    record("a4", order_id=first)
    record("b3", order_id=second)
    deliver(endpoint, passes=2)
    assert sorted(receiver.names()) == ["a1", "a2", "b1", "b2", "b3"]

    refused.clear()
    deliver_again(endpoint)

    assert [name for name in receiver.names() if name[0] == "a"] == ["a1", "a2", "a2", "a3", "a4"]
    assert [name for name in receiver.names() if name[0] == "b"] == ["b1", "b2", "b3"]
    ids = [each.headers["webhook-id"] for each in receiver.requests if each.body["data"]["name"] == "a2"]
    assert len(set(ids)) == 1
    assert {status for status, _ in statuses(endpoint)} == {"delivered"}


@pytest.mark.parametrize("status", [301, 302, 400, 404, 410, 500])
def test_anything_but_a_success_is_a_failure(endpoint, receiver, status):
    receiver.answer = lambda request: status
    deliver(endpoint, "a")
    assert statuses(endpoint) == [("pending", 1)]
    row = WebhookDelivery.objects.get()
    assert (row.response_status, row.error) == (status, f"HTTP {status}")


def test_an_event_is_given_up_after_three_days_and_some_attempts_and_its_order_goes_on(receiver, settings):
    endpoint, order = endpoint_for(receiver), uuid4()
    receiver.answer = lambda request: 500 if request.body["data"].get("name") == "poison" else 200
    record("poison", "next", order_id=order)
    deliver(endpoint)
    ago = timedelta(seconds=settings.WEBHOOK_GIVE_UP_SECONDS) + HOUR
    WebhookDelivery.objects.update(created_at=clock.now() - ago)
    for attempts in range(1, retries.FEWEST_ATTEMPTS):
        assert statuses(endpoint) == [("pending", attempts), ("pending", 0)]
        deliver_again(endpoint)
    assert statuses(endpoint) == [("failed", retries.FEWEST_ATTEMPTS), ("pending", 0)]
    record("other")
    deliver_again(endpoint)
    assert {*receiver.names()[-2:]} == {"next", "other"}
    assert not reloaded(endpoint).disabled_at


def disabled_counts() -> dict[str, float]:
    name = "firstcome_webhook_endpoints_disabled"
    return {by: exposed()[f'{name}{{disabled_by="{by}"}}'] for by in ("staff", "failures", "rights")}


def test_an_endpoint_is_disabled_after_three_days_of_failures_with_a_line_of_the_journal(receiver, settings):
    endpoint, meant = endpoint_for(receiver), endpoint_for(receiver)
    endpoints.change(endpoint_id=meant.pk, is_enabled=False)
    receiver.answer = lambda request: 500
    failing = deliver(endpoint, "a")
    assert failing.failing_since and not failing.disabled_at
    with clock.shifted(by=timedelta(seconds=settings.WEBHOOK_GIVE_UP_SECONDS) - HOUR):
        assert not deliver_again(endpoint).disabled_at
    with clock.shifted(by=timedelta(seconds=settings.WEBHOOK_GIVE_UP_SECONDS) + HOUR):
        assert deliver_again(endpoint).disabled_at
        publish("later")
        assert not dispatcher.due_endpoints().filter(pk=endpoint.pk).exists()
        line = journal_line("webhook_endpoint.disabled")
        assert line.subject == f"webhook endpoint {endpoint.pk}"
        assert disabled_counts() == {"staff": 1, "failures": 1, "rights": 0}
        # Enabled again, it gets what happened meanwhile.
        receiver.answer = lambda request: 200
        endpoints.change(endpoint_id=endpoint.pk, is_enabled=True)
        assert disabled_counts() == {"staff": 1, "failures": 0, "rights": 0}
        assert not deliver(endpoint).failing_since
    assert "later" in receiver.names()


def test_a_receiver_that_answers_nothing_is_asked_once_a_pass_and_takes_no_more_events(receiver, settings):
    settings.WEBHOOK_TIMEOUT_SECONDS = 0.3
    endpoint = endpoint_for(receiver)
    receiver.delay_seconds = 1.0
    record(*map(str, range(20)))
    with within(3):
        hanging = deliver(endpoint)
    assert len(receiver.requests) <= 2 * delivery_pass.SENDING_AT_ONCE
    assert hanging.failures == 1 and hanging.next_attempt_at
    record("more")
    before, position = len(receiver.requests), hanging.position
    assert deliver_again(endpoint).position == position
    assert len(receiver.requests) == before + 1

    receiver.delay_seconds = 0
    for _ in range(3 * delivery_pass.SENDING_AT_ONCE):
        deliver_again(endpoint)
    assert {status for status, _ in statuses(endpoint)} == {"delivered"}
    assert set(receiver.names()) == {*map(str, range(20)), "more"}


def test_a_name_that_leads_to_loopback_later_is_not_called(receiver, settings, monkeypatch):
    settings.WEBHOOK_PRIVATE_ADDRESSES = False
    resolving_to(monkeypatch, "93.184.216.34")
    url = f"https://receiver.example:{receiver.port}/hooks"
    endpoint = endpoints.create(url=url, events=["*"], owner=an_owner())
    resolving_to(monkeypatch, "127.0.0.1")
    record("a")
    # The database is reached by its socket, and Redis has a connection.
    deliver(endpoint)
    assert receiver.requests == []
    assert "has an address that is not public" in WebhookDelivery.objects.get().error


def test_a_receiver_that_closes_its_connections_gets_each_event_once_and_in_sequence(receiver):
    """It does not say so, and a request that meets the closing is tried again."""
    endpoint, receiver.server.keeps_connections = endpoint_for(receiver), False
    names = [f"{number:02}" for number in range(20)]
    record(*names, order_id=uuid4())

    def is_delivered():
        deliver_again(endpoint)
        return {status for status, _ in statuses(endpoint)} == {"delivered"}

    wait_until(is_delivered, seconds=30)
    assert receiver.names() == names
    assert len(receiver.server.connections) >= len(names)


def test_a_name_that_leads_elsewhere_in_the_middle_of_a_pass_is_followed_there(monkeypatch):
    with receiving() as former, receiving("127.0.0.2", former.port) as latter:
        resolving_to(monkeypatch, "127.0.0.1")
        url = f"http://receiver.example:{former.port}/hooks"
        endpoint = endpoints.create(url=url, events=["*"], owner=an_owner())

        def move(request):
            if request.body["data"]["name"] == "b":
                resolving_to(monkeypatch, "127.0.0.2")
            return 200

        former.answer = move
        record("a", "b", "c", "d", order_id=uuid4())
        deliver(endpoint)

    assert (former.names(), latter.names()) == (["a", "b"], ["c", "d"])


def test_a_stop_in_the_middle_of_a_pass_leaves_the_rest_to_another_worker(receiver):
    endpoint, stop = endpoint_for(receiver), threading.Event()

    def answer(request):
        if request.body["data"]["name"] == "b":
            stop.set()
        return 200

    receiver.answer = answer
    record("a", "b", "c", "d", order_id=uuid4())
    one_pass(endpoint, worker="first", stop=stop)
    assert statuses(endpoint) == [("delivered", 1)] * 2 + [("pending", 0)] * 2

    dispatcher.release(endpoint.pk, "first")
    deliver(endpoint)
    assert receiver.names() == ["a", "b", "c", "d"]


def test_a_pass_takes_a_bounded_number_of_events(endpoint, receiver, monkeypatch):
    monkeypatch.setattr(delivery_pass, "MOST_EVENTS", 60)
    record(*map(str, range(70)))
    assert one_pass(endpoint)
    assert len(receiver.requests) == 60
    assert not one_pass(endpoint)
    assert sorted(map(int, receiver.names())) == [*range(70)]


def test_a_delivery_that_is_sent_again_is_noted_once_where_the_reply_to_the_commit_is_lost(
    endpoint, tmp_path
):
    deliver(endpoint, "a")
    with losing_reply_to_commit(tmp_path) as is_lost:
        deliveries.resend(endpoint_id=endpoint.pk, delivery_id=WebhookDelivery.objects.get().pk)
        assert is_lost.is_set()
    [line] = JournalLine.objects.filter(what="event.resent")
    assert (line.before["status"], line.before["error"]) == ("delivered", "")


def test_an_event_that_was_deleted_is_not_sent_again(endpoint):
    deliver(endpoint, "a")
    FeedEvent.objects.all().delete()
    with pytest.raises(Rejected) as raised:
        deliveries.resend(endpoint_id=endpoint.pk, delivery_id=WebhookDelivery.objects.get().pk)
    assert raised.value.code == "event_expired"


def test_a_test_is_sent_at_once_although_the_endpoint_rests(receiver):
    endpoint = endpoint_for(receiver, "coupon.issued")
    WebhookEndpoint.objects.update(next_attempt_at=clock.now() + HOUR)
    deliveries.send_test(endpoint_id=endpoint.pk)
    deliver(endpoint)
    [request] = receiver.requests
    assert request.body["type"] == "webhook.test"
    Webhook(endpoint.secret).verify(request.raw, request.headers)


def test_a_worker_that_lost_its_lease_records_nothing(endpoint):
    publish("a")
    assert dispatcher.lease(endpoint.pk, "first")
    stale = reloaded(endpoint)
    assert not dispatcher.lease(endpoint.pk, "second")
    WebhookEndpoint.objects.update(leased_until=clock.now())
    assert dispatcher.lease(endpoint.pk, "second")
    with ThreadPoolExecutor(1) as pool, pytest.raises(delivery_pass.LeaseLost):
        delivery_pass.run(stale, pool=pool)
    assert not WebhookDelivery.objects.exists()


def test_the_log_is_deleted_after_the_retention_except_what_is_pending(endpoint, receiver, settings):
    receiver.answer = lambda request: 500 if request.body["data"]["name"] == "b" else 200
    deliver(endpoint, "a", "b")
    with clock.shifted(by=timedelta(seconds=settings.EVENT_RETENTION_SECONDS) + HOUR):
        assert deliveries.delete_old() == 1
    assert statuses(endpoint) == [("pending", 1)]


@contextmanager
def dispatching(*stop: float):
    one = Dispatcher()
    one.start()
    try:
        yield
    finally:
        one.stop(*stop)


@pytest.mark.parametrize("seconds", [0, 1])
def test_pauses_and_leases_of_before_the_clock_was_set_back_are_over(endpoint, receiver, settings, seconds):
    """After a failover to a server that is 15 minutes behind; the receiver had failed, or not answered."""
    settings.WEBHOOK_TIMEOUT_SECONDS = 0.3
    receiver.answer, receiver.delay_seconds = lambda request: 500, seconds
    with shifted(minutes=15):
        deliver(endpoint, "a")
    assert statuses(endpoint) == [("pending", 1)]
    receiver.answer, receiver.delay_seconds = lambda request: 204, 0

    with dispatching():
        wait_until(lambda: statuses(endpoint) == [("delivered", 2)])


def test_receivers_that_hang_delay_no_other(settings):
    """Five of twenty hang: the others get everything while the first time-out of those lasts."""
    settings.WEBHOOK_TIMEOUT_SECONDS = 20.0
    with ExitStack() as opened:
        receivers = [opened.enter_context(receiving()) for _ in range(20)]
        release = threading.Event()

        def hang(request):
            release.wait(25)
            return 200

        for each in receivers[:5]:
            each.answer = hang
        for each in receivers:
            endpoint_for(each)
        publish(*map(str, range(40)))
        with within(18):
            opened.enter_context(dispatching(20))
            # What hangs is released before the dispatcher is stopped, also where an assertion fails.
            opened.callback(release.set)
            wait_until(lambda: all(len(each.requests) == 40 for each in receivers[5:]), seconds=18)
        assert all(len(each.requests) <= delivery_pass.SENDING_AT_ONCE for each in receivers[:5])


def test_many_refused_orders_hold_back_no_other(endpoint, receiver, monkeypatch):
    monkeypatch.setattr(delivery_pass, "MOST_DUE", 10)
    receiver.answer = lambda request: 422 if request.body["data"]["name"] == "refused" else 200
    refused = [uuid4() for _ in range(60)]
    for order_id in refused:
        record("refused", "later", order_id=order_id)
    record("accepted", order_id=uuid4())
    deliver(endpoint, passes=4)
    assert "accepted" in receiver.names()
    assert "later" not in receiver.names()
    make_due()
    record("later", order_id=refused[0])
    record("accepted later", order_id=uuid4())
    deliver(endpoint, passes=20)
    assert "accepted later" in receiver.names()
    assert "later" not in receiver.names()
    receiver.answer = lambda request: 200
    deliver_again(endpoint, passes=30)
    assert receiver.names().count("later") == 61
    assert {status for status, _ in statuses(endpoint)} == {"delivered"}


def test_what_waits_for_a_refused_event_is_due_when_that_is(endpoint, receiver):
    receiver.answer = lambda request: 422
    order_id = uuid4()
    record("a", "b", order_id=order_id)
    deliver(endpoint)
    record("c", order_id=order_id)
    deliver(endpoint)
    assert len(set(WebhookDelivery.objects.values_list("next_attempt_at", flat=True))) == 1
    assert not dispatcher.due_endpoints().filter(pk=endpoint.pk).exists()
    # Given up: the next one of the order is tried.
    WebhookDelivery.objects.update(created_at=ago(days=4))
    WebhookDelivery.objects.exclude(attempts=0).update(attempts=retries.FEWEST_ATTEMPTS - 1)
    deliver_again(endpoint)
    assert dispatcher.due_endpoints().filter(pk=endpoint.pk).exists()


def test_a_thread_that_cannot_be_started_leaves_the_endpoint_free(endpoint, monkeypatch):
    start, refused = threading.Thread.start, []

    def refuse_once(thread):
        if thread.name.startswith("webhooks ") and not refused:
            refused.append(thread)
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_once)
    publish("a")
    with dispatching():
        wait_until(lambda: statuses(endpoint) == [("delivered", 1)], seconds=10)
    assert refused


def test_what_cannot_be_recorded_is_not_sent_again_at_once(receiver, monkeypatch):
    def full(rows):
        raise OperationalError(1114, "The table 'events_webhookdelivery' is full")

    endpoint_for(receiver)
    publish("a")
    monkeypatch.setattr(bulk_sql, "insert_objects", full)
    with dispatching():
        wait_until(lambda: bool(receiver.requests), seconds=10)
        time.sleep(3 * dispatcher.POLL_SECONDS)
        # A transaction that fails may be tried again by itself.
        assert len(receiver.requests) == 1


@starts_another_process
def test_a_worker_that_is_killed_leaves_its_events_to_another(receiver):
    """It is killed in the middle of its requests: each event arrives, those that were under way twice."""
    endpoint, arrived = endpoint_for(receiver), threading.Event()
    receiver.delay_seconds = 0.2

    def answer(request):
        arrived.set()
        return 200

    receiver.answer = answer
    record(*(f"{number:02}" for number in range(12)), order_id=uuid4())
    sequencing.sequence()
    with another_process(WORKER, DEBUG="1") as process:
        assert arrived.wait(30)
        process.send_signal(signal.SIGKILL)
        process.wait()
    receiver.delay_seconds = 0
    # The lease of a killed worker lapses.
    WebhookEndpoint.objects.update(leased_until=clock.now())
    with dispatching():
        wait_until(lambda: statuses(endpoint) == [("delivered", 1)] * 12, seconds=30)
    names = receiver.names()
    assert sorted(set(names)) == [f"{number:02}" for number in range(12)]
    # What came again came in sequence too.
    assert names[-12:] == sorted(names[-12:])


def oldest_seconds() -> float:
    return exposed()["firstcome_webhooks_oldest_pending_seconds"]


def test_the_oldest_webhook_is_one_that_is_tried_again_or_not_taken_from_the_feed(receiver):
    endpoint, receiver.answer = endpoint_for(receiver), lambda request: 500
    assert oldest_seconds() == 0
    publish("a")
    FeedEvent.objects.update(at=clock.now() - HOUR)
    assert 3_600 <= oldest_seconds() < 3_660
    deliver(endpoint)
    assert oldest_seconds() < 60, "it counts from the first attempt"
    WebhookDelivery.objects.update(created_at=clock.now() - 2 * HOUR)
    assert 7_200 <= oldest_seconds() < 7_260
    endpoints.change(endpoint_id=endpoint.pk, is_enabled=False)
    assert oldest_seconds() == 0, "a disabled one has an alert of its own"
