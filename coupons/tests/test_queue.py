"""The strategy `queue`: tickets and their settlement, also when a partner is away or Redis has old data."""

import socket
import threading
from collections.abc import Sequence

import pytest
from django.core.management import call_command
from django.db.backends.signals import connection_created
from django.utils import timezone

from coupons import issuing
from coupons.allocation.outcomes import Issued, Queued
from coupons.models import Campaign, Confirmation, Coupon, QueueTicket
from coupons.partners import confirmation
from coupons.queue import stream, tickets, worker
from coupons.tests.factories import CampaignFactory, accounts, change
from coupons.tests.laws import positions
from coupons.tests.outcomes import issue, refused
from coupons.tests.own_issuer import settling
from coupons.tests.own_partner import GOOD
from foundation.errors import NotFound, Rejected
from foundation.tests.factories import set_columns
from foundation.tests.racing import wait_until
from scripts.stack import ports
from scripts.tests.simulator import serving

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_ticket_waits_while_an_earlier_slot_is_cancelled_at_the_partner():
    campaign, [account_id] = line_of(quantity=3), accounts(1)
    queued = ask(campaign, account_id)
    set_columns(campaign, partner="convenience_store", confirming=1)
    now = timezone.now()
    given_up = {"code": "GIVEN-UP", "taken_at": now, "next_attempt_at": now, "is_cancelled": True}
    Confirmation.objects.create(campaign=campaign, account_id=account_id, **given_up)

    worker.serve_once()

    assert tickets.READER.submit(queued.ticket.pk).ticket.status == "waiting"


def test_an_account_that_does_not_exist_gets_no_ticket_and_the_queue_goes_on():
    campaign = line_of(quantity=10)
    [account_id] = accounts(1)

    with pytest.raises(NotFound):
        ask(campaign, 999_999_999)
    queued = ask(campaign, account_id)
    worker.serve_once()

    assert QueueTicket.objects.get().status == "issued"
    assert tickets.READER.submit(queued.ticket.pk).ticket.coupon
    assert worker.serve_once() == 0


def test_waiting_tickets_are_kept_when_the_campaign_sells_out():
    campaign = line_of(quantity=1)
    waiting, fast = accounts(2)
    queued = ask(campaign, waiting)
    change(campaign, strategy="group_commit")
    issuing.forget()
    issue(campaign, fast)
    change(campaign, strategy="queue")
    issuing.forget()
    with pytest.raises(Rejected):
        issue(campaign, accounts(1)[0])

    assert ask(campaign, waiting).ticket.pk == queued.ticket.pk
    worker.serve_once()
    assert statuses_in_order(campaign) == ["sold_out"]


def test_a_queue_is_settled_completely_when_the_strategy_changes():
    campaign = line_of()
    first, second = accounts(2)
    queued = [ask(campaign, account_id) for account_id in (first, second)]
    change(campaign, strategy="group_commit")
    issuing.forget()
    given = issue(campaign, second)

    assert worker.serve_once() == 2

    assert isinstance(given, Issued)
    settled = tickets.READER.submit(queued[1].ticket.pk).ticket
    assert settled.coupon and settled.coupon.code == given.coupon.code
    assert statuses_in_order(campaign) == ["issued", "issued"]
    assert positions(campaign) == [1, 2]


def test_an_account_with_a_void_coupon_is_refused_at_once():
    campaign = line_of()
    [account_id] = accounts(1)
    ask(campaign, account_id)
    worker.serve_once()
    issuing.void(code=Coupon.objects.get().code, reason="a trial")

    assert refused(campaign, account_id) == "coupon_void"


def test_far_back_in_the_queue_the_position_is_computed_from_the_numbers():
    campaign = line_of(quantity=1_000)
    queued = [ask(campaign, account_id) for account_id in accounts(130)]

    assert [one.ahead for one in queued] == list(range(130))


def test_the_command_settles_waiting_tickets_and_prints_how_many(capsys):
    ask_each(line_of(), accounts(2))

    call_command("run_issuer", "--once")
    call_command("run_issuer", "--once", "--json")

    assert capsys.readouterr().out == '2 tickets settled.\n{"served": 0}\n'


def test_a_queue_leased_by_another_issuer_is_left_to_it_and_the_others_are_settled():
    taken, free = line_of(), line_of()
    for campaign in (taken, free):
        ask_each(campaign, accounts(1))
    assert len(stream.read(taken.pk, issuer="another", most=1)) == 1

    assert worker.serve_once() == 1

    assert positions(taken) == []
    assert positions(free) == [1]


def test_the_gauges_have_the_waiting_tickets_and_the_longest_wait():
    campaign = line_of()
    line_of()
    ask_each(campaign, accounts(2))

    assert tickets.count_waiting() == {str(campaign.pk): 2}
    assert 0 < tickets.longest_wait_seconds()[str(campaign.pk)] < 60
    worker.serve_once()
    assert tickets.count_waiting() == tickets.longest_wait_seconds() == {}


def line_of(**terms) -> Campaign:
    return CampaignFactory(strategy="queue", **terms)


