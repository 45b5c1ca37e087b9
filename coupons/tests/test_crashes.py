"""Every strategy under load and faults: processes killed, Redis killed, Redis emptied."""

from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from redis import Redis

from coupons.issuing import issuing
from coupons.models import Campaign, Coupon
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.under_load import NEED_NO_REDIS, Load
from scripts.stack import ports
from scripts.tests.simulator import everything, running
from shop.tests.outages import OwnRedis

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
    campaigns = drops(strategy)

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
    assert broken() == {}
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
    assert broken() == {}


def test_the_same_load_breaks_the_law_without_locks(own_redis, tmp_path):
    """The twin: the strategy without a lock breaks under the load that the others withstand."""
    campaign = CampaignFactory.create(strategy="unsafe", quantity=QUANTITY)

    with Load([campaign], accounts(ACCOUNTS), folder=tmp_path, REDIS_URL=own_redis.url, LAB="1") as load:
        befall(load, own_redis)
        load.issue_more(QUANTITY)

    assert str(campaign.pk) in broken()["L1"]


def drops(strategy: str) -> Sequence[Campaign]:
    """A campaign that generates its codes, if the strategy can, and one with a pool of as many."""
    pooled = pooled_drop(strategy)
    if strategy == "code_pool":
        return [pooled]
    return [pooled, CampaignFactory.create(strategy=strategy, quantity=QUANTITY)]


def pooled_drop(strategy: str, **columns: Any) -> Campaign:
    """A campaign with as many codes as there are coupons."""
    columns |= {"strategy": strategy, "quantity": QUANTITY, "code_source": "pool"}
    return CampaignFactory.create(**columns, codes=QUANTITY)


def befall(load: Load, redis: OwnRedis) -> None:
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
