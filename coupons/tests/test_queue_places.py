"""The line of `queue` and who keeps their place in it: a partner that is away, a Redis with old data."""

import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from django.conf import LazySettings
from redis import Redis

from coupons import issuing, serving
from coupons.in_redis import line
from coupons.models import Campaign, QueueTicket
from coupons.partners import patience
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken
from coupons.tests.own_partner import GOOD
from scripts import ports
from scripts.tests.simulator import running
from shop.errors import Unavailable
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_partner_that_is_away_costs_nobody_their_place_and_nobody_is_told_sold_out(
    tmp_path: Path, settings: LazySettings
) -> None:
    port = ports.free()
    settings.PARTNER_URL, settings.PARTNER_TIMEOUT_SECONDS = f"http://{ports.HOST}:{port}", 10.0
    campaign = line_of(quantity=2, partner="convenience_store")
    ask(campaign, accounts(3))

    assert serving.serve_once() == 0
    ask(campaign, accounts(2))
    assert statuses(campaign) == ["waiting"] * 5
    with running("partner", tmp_path, *GOOD, port=port):
        patience.forget()
        assert serving.serve_once() == 5

    assert statuses(campaign) == ["issued"] * 2 + ["sold_out"] * 3
    assert broken() == {}


def test_a_slot_that_the_partner_refuses_goes_to_the_next_in_line(
    tmp_path: Path, settings: LazySettings
) -> None:
    settings.PARTNER_TIMEOUT_SECONDS = 10.0
    with running("partner", tmp_path, *GOOD, "--failure-rate", "0.5") as partner:
        settings.PARTNER_URL = f"http://{ports.HOST}:{partner.port}"
        campaign = line_of(quantity=3, partner="convenience_store")
        ask(campaign, accounts(30))

        assert serving.serve_once() == 30

    found = statuses(campaign)
    assert found.count("issued") == 3
    first_sold_out = found.index("sold_out")
    assert set(found[:first_sold_out]) <= {"issued", "failed"}
    assert set(found[first_sold_out:]) == {"sold_out"}
    assert broken() == {}


def test_a_redis_that_came_back_with_old_data_lets_nobody_overtake_who_waits(redis_server: Redis) -> None:
    campaign = line_of(quantity=10)
    first, *early = accounts(3)
    ask(campaign, [first])
    old = {name: redis_server.dump(name) for name in redis_server.keys("firstcome:{campaign:*")}
    ask(campaign, early)
    redis_server.flushdb()
    for name, value in old.items():
        redis_server.restore(name, 0, value)

    ask(campaign, accounts(2))
    assert serving.serve_once() == 5

    rows = QueueTicket.objects.filter(campaign=campaign).order_by("number")
    assert list(rows.values_list("number", "coupon__position")) == [(one, one) for one in range(1, 6)]


def test_an_issuer_that_cannot_look_any_more_ends_with_all_its_lines() -> None:
    """Here for a file that can't be touched; whoever watches the process starts another."""
    campaign = line_of()
    ask(campaign, accounts(1))

    def fail_once_served() -> None:
        if statuses(campaign) == ["issued"]:
            raise OSError("no such folder")

    with pytest.raises(OSError, match="no such folder"):
        serving.serve(threading.Event(), looked=fail_once_served)

    assert not [thread for thread in threading.enumerate() if thread.name == f"line {campaign.pk}"]


def test_more_lines_than_there_are_connections_for_keep_nobody_from_redis() -> None:
    def serve(number: int) -> list[str]:
        """As an issuer's thread does whose line is not there: it hears so, and waits."""
        heard = []
        for _ in range(4):
            with pytest.raises((line.Lost, Unavailable)) as told:
                line.read(number, issuer="any", most=1)
            heard.append(told.typename)
            line.wait(number)
        return heard

    heard = race([partial(serve, number) for number in range(300)])

    assert heard == [["Lost"] * 4] * 300


def line_of(**terms: object) -> Campaign:
    return CampaignFactory.create(strategy="queue", **terms)


def ask(campaign: Campaign, user_ids: Sequence[int]) -> None:
    """Have these accounts draw their tickets one after the other."""
    for user_id in user_ids:
        issuing.issue(campaign_id=campaign.pk, user_id=user_id)


def statuses(campaign: Campaign) -> list[str]:
    """What became of the tickets, in the order of their numbers."""
    rows = QueueTicket.objects.filter(campaign=campaign)
    return list(rows.order_by("number").values_list("status", flat=True))