def ask(campaign, account_id: int) -> Queued:
    queued = issuing.issue(campaign_id=campaign.pk, user_id=account_id)
    assert isinstance(queued, Queued)
    return queued


def test_an_unavailable_partner_costs_no_ticket_its_place_and_none_is_sold_out(tmp_path, settings):
    port = ports.free()
    settings.PARTNER_URL, settings.PARTNER_TIMEOUT_SECONDS = f"http://{ports.HOST}:{port}", 10.0
    campaign = line_of(quantity=2, partner="convenience_store")
    ask_each(campaign, accounts(3))

    assert worker.serve_once() == 0
    ask_each(campaign, accounts(2))
    assert statuses_in_order(campaign) == ["waiting"] * 5
    with serving("partner", tmp_path, *GOOD, port=port):
        confirmation.reset()
        assert worker.serve_once() == 5

    assert statuses_in_order(campaign) == ["issued"] * 2 + ["sold_out"] * 3


def test_a_slot_that_the_partner_refuses_goes_to_the_next_ticket(tmp_path, settings):
    settings.PARTNER_TIMEOUT_SECONDS = 10.0
    with serving("partner", tmp_path, *GOOD, "--failure-rate", "0.5") as partner:
        settings.PARTNER_URL = f"http://{ports.HOST}:{partner.port}"
        campaign = line_of(quantity=3, partner="convenience_store")
        ask_each(campaign, accounts(30))

        assert worker.serve_once() == 30

    found = statuses_in_order(campaign)
    assert found.count("issued") == 3
    first_sold_out = found.index("sold_out")
    assert set(found[:first_sold_out]) <= {"issued", "failed"}
    assert set(found[first_sold_out:]) == {"sold_out"}


def test_after_redis_came_back_with_old_data_no_request_overtakes_a_waiting_ticket(redis_server):
    campaign = line_of(quantity=10)
    first, *early = accounts(3)
    ask_each(campaign, [first])
    old = {name: redis_server.dump(name) for name in redis_server.keys("firstcome:{campaign:*")}
    ask_each(campaign, early)
    redis_server.flushdb()
    for name, value in old.items():
        redis_server.restore(name, 0, value)

    ask_each(campaign, accounts(2))
    assert worker.serve_once() == 5

    rows = QueueTicket.objects.filter(campaign=campaign).order_by("number")
    assert list(rows.values_list("number", "coupon__position")) == [(one, one) for one in range(1, 6)]


def test_an_issuer_that_can_not_refresh_its_queues_ends_all_its_threads():
    """Here the file of `--alive` can't be touched; the process ends, and its supervisor starts another."""
    campaign = line_of()
    ask_each(campaign, accounts(1))

    def fail_once_served():
        if statuses_in_order(campaign) == ["issued"]:
            raise OSError("no such folder")

    with pytest.raises(OSError, match="no such folder"):
        worker.serve(threading.Event(), on_refresh=fail_once_served)

    assert serving_threads() == 0


def serving_threads() -> int:
    return sum(thread.name.startswith("queues ") for thread in threading.enumerate())


@pytest.fixture
def connected():
    """The names of the threads that connect to the database, once for each connection."""
    names = []

    def note(**_):
        names.append(threading.current_thread().name)

    connection_created.connect(note)
    yield names
    connection_created.disconnect(note)


def test_any_number_of_queues_is_settled_by_a_few_threads_and_connections(connected):
    lines = [line_of() for _ in range(60)]
    first, second = accounts(2)
    for campaign in lines:
        ask_each(campaign, [first])
    with settling():
        wait_until(lambda: all(statuses_in_order(campaign) == ["issued"] for campaign in lines))
        assert 0 < serving_threads() <= worker.QUEUES_AT_ONCE[worker.BATCH]
        for campaign in lines:
            ask_each(campaign, [second])
        wait_until(lambda: all(statuses_in_order(campaign) == ["issued"] * 2 for campaign in lines))
    assert serving_threads() == 0
    used = [name for name in connected if name.startswith("queues ")]
    assert 0 < len(used) <= worker.QUEUES_AT_ONCE[worker.BATCH]


def test_queues_with_a_slow_partner_delay_no_other_queue(settings):
    with socket.create_server((ports.HOST, 0)) as silent:
        settings.PARTNER_URL = f"http://{ports.HOST}:{silent.getsockname()[1]}"
        settings.PARTNER_TIMEOUT_SECONDS = 4.0
        slow = [line_of(partner="convenience_store") for _ in range(12)]
        [user_id] = accounts(1)
        for campaign in slow:
            ask_each(campaign, [user_id])
        with settling():
            wait_until(lambda: Confirmation.objects.exists())
            quick = line_of()
            ask_each(quick, [user_id])
            wait_until(lambda: statuses_in_order(quick) == ["issued"], seconds=3)
            assert {status for campaign in slow for status in statuses_in_order(campaign)} == {"waiting"}


def ask_each(campaign, user_ids: Sequence[int]):
    for user_id in user_ids:
        issuing.issue(campaign_id=campaign.pk, user_id=user_id)


def statuses_in_order(campaign) -> list[str]:
    rows = QueueTicket.objects.filter(campaign=campaign)
    return list(rows.order_by("number").values_list("status", flat=True))
