"""Issuing and pausing under races, with real threads, processes and connections; and the failing twins."""

import json
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest

from coupons import campaigns, issuing
from coupons.allocation import allocating
from coupons.allocation.outcomes import IssueRequest
from coupons.codes import pool
from coupons.models import Campaign, Coupon, PoolCode, QueueTicket
from coupons.queue import worker
from coupons.tests.factories import (
    CampaignFactory,
    accounts,
    add_codes,
    campaign_with_strategy,
    pause,
    resume,
)
from coupons.tests.laws import broken, owners_in_order, positions
from coupons.tests.outcomes import count_outcomes, issue, issue_calls, raced
from coupons.tests.test_campaigns import TERMS
from coupons.tests.under_load import Load
from foundation.db import transactions
from foundation.errors import Rejected
from foundation.redis import redis_client
from foundation.tests.racing import race, wait_until
from foundation.tests.second_connection import holding_row
from foundation.tests.second_process import another_process, read_line, send
from foundation.tests.waiting import behind_a_pause, in_background, waiting_for_the_row

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("in_the_lab")]
EXACT = [name for name in issuing.STRATEGIES if name not in {"unsafe", "queue"}]
exactly = pytest.mark.parametrize("strategy", EXACT)
# Waits for a line of input before it requests the next campaign's coupons: `CAMPAIGN,... ACCOUNT...`.
ASK_FOR_ALL = """
import json
from coupons.tests.outcomes import count_outcomes, issue_calls, raced
from foundation.tests.racing import race

print("ready", flush=True)
for campaign_id in sys.argv[1].split(","):
    sys.stdin.readline()
    outcomes = race(issue_calls(int(campaign_id), map(int, sys.argv[2:])))
    print(json.dumps(count_outcomes(outcomes)), flush=True)
"""


@exactly
def test_exactly_100_are_issued_to_200_concurrent_requests(strategy):
    campaign = campaign_with_strategy(strategy, quantity=100, codes=200)

    assert raced(campaign, accounts(200)) == {"new": 100, "sold_out": 100}
    assert positions(campaign) == list(range(1, 101))


def test_without_a_lock_more_are_issued_than_there_are(unlawful):
    """The twin: all requests read the count before any of them writes it."""
    campaign = CampaignFactory(strategy="unsafe", quantity=30)
    everyone = accounts(60)

    with holding_row(campaign):
        asked = in_background(lambda: raced(campaign, everyone))
        wait_until(lambda: waiting_for_the_row(Campaign) == 60, seconds=30)

    assert asked.result(60) == {"new": 60}
    assert Coupon.objects.filter(campaign=campaign).count() == 60
    assert broken() == {"L1": [str(campaign.pk)]}


@exactly
def test_50_concurrent_requests_of_one_account_get_one_coupon(strategy):
    campaign = campaign_with_strategy(strategy, quantity=10, codes=200)

    outcomes = race(issue_calls(campaign.pk, accounts(1) * 50))

    assert count_outcomes(outcomes) == {"new": 1, "again": 49}
    assert len({outcome.coupon.code for outcome in outcomes}) == 1
    assert positions(campaign) == [1]


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
                send(process, "go")
            outcomes = [json.loads(read_line(process)) for process in processes]
            found[campaign.strategy] = sum(map(Counter, outcomes), Counter()), positions(campaign)

    exact = {"new": 100, "sold_out": 60}, list(range(1, 101))
    assert found == dict.fromkeys(EXACT, exact)


@exactly
def test_a_quantity_raised_meanwhile_is_issued_completely(strategy):
    campaign = campaign_with_strategy(strategy, quantity=10, codes=200)
    everyone = accounts(60)

    raising = partial(campaigns.change, campaign_id=campaign.pk, quantity=40)
    *outcomes, raised = race([*issue_calls(campaign.pk, everyone), raising])

    assert raised.quantity == 40
    assert count_outcomes(outcomes)["new"] + raced(campaign, everyone)["new"] == 40
    assert positions(campaign) == list(range(1, 41))


@exactly
def test_a_quantity_is_never_lowered_below_what_is_issued_meanwhile(strategy):
    campaign = campaign_with_strategy(strategy, quantity=40, codes=200)

    lowering = partial(campaigns.change, campaign_id=campaign.pk, quantity=20)
    outcomes = race([*issue_calls(campaign.pk, accounts(40)), *[lowering] * 5])

    campaign.refresh_from_db()
    issued = count_outcomes(outcomes[:40])["new"]
    refused = count_outcomes(outcomes[40:])["quantity_below_issued"]
    assert (campaign.quantity, issued) == ((40, 40) if refused == 5 else (20, 20))


@exactly
def test_a_pool_gives_each_of_its_codes_once(strategy):
    campaign = CampaignFactory(strategy=strategy, code_source="pool", quantity=60, codes=50)

    assert raced(campaign, accounts(80)) == {"new": 50, "sold_out": 30}
    assert positions(campaign) == list(range(1, 51))
    assert not PoolCode.objects.filter(status="available").exists()


