"""Issuing under races, with real threads, processes and connections; and the twin that must fail."""

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection, transaction

from coupons import campaigns, pool
from coupons.models import Campaign, Coupon, PoolCode
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue_calls
from shop.tests.racing import race, wait_until
from shop.tests.second_process import read_line

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


@exactly
def test_exactly_100_are_issued_to_200_concurrent_requests(strategy: str) -> None:
    campaign = campaign_of(strategy, quantity=100)

    outcomes = race(issue_calls(campaign.pk, accounts(200)))

    assert count_outcomes(outcomes) == {"new": 100, "sold_out": 100}
    assert positions(campaign) == list(range(1, 101))
    assert broken() == {}


def test_without_a_lock_more_are_issued_than_there_are(settings: Any) -> None:
    """The twin: all requests read the count before any of them writes it."""
    settings.LAB = True
    campaign = CampaignFactory.create(strategy="unsafe", quantity=30)
    everyone = accounts(60)

    with campaign_kept_until(campaign, waiting=60):
        outcomes = race(issue_calls(campaign.pk, everyone))

    assert count_outcomes(outcomes) == {"new": 60}
    assert Coupon.objects.filter(campaign=campaign).count() == 60
    assert broken() == {"L1": [str(campaign.pk)]}


@exactly
def test_50_concurrent_requests_of_one_account_get_one_coupon(strategy: str) -> None:
    campaign = campaign_of(strategy, quantity=10)

    outcomes = race(issue_calls(campaign.pk, accounts(1) * 50))

    assert count_outcomes(outcomes) == {"new": 1, "again": 49}
    assert len({outcome.coupon.code for outcome in outcomes}) == 1
    assert positions(campaign) == [1]
    assert broken() == {}


def test_exactly_100_are_issued_to_concurrent_requests_of_two_processes() -> None:
    """By each strategy: two processes request the coupons of one campaign after the other."""
    campaigns_of_each = [campaign_of(strategy, quantity=100) for strategy in EXACT]
    everyone = accounts(160)
    found = {}

    with asking_processes(campaigns_of_each, (everyone[:80], everyone[80:])) as processes:
        for campaign in campaigns_of_each:
            start_together(processes)
            outcomes = [json.loads(read_line(process)) for process in processes]
            found[campaign.strategy] = sum(map(Counter, outcomes), Counter()), positions(campaign)

    exact = {"new": 100, "sold_out": 60}, list(range(1, 101))
    assert found == dict.fromkeys(EXACT, exact)
    assert broken() == {}


@exactly
def test_a_quantity_raised_meanwhile_is_issued_completely(strategy: str) -> None:
    campaign = campaign_of(strategy, quantity=10)
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
def test_a_quantity_is_never_lowered_below_what_is_issued_meanwhile(strategy: str) -> None:
    campaign = campaign_of(strategy, quantity=40)

    def lower_quantity() -> Campaign:
        return campaigns.change(campaign_id=campaign.pk, quantity=20)

    outcomes = race([*issue_calls(campaign.pk, accounts(40)), *[lower_quantity] * 5])

    campaign.refresh_from_db()
    issued = count_outcomes(outcomes[:40])["new"]
    refused = count_outcomes(outcomes[40:])["quantity_below_issued"]
    assert (campaign.quantity, issued) == ((40, 40) if refused == 5 else (20, 20))
    assert broken() == {}


@exactly
def test_a_pool_gives_each_of_its_codes_once(strategy: str) -> None:
    campaign = CampaignFactory.create(strategy=strategy, code_source="pool", quantity=60)
    pool.generate(campaign_id=campaign.pk, count=50)

    outcomes = race(issue_calls(campaign.pk, accounts(80)))

    assert count_outcomes(outcomes) == {"new": 50, "sold_out": 30}
    assert positions(campaign) == list(range(1, 51))
    assert not PoolCode.objects.filter(status="available").exists()
    assert broken() == {}


def test_codes_added_meanwhile_are_issued() -> None:
    campaign = CampaignFactory.create(code_source="pool", quantity=60)
    everyone = accounts(60)
    adding = [lambda: pool.generate(campaign_id=campaign.pk, count=10)] * 4

    race([*issue_calls(campaign.pk, everyone), *adding])
    race(issue_calls(campaign.pk, everyone))

    assert positions(campaign) == list(range(1, 41))
    assert broken() == {}


def test_one_code_added_to_two_campaigns_at_once_is_in_one_pool() -> None:
    first, second = CampaignFactory.create(code_source="pool"), CampaignFactory.create(code_source="pool")
    codes = [f"CODE-{number}" for number in range(50)]

    def adding_to(campaign: Campaign, order: Sequence[str]) -> Any:
        return lambda: pool.add(campaign_id=campaign.pk, codes=order)

    outcomes = race([adding_to(first, codes), adding_to(second, codes[::-1])] * 4)

    assert sum(outcome.added for outcome in outcomes) == 50
    assert PoolCode.objects.count() == 50
    assert broken() == {}


def campaign_of(strategy: str, *, quantity: int) -> Campaign:
    """A campaign with that strategy, and with enough codes if the strategy needs a pool."""
    if strategy != "code_pool":
        return CampaignFactory.create(strategy=strategy, quantity=quantity)
    campaign = CampaignFactory.create(strategy=strategy, quantity=quantity, code_source="pool")
    pool.generate(campaign_id=campaign.pk, count=200)
    return campaign


@contextmanager
def campaign_kept_until(campaign: Campaign, *, waiting: int) -> Iterator[None]:
    """A second connection locks the campaign's row until so many requests wait to update it."""
    is_kept = threading.Event()

    def keep() -> None:
        with transaction.atomic():
            Campaign.objects.select_for_update().get(pk=campaign.pk)
            is_kept.set()
            wait_until(lambda: updates_waiting() == waiting, seconds=30)
        connection.close()

    keeper = threading.Thread(target=keep)
    keeper.start()
    assert is_kept.wait(10)
    yield
    keeper.join()


def updates_waiting() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COUNT(*) FROM information_schema.processlist"
            " WHERE db = DATABASE() AND info LIKE 'UPDATE `coupons_campaign`%%'"
        )
        return int(cursor.fetchone()[0])


@contextmanager
def asking_processes(
    campaigns: Sequence[Campaign], parts: Sequence[Sequence[int]]
) -> Iterator[list["subprocess.Popen[str]"]]:
    """Other processes that request coupons for their part of the accounts, on the database of this test."""
    url = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    ids = ",".join(str(campaign.pk) for campaign in campaigns)
    with ExitStack() as stack:
        yield [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "coupons.tests.asking", ids, *map(str, user_ids)],
                    env=os.environ
                    | {"DATABASE_URL": url.geturl(), "DJANGO_SETTINGS_MODULE": "shop.settings"},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for user_ids in parts
        ]


def start_together(processes: Sequence["subprocess.Popen[str]"]) -> None:
    """Let the processes request the next campaign's coupons, once all of them are ready."""
    for process in processes:
        assert read_line(process) == "ready"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
