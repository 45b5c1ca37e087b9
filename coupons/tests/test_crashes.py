"""Every strategy while things break under it: processes killed, Redis killed, Redis emptied, under load."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from redis import Redis

from coupons import issuing, pool
from coupons.models import Campaign
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.under_load import NEED_NO_REDIS, Load
from shop.tests.outages import OwnRedis, own_redis

__all__ = ["own_redis"]
pytestmark = pytest.mark.django_db(transaction=True)

EXACT = [name for name in issuing.STRATEGIES if name not in issuing.LAB_ONLY]
QUANTITY, ACCOUNTS = 240, 300
FLUSHES = 5


@pytest.mark.parametrize("strategy", EXACT)
def test_whatever_breaks_under_load_exactly_what_there_is_is_issued(
    strategy: str, own_redis: OwnRedis, tmp_path: Path
) -> None:
    campaigns = drops(strategy)

    with Load(campaigns, accounts(ACCOUNTS), folder=tmp_path, REDIS_URL=own_redis.url) as load:
        befall(load, own_redis)
        assert min(load.left().values()) > 0, "it was over before all had befallen it"
        load.issue_all()

    assert load.unforeseen() == load.untrue() == load.sweeping_failed == []
    for campaign in campaigns:
        assert load.definite(campaign) == {"coupon": QUANTITY, "sold_out": ACCOUNTS - QUANTITY}
        assert positions(campaign) == list(range(1, QUANTITY + 1))
    assert broken() == {}
    is_refused = "unavailable" in {answer.outcome for answer in load.answers()}
    assert is_refused == (strategy not in NEED_NO_REDIS)


def test_the_same_load_breaks_the_law_where_nothing_is_locked(own_redis: OwnRedis, tmp_path: Path) -> None:
    """The twin: what the others stand, the strategy without a lock does not."""
    campaign = CampaignFactory.create(strategy="unsafe", quantity=QUANTITY)

    with Load([campaign], accounts(ACCOUNTS), folder=tmp_path, REDIS_URL=own_redis.url, LAB="1") as load:
        befall(load, own_redis)
        load.issue_more(QUANTITY)

    assert str(campaign.pk) in broken()["L1"]


def drops(strategy: str) -> Sequence[Campaign]:
    """A campaign that makes its codes, where the strategy can, and one with a pool of as many."""
    pooled = CampaignFactory.create(strategy=strategy, quantity=QUANTITY, code_source="pool")
    pool.generate(campaign_id=pooled.pk, count=QUANTITY)
    if strategy == "code_pool":
        return [pooled]
    return [pooled, CampaignFactory.create(strategy=strategy, quantity=QUANTITY)]


def befall(load: Load, redis: OwnRedis) -> None:
    """One after the other, each once the load has recovered from what came before."""
    load.issue_more(20)
    load.replace_an_asker()
    load.replace_servants()
    load.issue_more(20)
    redis.kill()
    load.answer_more(40)
    redis.start()
    load.issue_more(20)
    with Redis.from_url(redis.url) as client:
        for _ in range(FLUSHES):
            load.answer_more(10)
            client.flushall()