@pytest.mark.parametrize("strategy", ["group_commit", "code_pool"])
def test_codes_added_meanwhile_are_issued(strategy):
    campaign = CampaignFactory(strategy=strategy, code_source="pool", quantity=100, codes=20)
    everyone = accounts(100)
    adding = [lambda: pool.generate(campaign_id=campaign.pk, count=10)] * 4

    race([*issue_calls(campaign.pk, everyone), *adding])
    race(issue_calls(campaign.pk, everyone))

    assert positions(campaign) == list(range(1, 61))
    assert not PoolCode.objects.filter(status="available").exists()


def test_one_code_added_to_two_campaigns_at_once_is_in_one_pool():
    first, second = CampaignFactory(code_source="pool"), CampaignFactory(code_source="pool")
    codes = [f"CODE-{number}" for number in range(50)]

    adding_to_first = partial(pool.add, campaign_id=first.pk, codes=codes)
    outcomes = race([adding_to_first, partial(pool.add, campaign_id=second.pk, codes=codes[::-1])] * 4)

    assert sum(outcome.added for outcome in outcomes) == 50
    assert PoolCode.objects.count() == 50


TRIES = 60
SHARING = {**TERMS, "code_source": "shared"}


def creating(code: str) -> Callable[[], Campaign]:
    return partial(campaigns.create, **SHARING, shared_code=code)


def changing(code: str) -> Callable[[], Campaign]:
    campaign = CampaignFactory(code_source="shared", shared_code=f"{code}~before")
    return partial(campaigns.change, campaign_id=campaign.pk, shared_code=code)


def add(campaign, code: str) -> list[str]:
    return add_codes(campaign, f"{code}.1", code, f"{code}.2").skipped


def rename(campaign, code: str) -> list[str]:
    return [] if pool.rename(campaign_id=campaign.pk, code=f"{code}-old", to=code).code == code else [code]


def both_written(share: Callable[..., Any], write: Callable[..., Any]) -> dict[str, int]:
    """How often of these tries the shared code was refused, the pool's, and neither."""
    campaign, found = CampaignFactory(code_source="pool"), dict[str, int]()
    codes = [f"Lenz.{number}" for number in range(TRIES)]
    pool.add(campaign_id=campaign.pk, codes=[f"{code}-old" for code in codes])
    for code in codes:
        shared, pooled = race([share(code), partial(write, campaign, code)])
        is_refused = [getattr(one, "code", None) == "code_exists" for one in (shared, pooled)]
        assert is_refused[0] or isinstance(shared, Campaign), shared
        assert is_refused[1] or pooled in ([], [code]), pooled
        lost = "shared" * is_refused[0] + "pooled" * (is_refused[1] or pooled == [code])
        found[lost] = found.get(lost, 0) + 1
    return found


@pytest.mark.parametrize("share", [creating, changing])
@pytest.mark.parametrize("write", [add, rename])
def test_of_a_shared_code_and_the_same_pool_code_written_at_once_one_is_there(share, write):
    found = both_written(share, write)

    assert set(found) <= {"shared", "pooled"}
    assert sum(found.values()) == TRIES
    assert "L3" not in broken()


@pytest.mark.parametrize("left_out", ["claim_shared", "_require_unshared"])
def test_without_the_key_or_the_look_behind_it_both_are_there(left_out, monkeypatch, unlawful):
    """The twin: both look the code up before they write it, and nothing decides afterwards."""
    monkeypatch.setattr(pool, left_out, lambda *args, **named: None)

    assert both_written(creating, add).get("", 0) > 0
    assert broken()["L3"]


# More rounds than any strategy gets through before the pause.
REQUESTS, ROUNDS = 12, 80
WITHOUT_TICKETS = [name for name in issuing.STRATEGIES if name != "queue"]
SAFE_STRATEGIES = [name for name in issuing.STRATEGIES if name != "unsafe"]
# How many of these requests a strategy lets wait for the row at once: batches and locks in Redis one.
AT_THE_ROW = dict.fromkeys(WITHOUT_TICKETS, 1) | dict.fromkeys(
    ["pessimistic", "conditional_update", "unsafe"], REQUESTS
)


def requests(issue: Callable[..., Any], campaign) -> list[Callable[[], Any]]:
    return [partial(issue, campaign_id=campaign.pk, user_id=one) for one in accounts(REQUESTS)]


def ask_then_lock(*, campaign_id: int, user_id: int):
    """The naive version: it asks whether the campaign is paused before it takes the lock, and not again."""
    refused = allocating.read_campaign(campaign_id, [user_id]).refusal(user_id)
    if refused:
        raise refused

    def write():
        locked = allocating.lock_campaign(campaign_id, [user_id])
        locked.state = locked.state._replace(paused_at=None)
        return allocating.allocate(locked, [IssueRequest(user_id)])

    return transactions.run(write, transactions.KEYED)[0]


