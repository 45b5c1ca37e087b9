"""Strategies under faults: processes killed or frozen, Redis killed or emptied; and `queue` by itself.

Of `queue` two tests kill issuers that are processes; in the others the issuer is a thread, and one that was
killed is what it has left in Redis.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from django.utils import timezone
from redis import Redis
from structlog.testing import capture_logs

from coupons import issuing, redis_keys, tasks
from coupons.allocation.outcomes import Issued
from coupons.models import Campaign, Coupon, QueueTicket
from coupons.queue import stream, tickets, worker
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue_calls
from coupons.tests.own_issuer import OwnIssuer, settling
from coupons.tests.own_partner import GOOD
from coupons.tests.test_queue import line_of
from coupons.tests.under_load import NEED_NO_REDIS, Load
from foundation.errors import Unavailable
from foundation.redis import redis_client
from foundation.tests.instants import ago
from foundation.tests.outages import OwnRedis
from foundation.tests.racing import race, wait_until
from foundation.tests.waiting import in_background
from scripts.stack import ports
from scripts.tests.simulator import everything, running, serving

pytestmark = pytest.mark.django_db(transaction=True)

FIRST = ("group_commit", "redis_gate")
"""By each strategy it takes ten seconds: `make verify` runs the others."""


def by(strategies: Iterable[str]) -> pytest.MarkDecorator:
    marks = {name: () if name in FIRST else (pytest.mark.long,) for name in strategies}
    return pytest.mark.parametrize("strategy", [pytest.param(name, marks=marks[name]) for name in marks])


QUANTITY, ACCOUNTS = 240, 280
FLUSHES = 5
MANNERS = ("--failure-rate", "0.1", "--late-rate", "0", "--silent-rate", "0.02", "--lost-rate", "0.01")


@by(name for name in issuing.STRATEGIES if name not in issuing.LAB_ONLY)
def test_exactly_the_quantity_is_issued_whatever_breaks_under_load(strategy, own_redis, tmp_path):
    campaigns = [pooled_drop(strategy)]
    if strategy != "code_pool":
        campaigns.append(CampaignFactory(strategy=strategy, quantity=QUANTITY))

    with Load(campaigns, accounts(ACCOUNTS), folder=tmp_path, REDIS_URL=own_redis.url) as load:
        befall(load, own_redis)
        assert min(load.left().values()) > 0, "it was over before all had befallen it"
        # Last, because requests that wait for them are answered at once when they are back.
        load.replace_servants()
        load.issue_all()

    assert load.unforeseen() == load.untrue() == load.sweeping_failed == []
    for campaign in campaigns:
        assert load.definite(campaign) == {"coupon": QUANTITY, "sold_out": ACCOUNTS - QUANTITY}
        assert positions(campaign) == list(range(1, QUANTITY + 1))
    is_refused = "unavailable" in {answer.outcome for answer in load.answers()}
    assert is_refused == (strategy not in NEED_NO_REDIS)


@by(["group_commit", "redis_gate", "code_pool"])
def test_a_partner_knows_exactly_the_coupons_there_are_whatever_breaks(
    strategy, own_redis, tmp_path, settings
):
    """The partner refuses some and sometimes doesn't answer; no account has a coupon that it doesn't know."""
    campaign = pooled_drop(strategy, partner="convenience_store")

    with running("partner", tmp_path, *MANNERS) as partner:
        settings.PARTNER_URL = f"http://{ports.HOST}:{partner.port}"
        urls = {"REDIS_URL": own_redis.url, "PARTNER_URL": settings.PARTNER_URL}
        with Load([campaign], accounts(ACCOUNTS), folder=tmp_path, **urls) as load:
            befall(load, own_redis)
            load.issue_all()
        known = everything(partner, "/registrations")

    assert load.unforeseen() == load.untrue() == load.sweeping_failed == []
    assert load.definite(campaign) == {"coupon": QUANTITY, "sold_out": ACCOUNTS - QUANTITY}
    assert positions(campaign) == list(range(1, QUANTITY + 1))
    coupons = Coupon.objects.filter(campaign=campaign).values_list("code", flat=True)
    assert sorted(one["code"] for one in known if one["status"] == "registered") == sorted(coupons)
    assert "partner_failed" in {answer.outcome for answer in load.answers()}


def test_the_same_load_breaks_the_law_without_locks(own_redis, tmp_path, unlawful):
    """The twin: the strategy without a lock breaks under the load that the others withstand."""
    campaign = CampaignFactory(strategy="unsafe", quantity=QUANTITY)

    with Load([campaign], accounts(ACCOUNTS), folder=tmp_path, REDIS_URL=own_redis.url, LAB="1") as load:
        befall(load, own_redis)
        load.issue_more(QUANTITY)

    assert str(campaign.pk) in broken()["L1"]


def pooled_drop(strategy: str, **columns) -> Campaign:
    """A campaign with as many codes as there are coupons."""
    columns |= {"strategy": strategy, "quantity": QUANTITY, "code_source": "pool"}
    return CampaignFactory(**columns, codes=QUANTITY)


def befall(load, redis: OwnRedis):
    """Cause the faults one after the other, each once the load has recovered from the one before."""
    load.issue_more(20)
    load.replace_a_client()
    load.issue_more(20)
    redis.kill()
    load.answer_more(40)
    redis.start()
    load.issue_more(20)
    with Redis.from_url(redis.url) as client:
        for _ in range(FLUSHES):
            load.answer_more(10)
            client.flushall()


ASKING_THREADS = 40


@pytest.fixture
def issuers(tmp_path):
    """Starts issuers, and stops those that are left at the end."""
    started: list[OwnIssuer] = []

    def start(**settings):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        started.append(OwnIssuer(folder, **settings))
        started[-1].start()
        return started[-1]

    yield start
    for issuer in started:
        issuer.kill()


@pytest.mark.boots("a Python process", in_first_circle=True)
def test_5000_tickets_are_settled_in_order_while_issuers_are_killed(issuers):
    campaign = line_of(quantity=4_900)
    everyone = accounts(5_000)
    first = issuers()

    asked = in_background(lambda: ask_all(campaign, everyone))
    wait_until(lambda: settled(campaign) > 500, seconds=60)
    first.kill()
    second = issuers()
    killed_at = settled(campaign)
    wait_until(lambda: settled(campaign) > killed_at + 500, seconds=60)
    second.kill()
    third = issuers()
    outcomes = count_outcomes(asked.result())
    queued = outcomes["queued"]
    # The last requests may come after the last coupon.
    assert outcomes["sold_out"] == 5_000 - queued
    wait_until(lambda: settled(campaign) == queued, seconds=60)

    assert numbers(campaign) == list(range(1, queued + 1))
    assert order_of_positions(campaign) == [(number, number) for number in range(1, 4_901)]
    assert statuses(campaign).get("sold_out", 0) == queued - 4_900
    assert third.stop() == 0


def test_entries_read_by_a_killed_issuer_are_settled_in_order_by_the_next():
    campaign = line_of(quantity=100)
    ask_all(campaign, accounts(20))
    assert len(stream.read(campaign.pk, issuer="killed", most=20)) == pending(campaign) == 20
    assert settled(campaign) == 0
    later = in_background(lambda: ask_all(campaign, accounts(30)))
    with settling():
        later.result()

        wait_until(lambda: settled(campaign) == 50, seconds=30)

        assert order_of_positions(campaign) == [(number, number) for number in range(1, 51)]
        wait_until(lambda: pending(campaign) == 0, seconds=10)


@pytest.mark.boots("a Python process", in_first_circle=True)
def test_several_issuers_at_once_keep_the_order(issuers):
    campaign = line_of(quantity=3_000)
    three = [issuers() for _ in range(3)]
    wait_until(lambda: all("Settling the queues" in issuer.log() for issuer in three), seconds=60)
    asked = in_background(lambda: ask_all(campaign, accounts(3_000)))
    wait_until(lambda: settled(campaign) > 100, seconds=60)
    three[0].kill()
    asked.result()
    wait_until(lambda: settled(campaign) == 3_000, seconds=60)

    assert {issuer.stop() for issuer in three[1:]} == {0}
    assert order_of_positions(campaign) == [(number, number) for number in range(1, 3_001)]


def test_an_issuer_that_wakes_up_late_finds_its_tickets_settled(redis_server):
    campaign = line_of(quantity=3)
    ask_all(campaign, accounts(4), threads=1)
    asleep = stream.read(campaign.pk, issuer="asleep", most=2)
    redis_server.delete(redis_keys.key(campaign.pk, stream.LEASE))
    awake = stream.read(campaign.pk, issuer="awake", most=2)
    with pytest.raises(stream.LeaseTaken):
        stream.read(campaign.pk, issuer="asleep", most=2)
    worker.settle_tickets(campaign_id=campaign.pk, positions=awake)
    stream.remove(campaign.pk, awake)

    worker.settle_tickets(campaign_id=campaign.pk, positions=asleep)
    stream.remove(campaign.pk, asleep)
    stream.release(campaign.pk, issuer="awake")
    worker.serve_once()

    assert [one.number for one in asleep] == [one.number for one in awake] == [1, 2]
    assert order_of_positions(campaign) == [(1, 1), (2, 2), (3, 3)]
    assert statuses(campaign) == {"issued": 3, "sold_out": 1}


def test_without_the_lease_two_issuers_mix_up_the_order(redis_server):
    """The twin: two issuers read the stream as ordinary consumers of a group, and the second is faster."""
    campaign = line_of(quantity=10)
    ask_all(campaign, accounts(4), threads=1)
    unread = {redis_keys.key(campaign.pk, stream.STREAM): ">"}
    batches = []
    for name in ("slow", "fast"):
        [(_, entries)] = redis_server.xreadgroup("issuers", name, unread, count=2)
        batches.append([stream._decode(fields[b"position"]) for _, fields in entries])

    for batch in reversed(batches):
        worker.settle_tickets(campaign_id=campaign.pk, positions=batch)

    assert order_of_positions(campaign) == [(1, 3), (2, 4), (3, 1), (4, 2)]


def test_redis_is_flushed_while_tickets_are_drawn_and_settled(redis_server):
    campaign = line_of(quantity=900)
    everyone = accounts(1_000)

    def is_settled():
        tasks.sweep()
        return not QueueTicket.objects.filter(status="waiting").exists()

    with settling():
        asked = in_background(lambda: ask_all(campaign, everyone))
        for number in (100, 300, 600):
            wait_until(lambda number=number: QueueTicket.objects.count() > number, seconds=60)
            redis_server.flushdb()
        outcomes = asked.result()
        wait_until(is_settled, seconds=60)

    # The last requests may come after the last coupon.
    assert set(count_outcomes(outcomes)) <= {"queued", "unavailable", "sold_out"}
    issuing.forget()
    again = count_outcomes(outcome for outcome in ask_all(campaign, everyone))
    assert again["again"] == 900
    assert positions(campaign) == list(range(1, 901))


def test_a_flushed_queue_is_restored_in_order(redis_server):
    campaign = line_of(quantity=10)
    early, late = accounts(3), accounts(2)
    ask_all(campaign, early, threads=1)
    redis_server.flushdb()

    ask_all(campaign, late, threads=1)
    redis_server.flushdb()
    assert worker.serve_once() == 5

    assert numbers(campaign) == [1, 2, 3, 4, 5]
    assert order_of_positions(campaign) == [(number, number) for number in range(1, 6)]


@pytest.mark.parametrize("lost", [stream.COUNTER, stream.STREAM, stream.WAITING])
def test_every_ticket_is_settled_once_whatever_part_of_the_queue_is_lost(redis_server, lost):
    campaign = line_of(quantity=10)
    early, late = accounts(3), accounts(2)
    ask_all(campaign, early, threads=1)
    redis_server.delete(redis_keys.key(campaign.pk, lost))

    ask_all(campaign, [*late, *early], threads=1)
    make_older(campaign)
    tasks.sweep()
    worker.serve_once()

    assert statuses(campaign) == {"issued": 5}
    assert order_of_positions(campaign) == [(number, number) for number in range(1, 6)]


def test_a_ticket_missing_from_redis_is_queued_again_by_the_sweeper():
    campaign = line_of(quantity=10)
    ask_all(campaign, accounts(1))
    worker.serve_once()
    [account_id] = accounts(1)
    stray = QueueTicket.objects.create(
        campaign=campaign, account_id=account_id, number=2, created_at=timezone.now()
    )
    assert tickets.requeue_missing() == 0, "it may still be on its way"
    make_older(campaign)

    assert tickets.requeue_missing() == 1
    assert tickets.requeue_missing() == 0

    worker.serve_once()
    stray.refresh_from_db()
    assert stray.status == "issued"


def test_a_process_killed_before_its_ticket_was_written_leaves_one_that_is_settled():
    campaign = line_of(quantity=10)
    [account_id] = accounts(1)
    ask_all(campaign, [account_id])
    QueueTicket.objects.all().delete()

    [outcome] = ask_all(campaign, [account_id])
    assert outcome.ticket.number == 1
    QueueTicket.objects.all().delete()
    worker.serve_once()

    assert statuses(campaign) == {"issued": 1}
    [again] = ask_all(campaign, [account_id])
    assert isinstance(again, Issued)


def test_without_redis_no_ticket_is_drawn_until_it_is_back(own_redis):
    campaign = line_of(quantity=10)
    waiting, new_account = accounts(2)
    with settling():
        own_redis.stop()
        with pytest.raises(Unavailable):
            issuing.issue(campaign_id=campaign.pk, user_id=waiting)
        assert not QueueTicket.objects.exists()
        own_redis.start()
        wait_until(
            lambda: (
                count_outcomes(ask_all(campaign, [waiting, new_account]))["queued"] == 2
                or statuses(campaign) == {"issued": 2}
            )
        )
        wait_until(lambda: statuses(campaign) == {"issued": 2}, seconds=20)

    assert positions(campaign) == [1, 2]


def test_a_partner_that_refuses_some_and_answers_late(tmp_path, settings):
    with serving("partner", tmp_path, "--failure-rate", "0.2", "--lost-rate", "0.05") as partner:
        settings.PARTNER_URL = f"http://{ports.HOST}:{partner.port}"
        campaign = line_of(quantity=40, partner="convenience_store")
        ask_all(campaign, accounts(60))

        with settling():
            wait_until(lambda: swept(campaign, 60), seconds=90)
        known = everything(partner, "/registrations")

    told_by_status = statuses(campaign)
    assert told_by_status["failed"] > 0
    coupons = list(campaign.coupons.values_list("code", flat=True))
    assert told_by_status["issued"] == len(coupons)
    assert sorted(one["code"] for one in known if one["status"] == "registered") == sorted(coupons)
    assert positions(campaign) == list(range(1, len(coupons) + 1))


def test_tickets_wait_while_the_partner_is_unavailable(tmp_path, settings):
    port = ports.free()
    settings.PARTNER_URL = f"http://{ports.HOST}:{port}"
    campaign = line_of(quantity=40, partner="convenience_store")
    ask_all(campaign, accounts(30))

    with capture_logs() as logged, settling():
        wait_until(lambda: "a partner gave no answer" in [line["event"] for line in logged], seconds=30)
        wait_until(lambda: pending(campaign) == 30, seconds=30)
        assert statuses(campaign) == {"waiting": 30}
        assert broken() == {}

        with serving("partner", tmp_path, *GOOD, port=port):
            wait_until(lambda: swept(campaign, 30), seconds=60)

    assert statuses(campaign) == {"issued": 30}
    assert positions(campaign) == list(range(1, 31))


def ask_all(campaign, user_ids: Sequence[int], *, threads: int = ASKING_THREADS) -> list[Any]:
    """The outcome of a request for each account, from so many threads."""
    calls = issue_calls(campaign.pk, user_ids)

    def several(number):
        outcomes = []
        for call in calls[number::threads]:
            try:
                outcomes.append(call())
            except Exception as error:
                outcomes.append(error)
        return outcomes

    told_by_thread = race([lambda number=number: several(number) for number in range(threads)], timeout=120)
    return [outcome for outcomes in told_by_thread for outcome in outcomes]


def settled(campaign) -> int:
    return QueueTicket.objects.filter(campaign=campaign).exclude(status="waiting").count()


def swept(campaign, count: int) -> bool:
    """Sweep once; whether so many are settled."""
    tasks.sweep()
    return settled(campaign) == count


def statuses(campaign) -> dict[str, int]:
    found = list(QueueTicket.objects.filter(campaign=campaign).values_list("status", flat=True))
    return {status: found.count(status) for status in set(found)}


def numbers(campaign) -> list[int]:
    rows = QueueTicket.objects.filter(campaign=campaign)
    return list(rows.order_by("number").values_list("number", flat=True))


def order_of_positions(campaign) -> list[tuple[int, int]]:
    """The numbers of the tickets that got a coupon, in their order, each with its position."""
    rows = QueueTicket.objects.filter(campaign=campaign, status="issued").order_by("number")
    return list(rows.values_list("number", "coupon__position"))


def pending(campaign) -> int:
    stream_key = redis_keys.key(campaign.pk, stream.STREAM)
    return int(redis_client.client().xpending(stream_key, "issuers")["pending"])


def make_older(campaign):
    long_ago = ago(minutes=1)
    QueueTicket.objects.filter(campaign=campaign).update(created_at=long_ago)
