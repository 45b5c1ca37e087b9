"""Issuing under races, with real threads, processes and connections; and the twin that must fail."""

import json
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import pytest

from coupons.campaigns import campaigns
from coupons.codes import pool
from coupons.models import Campaign, Coupon, PoolCode
from coupons.tests.factories import CampaignFactory, accounts, campaign_with_strategy
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue_calls
from shop.tests.racing import race, wait_until
from shop.tests.second_connection import holding
from shop.tests.second_process import another_process, read_line
from shop.tests.waiting import in_background, waiting_for_the_row

pytestmark = pytest.mark.django_db(transaction=True)
EXACT = [
    "group_commit",
    "pessimistic",
    "optimistic",
    "conditional_update",
    "redis_gate",
    "code_pool",
    "spin_lock",
    "fair_lock",
]
exactly = pytest.mark.parametrize("strategy", EXACT)
# Waits for a line of input before it requests the next campaign's coupons: `CAMPAIGN,... ACCOUNT...`.
ASK_FOR_ALL = """
import json
from coupons.tests.outcomes import count_outcomes, issue_calls
from shop.tests.racing import race

print("ready", flush=True)
for campaign_id in sys.argv[1].split(","):
    sys.stdin.readline()
    outcomes = race(issue_calls(int(campaign_id), map(int, sys.argv[2:])))
    print(json.dumps(count_outcomes(outcomes)), flush=True)
"""


@exactly
def test_exactly_100_are_issued_to_200_concurrent_requests(strategy):
    campaign = campaign_with_strategy(strategy, quantity=100, codes=200)

    outcomes = race(issue_calls(campaign.pk, accounts(200)))

    assert count_outcomes(outcomes) == {"new": 100, "sold_out": 100}
    assert positions(campaign) == list(range(1, 101))
    assert broken() == {}


def test_without_a_lock_more_are_issued_than_there_are(settings):
    """The twin: all requests read the count before any of them writes it."""
    settings.LAB = True
    campaign = CampaignFactory.create(strategy="unsafe", quantity=30)
    everyone = accounts(60)

    with holding("SELECT id FROM coupons_campaign WHERE id = %s FOR UPDATE", campaign.pk):
        asked = in_background(lambda: race(issue_calls(campaign.pk, everyone)))
        wait_until(lambda: waiting_for_the_row(Campaign) == 60, seconds=30)

    assert count_outcomes(asked.result(60)) == {"new": 60}
    assert Coupon.objects.filter(campaign=campaign).count() == 60
    assert broken() == {"L1": [str(campaign.pk)]}


@exactly
def test_50_concurrent_requests_of_one_account_get_one_coupon(strategy):
    campaign = campaign_with_strategy(strategy, quantity=10, codes=200)

    outcomes = race(issue_calls(campaign.pk, accounts(1) * 50))

    assert count_outcomes(outcomes) == {"new": 1, "again": 49}
    assert len({outcome.coupon.code for outcome in outcomes}) == 1
    assert positions(campaign) == [1]
    assert broken() == {}


@pytest.mark.boots("a Python process", in_first_circle=True)
def test_exactly_100_are_issued_to_concurrent_requests_of_two_processes():
    """By each strategy: two processes request the coupons of one campaign after the other."""
    campaigns_of_each = [campaign_with_strategy(strategy, quantity=100, codes=200) for strategy in EXACT]
    everyone = accounts(160)
    found = {}

    with ExitStack() as stack:
        ids = ",".join(str(campaign.pk) for campaign in campaigns_of_each)
        parts = [[ids, *map(str, part)] for part in (everyone[:80], everyone[80:])]
        processes = [stack.enter_context(another_process(ASK_FOR_ALL, *part)) for part in parts]
        for campaign in campaigns_of_each:
            for process in processes:
                assert process.stdin
                process.stdin.write("go\n")
                process.stdin.flush()
            outcomes = [json.loads(read_line(process)) for process in processes]
            found[campaign.strategy] = sum(map(Counter, outcomes), Counter()), positions(campaign)

    exact = {"new": 100, "sold_out": 60}, list(range(1, 101))
    assert found == dict.fromkeys(EXACT, exact)
    assert broken() == {}


@exactly
def test_a_quantity_raised_meanwhile_is_issued_completely(strategy):
    campaign = campaign_with_strategy(strategy, quantity=10, codes=200)
    everyone = accounts(60)

    def raise_quantity() -> Campaign:
        return campaigns.change(campaign_id=campaign.pk, quantity=40)

    outcomes = race([*issue_calls(campaign.pk, everyone), raise_quantity])
    again = race(issue_calls(campaign.pk, everyone))

    assert outcomes[-1].quantity == 40
    assert count_outcomes(outcomes[:-1])["new"] + count_outcomes(again)["new"] == 40
    assert positions(campaign) == list(range(1, 41))
    assert broken() == {}


@exactly
def test_a_quantity_is_never_lowered_below_what_is_issued_meanwhile(strategy):
    campaign = campaign_with_strategy(strategy, quantity=40, codes=200)

    def lower_quantity() -> Campaign:
        return campaigns.change(campaign_id=campaign.pk, quantity=20)

    outcomes = race([*issue_calls(campaign.pk, accounts(40)), *[lower_quantity] * 5])

    campaign.refresh_from_db()
    issued = count_outcomes(outcomes[:40])["new"]
    refused = count_outcomes(outcomes[40:])["quantity_below_issued"]
    assert (campaign.quantity, issued) == ((40, 40) if refused == 5 else (20, 20))
    assert broken() == {}


@exactly
def test_a_pool_gives_each_of_its_codes_once(strategy):
    campaign = CampaignFactory.create(strategy=strategy, code_source="pool", quantity=60, codes=50)

    outcomes = race(issue_calls(campaign.pk, accounts(80)))

    assert count_outcomes(outcomes) == {"new": 50, "sold_out": 30}
    assert positions(campaign) == list(range(1, 51))
    assert not PoolCode.objects.filter(status="available").exists()
    assert broken() == {}


@pytest.mark.parametrize("strategy", ["group_commit", "code_pool"])
def test_codes_added_meanwhile_are_issued(strategy):
    campaign = CampaignFactory.create(strategy=strategy, code_source="pool", quantity=100, codes=20)
    everyone = accounts(100)
    adding = [lambda: pool.generate(campaign_id=campaign.pk, count=10)] * 4

    race([*issue_calls(campaign.pk, everyone), *adding])
    race(issue_calls(campaign.pk, everyone))

    assert positions(campaign) == list(range(1, 61))
    assert not PoolCode.objects.filter(status="available").exists()
    assert broken() == {}


def test_one_code_added_to_two_campaigns_at_once_is_in_one_pool():
    first, second = CampaignFactory.create(code_source="pool"), CampaignFactory.create(code_source="pool")
    codes = [f"CODE-{number}" for number in range(50)]

    def adding_to(campaign: Campaign, order: Sequence[str]) -> Any:
        return lambda: pool.add(campaign_id=campaign.pk, codes=order)

    outcomes = race([adding_to(first, codes), adding_to(second, codes[::-1])] * 4)

    assert sum(outcome.added for outcome in outcomes) == 50
    assert PoolCode.objects.count() == 50
    assert broken() == {}