@pytest.mark.parametrize("strategy", WITHOUT_TICKETS)
def test_requests_that_wait_for_the_row_behind_a_pause_are_refused(strategy):
    campaign = campaign_with_strategy(strategy)

    asked = requests(issuing.issue, campaign)
    outcomes = behind_a_pause(partial(pause, campaign), campaign, asked, waiting=AT_THE_ROW[strategy])

    assert count_outcomes(outcomes) == {"campaign_paused": REQUESTS}
    assert not Coupon.objects.exists()


def test_a_check_before_the_lock_issues_after_the_pause():
    """The twin: all requests ask before the pause commits, and write after it."""
    campaign = campaign_with_strategy("pessimistic")

    asked = requests(ask_then_lock, campaign)
    outcomes = behind_a_pause(partial(pause, campaign), campaign, asked, waiting=REQUESTS)

    assert count_outcomes(outcomes) == {"new": REQUESTS}
    assert Coupon.objects.count() == REQUESTS


def test_an_issuer_that_waits_for_the_row_behind_a_pause_leaves_its_tickets_waiting():
    campaign, everyone = campaign_with_strategy("queue"), accounts(5)
    for one in everyone:
        issuing.issue(campaign_id=campaign.pk, user_id=one)

    assert behind_a_pause(partial(pause, campaign), campaign, [worker.serve_once]) == [0]

    assert not Coupon.objects.exists()
    assert set(QueueTicket.objects.values_list("status", flat=True)) == {"waiting"}
    resume(campaign)
    assert worker.serve_once() == 5
    assert owners_in_order() == everyone


@pytest.mark.parametrize("strategy", WITHOUT_TICKETS)
def test_no_coupon_is_committed_after_the_answer_to_a_pause_under_load(strategy, unlawful):
    """Threads issue one coupon after the other; what is committed when the pause returns is all there is."""
    campaign = campaign_with_strategy(strategy, quantity=10_000)
    parts = [accounts(ROUNDS) for _ in range(REQUESTS)]

    def issue_until_paused(part):
        outcomes = []
        for user_id in part:
            try:
                outcomes.append(issue(campaign, user_id))
            except Rejected as error:
                outcomes.append(error)
                if error.code == "campaign_paused":
                    break
        return outcomes

    def pause_half_way():
        wait_until(lambda: Coupon.objects.count() >= REQUESTS // 2)
        pause(campaign)
        return Coupon.objects.count()

    *answers, committed = race([*(partial(issue_until_paused, part) for part in parts), pause_half_way])

    outcomes = count_outcomes(one for some in answers for one in some)
    assert Coupon.objects.count() == committed == outcomes["new"]
    assert outcomes["campaign_paused"] == REQUESTS
    # `optimistic` may have used its retries up.
    assert outcomes.keys() <= {"new", "campaign_paused", "conflict"}
    if strategy != "unsafe":
        assert positions(campaign) == list(range(1, committed + 1))
        assert broken() == {}


def test_two_processes_stop_at_a_pause_also_without_redis_and_go_on_after_it(own_redis, tmp_path):
    """By each strategy. While all are paused Redis is killed, comes back empty, and is emptied once more."""
    all_campaigns = [campaign_with_strategy(name, quantity=400) for name in SAFE_STRATEGIES]
    everyone, answers = accounts(440), 30 * len(all_campaigns)
    [with_pool] = [one for one in all_campaigns if one.strategy == "code_pool"]
    pool.generate(campaign_id=with_pool.pk, count=150)

    def committed(campaign):
        return Coupon.objects.filter(campaign=campaign).count()

    with Load(all_campaigns, everyone, folder=tmp_path, REDIS_URL=own_redis.url) as load:
        wait_until(lambda: all(map(committed, all_campaigns)), seconds=60)
        load.issue_more(5)
        at_the_pause = {campaign.strategy: committed(pause(campaign)) for campaign in all_campaigns}
        assert max(at_the_pause.values()) < 400
        load.answer_more(answers)
        own_redis.kill()
        load.answer_more(answers)
        own_redis.start()
        load.answer_more(answers)
        redis_client.client().flushall()
        load.answer_more(answers)
        assert {campaign.strategy: committed(campaign) for campaign in all_campaigns} == at_the_pause

        for campaign in all_campaigns:
            resume(campaign)
        load.issue_more(5)

    foreseen = {"new", "again", "queued", "campaign_paused", "unavailable", "conflict", "lock_not_acquired"}
    assert {answer.outcome for answer in load.answers()} <= foreseen
    paused = {answer.campaign_id for answer in load.answers() if answer.outcome == "campaign_paused"}
    assert paused == {campaign.pk for campaign in all_campaigns}
    assert load.untrue() == []
