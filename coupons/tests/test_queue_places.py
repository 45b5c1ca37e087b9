"""Positions in a queue when a partner is unavailable or Redis has old data; the issuer's threads."""

import socket
import threading
from collections.abc import Sequence

import pytest

from coupons.issuing import issuing
from coupons.models import Campaign, Confirmation, QueueTicket
from coupons.partners import confirmation
from coupons.queue import worker
from coupons.tests.factories import accounts
from coupons.tests.laws import broken
from coupons.tests.own_issuer import settling
from coupons.tests.own_partner import GOOD
from coupons.tests.test_queue import line_of
from scripts.stack import ports
from scripts.tests.simulator import serving
from shop.tests.racing import wait_until
from shop.tests.second_connection import another_connection, ask as ask_database

pytestmark = pytest.mark.django_db(transaction=True)


def test_an_unavailable_partner_costs_no_ticket_its_place_and_none_is_sold_out(tmp_path, settings):
    port = ports.free()
    settings.PARTNER_URL, settings.PARTNER_TIMEOUT_SECONDS = f"http://{ports.HOST}:{port}", 10.0
    campaign = line_of(quantity=2, partner="convenience_store")
    ask(campaign, accounts(3))

    assert worker.serve_once() == 0
    ask(campaign, accounts(2))
    assert statuses(campaign) == ["waiting"] * 5
    with serving("partner", tmp_path, *GOOD, port=port):
        confirmation.reset()
        assert worker.serve_once() == 5

    assert statuses(campaign) == ["issued"] * 2 + ["sold_out"] * 3
    assert broken() == {}


def test_a_slot_that_the_partner_refuses_goes_to_the_next_ticket(tmp_path, settings):
    settings.PARTNER_TIMEOUT_SECONDS = 10.0
    with serving("partner", tmp_path, *GOOD, "--failure-rate", "0.5") as partner:
        settings.PARTNER_URL = f"http://{ports.HOST}:{partner.port}"
        campaign = line_of(quantity=3, partner="convenience_store")
        ask(campaign, accounts(30))

        assert worker.serve_once() == 30

    found = statuses(campaign)
    assert found.count("issued") == 3
    first_sold_out = found.index("sold_out")
    assert set(found[:first_sold_out]) <= {"issued", "failed"}
    assert set(found[first_sold_out:]) == {"sold_out"}
    assert broken() == {}


def test_after_redis_came_back_with_old_data_no_request_overtakes_a_waiting_ticket(redis_server):
    campaign = line_of(quantity=10)
    first, *early = accounts(3)
    ask(campaign, [first])
    old = {name: redis_server.dump(name) for name in redis_server.keys("firstcome:{campaign:*")}
    ask(campaign, early)
    redis_server.flushdb()
    for name, value in old.items():
        redis_server.restore(name, 0, value)

    ask(campaign, accounts(2))
    assert worker.serve_once() == 5

    rows = QueueTicket.objects.filter(campaign=campaign).order_by("number")
    assert list(rows.values_list("number", "coupon__position")) == [(one, one) for one in range(1, 6)]


def test_an_issuer_that_can_not_refresh_its_queues_ends_all_its_threads():
    """Here the file of `--alive` can't be touched; the process ends, and its supervisor starts another."""
    campaign = line_of()
    ask(campaign, accounts(1))

    def fail_once_served() -> None:
        if statuses(campaign) == ["issued"]:
            raise OSError("no such folder")

    with pytest.raises(OSError, match="no such folder"):
        worker.serve(threading.Event(), on_refresh=fail_once_served)

    assert serving_threads() == 0


def serving_threads() -> int:
    return sum(thread.name.startswith("queues ") for thread in threading.enumerate())


def test_any_number_of_queues_is_settled_by_a_few_threads_and_connections():
    lines = [line_of() for _ in range(60)]
    first, second = accounts(2)
    for campaign in lines:
        ask(campaign, [first])
    before = database_connections()
    with settling():
        wait_until(lambda: all(statuses(campaign) == ["issued"] for campaign in lines))
        assert serving_threads() == worker.QUEUES_AT_ONCE[worker.BATCH]
        assert database_connections() - before <= worker.QUEUES_AT_ONCE[worker.BATCH] + 1
        for campaign in lines:
            ask(campaign, [second])
        wait_until(lambda: all(statuses(campaign) == ["issued"] * 2 for campaign in lines))
    assert serving_threads() == 0
    assert broken() == {}


def test_queues_with_a_slow_partner_delay_no_other_queue(settings):
    with socket.create_server((ports.HOST, 0)) as silent:
        settings.PARTNER_URL = f"http://{ports.HOST}:{silent.getsockname()[1]}"
        settings.PARTNER_TIMEOUT_SECONDS = 4.0
        slow = [line_of(partner="convenience_store") for _ in range(12)]
        [user_id] = accounts(1)
        for campaign in slow:
            ask(campaign, [user_id])
        with settling():
            wait_until(lambda: Confirmation.objects.exists())
            quick = line_of()
            ask(quick, [user_id])
            wait_until(lambda: statuses(quick) == ["issued"], seconds=3)
            assert {status for campaign in slow for status in statuses(campaign)} == {"waiting"}


def database_connections() -> int:
    with another_connection() as other:
        statement = "SELECT COUNT(*) FROM information_schema.processlist WHERE db = DATABASE()"
        return int(ask_database(other, statement)[0][0])


def ask(campaign: Campaign, user_ids: Sequence[int]) -> None:
    for user_id in user_ids:
        issuing.issue(campaign_id=campaign.pk, user_id=user_id)


def statuses(campaign: Campaign) -> list[str]:
    rows = QueueTicket.objects.filter(campaign=campaign)
    return list(rows.order_by("number").values_list("status", flat=True))
