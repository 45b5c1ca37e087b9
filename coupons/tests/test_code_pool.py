"""`code_pool` under races and crashes, and its list in Redis: each code is issued once, and none is lost."""

import json
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F
from redis.crc import key_slot

from coupons import issuing, pool_list, remembered
from coupons.allocation.outcomes import PendingConfirmation
from coupons.codes import pool
from coupons.models import Campaign, Coupon, PoolCode
from coupons.partners import confirmation
from coupons.redis_keys import key
from coupons.strategies import code_pool
from coupons.tests.factories import CampaignFactory, accounts, campaign_with_codes, change
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue_calls, raced
from coupons.tests.own_partner import Killed, crash, issued, partner_that, registered
from foundation.errors import PartnerFailed, Unavailable
from foundation.redis import own_keys, redis_client
from foundation.tests.factories import set_columns
from foundation.tests.racing import race, race_each, wait_until
from foundation.tests.second_process import another_process, starts_another_process

pytestmark = pytest.mark.django_db(transaction=True)

# As many threads as a web process has.
ASK_FOR_MANY = """
import json
from concurrent.futures import ThreadPoolExecutor
from coupons.tests.outcomes import count_outcomes, issue_calls, raced

def outcome_of(ask):
    try:
        return ask()
    except Exception as error:
        return error

print("ready", flush=True)
sys.stdin.readline()
campaign_id, *user_ids = map(int, sys.argv[1:])
with ThreadPoolExecutor(64) as threads:
    print(json.dumps(count_outcomes(threads.map(outcome_of, issue_calls(campaign_id, user_ids)))))
"""


def campaign_of(codes: int, **terms) -> Campaign:
    """A campaign with that many codes, and slots for more."""
    return campaign_with_codes("pool", codes=codes, **{"strategy": "code_pool", "quantity": 2_000} | terms)


def issue(campaign, user_id: int) -> str:
    return issuing.issue(campaign_id=campaign.pk, user_id=user_id).coupon.code


def in_flight(campaign) -> int:
    return int(str(redis_client.client().llen(key(campaign.pk, "codes-in-flight"))))


def available(campaign) -> list[str]:
    return list(campaign.pool.filter(status="available").order_by("pk").values_list("code", flat=True))


@contextmanager
def over_and_over(work: Callable[[], Any], *, least=3):
    """Do the work in a loop beside the block, at least so often."""
    is_over, times = threading.Event(), 0

    def loop():
        nonlocal times
        while not is_over.is_set():
            work()
            times += 1

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert times >= least


@starts_another_process
def test_300_of_450_requests_from_three_processes_get_one_of_300_codes():
    campaign = campaign_of(300)
    everyone = accounts(450)

    with ExitStack() as stack:
        parts = [[str(campaign.pk), *map(str, everyone[start::3])] for start in range(3)]
        processes = [stack.enter_context(another_process(ASK_FOR_MANY, *part)) for part in parts]
        outcomes = race_each(lambda process: process.communicate("go\n"), processes)

    counted = sum((Counter(json.loads(output)) for output, _ in outcomes), Counter())
    assert counted == {"new": 300, "sold_out": 150}
    assert positions(campaign) == list(range(1, 301))
    assert (available(campaign), in_flight(campaign)) == ([], 0)


def test_a_campaign_that_is_full_before_its_codes_are_out_keeps_the_others():
    campaign = campaign_of(80, quantity=50)
    everyone = accounts(120)

    assert raced(campaign, everyone) == {"new": 50, "sold_out": 70}
    assert (len(available(campaign)), in_flight(campaign)) == (30, 0)
    change(campaign, quantity=80)
    assert raced(campaign, everyone)["new"] == 30
    assert available(campaign) == []


@pytest.mark.parametrize("trouble", ["flushed", "rebuilt"])
def test_a_list_that_is_lost_repeatedly_gives_each_code_once(trouble, redis_server):
    campaign = campaign_of(180)

    with over_and_over(redis_server.flushdb if trouble == "flushed" else own_keys.drop):
        assert raced(campaign, accounts(250)) == {"new": 180, "sold_out": 70}

    assert positions(campaign) == list(range(1, 181))
    assert available(campaign) == []


def test_an_impatient_sweeper_takes_no_code_from_a_running_request():
    campaign = campaign_of(150)

    with over_and_over(partial(pool_list.heal, after_seconds=0)):
        assert raced(campaign, accounts(220)) == {"new": 150, "sold_out": 70}

    assert available(campaign) == []


def test_a_list_with_duplicates_and_issued_codes_gives_each_once():
    campaign = campaign_of(60)
    first, listed = issue(campaign, accounts(1)[0]), key(campaign.pk, "codes")
    codes = available(campaign)
    redis_client.client().lpush(listed, first, "NONSENSE", *codes[:30])

    outcomes = race(issue_calls(campaign.pk, accounts(80)))

    assert count_outcomes(outcomes) == {"new": 59, "sold_out": 21}
    assert {one.coupon.code for one in outcomes[:80] if not isinstance(one, Exception)} == {*codes}


def test_a_code_renamed_while_it_is_listed_is_issued_under_its_new_name():
    campaign = campaign_of(3)
    first, second, third, fourth = accounts(4)
    issue(campaign, first)
    pool.rename(campaign_id=campaign.pk, code=available(campaign)[0], to="RENAMED")

    assert "RENAMED" in {issue(campaign, second), issue(campaign, third)}
    assert raced(campaign, [fourth]) == {"sold_out": 1}
    assert in_flight(campaign) == 0


def test_changing_the_strategy_back_and_forth_under_load_loses_no_code(monkeypatch):
    monkeypatch.setattr(remembered, "SECONDS", 0.0)
    campaign = campaign_of(120)
    names = iter(["group_commit", "code_pool"] * 10_000)

    with over_and_over(lambda: change(campaign, strategy=next(names)), least=2):
        assert raced(campaign, accounts(180)) == {"new": 120, "sold_out": 60}

    assert positions(campaign) == list(range(1, 121))
    assert (available(campaign), in_flight(campaign)) == ([], 0)


def test_a_partners_refusal_returns_the_code_to_the_list():
    campaign = campaign_of(1, partner="convenience_store")
    first, second = accounts(2)

    asked = code_pool.issue(campaign_id=campaign.pk, user_id=first)
    assert isinstance(asked, PendingConfirmation)
    assert PoolCode.objects.get().status == "in_flight"
    assert (in_flight(campaign), available(campaign), broken()) == (0, [], {})
    confirmation.release_slot(asked)
    assert redis_client.client().lrange(key(campaign.pk, "codes"), 0, -1) == [asked.code.encode()]

    again = code_pool.issue(campaign_id=campaign.pk, user_id=second)
    assert isinstance(again, PendingConfirmation)
    assert (again.code, again.key != asked.key) == (asked.code, True)
    assert confirmation.confirm(again).coupon.code == asked.code


def test_codes_that_a_partner_refuses_are_issued_to_repeated_requests(tmp_path, settings):
    campaign = campaign_of(100, partner="convenience_store")

    def issue_until_final(user_id):
        while True:
            try:
                return issue(campaign, user_id)
            except (PartnerFailed, Unavailable):
                continue

    everyone = [partial(issue_until_final, user_id) for user_id in accounts(150)]
    with partner_that("--failure-rate", "0.25", folder=tmp_path, settings=settings) as partner:
        race(everyone)
        # A code returned while a process read the pool as sold out is available to all a second later.
        wait_until(lambda: not available(campaign) or remembered.campaign(campaign.pk).get().remaining)
        outcomes = race(everyone)
        known = registered(partner)

    assert Counter(isinstance(one, str) or one.code for one in outcomes) == {True: 100, "sold_out": 50}
    assert known == issued() == sorted(one for one in outcomes if isinstance(one, str))
    assert (available(campaign), in_flight(campaign)) == ([], 0)


def test_a_code_of_a_process_killed_before_its_commit_goes_to_the_next_request(monkeypatch):
    campaign = campaign_of(1)
    dead, living = accounts(2)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(code_pool, "_batcher", crash)
        issue(campaign, dead)

    assert (in_flight(campaign), pool_list.heal(after_seconds=0), in_flight(campaign)) == (1, 1, 0)
    code = pool_list.claim_code(campaign, user_id=living)
    assert [code] == available(campaign)
    assert issue(campaign, living) == code
    assert in_flight(campaign) == 0


def test_a_code_of_a_process_killed_after_its_commit_is_not_issued_again(monkeypatch):
    campaign = campaign_of(2)
    dead, living = accounts(2)

    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr(code_pool, "_resolve_code", crash)
        issue(campaign, dead)

    given = Coupon.objects.get().code
    assert (in_flight(campaign), pool_list.heal(after_seconds=0), in_flight(campaign)) == (1, 1, 0)
    assert issue(campaign, dead) == given
    assert issue(campaign, living) != given
    assert available(campaign) == []


def test_generating_codes_does_not_block_requests():
    campaign = campaign_of(50)

    def ask(user_ids):
        race(issue_calls(campaign.pk, user_ids))
        return campaign.pool.count() - 50

    everyone = accounts(50)
    generate = partial(pool.generate, campaign_id=campaign.pk, count=30_000)
    made, made_meanwhile = race([generate, partial(ask, everyone)])

    assert made_meanwhile < made.added == 30_000
    assert positions(campaign) == list(range(1, 51))


@pytest.fixture
def campaign():
    return CampaignFactory(strategy="code_pool", code_source="pool", quantity=1_000)


def add(campaign, *codes: str):
    pool.add(campaign_id=campaign.pk, codes=codes)


def take(campaign, user_id: int) -> str | None:
    return pool_list.claim_code(campaign, user_id=user_id)


def settle(campaign, user_id: int, code: str, *, is_spent: bool) -> bool:
    return pool_list.resolve_code(campaign.pk, user_id=user_id, code=code, is_spent=is_spent)


def shown(campaign, name="codes") -> list[str]:
    codes: Any = redis_client.client().lrange(key(campaign.pk, name), 0, -1)
    return [code.decode() for code in codes]


def test_codes_are_claimed_in_the_order_of_the_pool_and_are_in_flight_until_each_is_resolved_once(campaign):
    add(campaign, "A", "B", "C")

    assert [take(campaign, user_id) for user_id in (1, 2, 3, 4)] == ["A", "B", "C", None]
    assert shown(campaign, "codes-in-flight") == ["A", "B", "C"]
    assert settle(campaign, 1, "A", is_spent=True)
    assert [settle(campaign, 2, "B", is_spent=False) for _ in range(3)] == [True, False, False]
    assert (shown(campaign), shown(campaign, "codes-in-flight")) == (["B"], ["C"])
    assert take(campaign, 5) == "B"
    assert not settle(campaign, 2, "B", is_spent=True)
    assert sorted(shown(campaign, "codes-in-flight")) == ["B", "C"]


def test_50_concurrent_requests_of_an_account_claim_one_code(campaign):
    add(campaign, "A", "B", "C")

    assert set(race([lambda: take(campaign, 1)] * 50)) == {"A"}
    assert shown(campaign) == ["B", "C"]


def test_a_list_that_many_fill_at_once_has_each_code_once(campaign, monkeypatch):
    monkeypatch.setattr(pool_list, "CHUNK", 7)
    pool.generate(campaign_id=campaign.pk, count=100)
    filled = race([lambda: pool_list.fill(campaign, after_id=0)] * 20)
    taken = race_each(lambda user_id: take(campaign, user_id), range(120))

    assert sorted(filled) == [0] * 19 + [7]
    given = [code for code in taken if code is not None]
    assert len(set(given)) == len(given) == 100


def test_a_list_filled_without_its_marker_has_codes_twice(campaign):
    """The naive twin: a request that finds the list empty lists all available codes."""
    add(campaign, "A", "B")
    listing = key(campaign.pk, "codes")

    for _ in range(2):
        redis_client.client().rpush(listing, *campaign.pool.order_by("pk").values_list("code", flat=True))

    assert [take(campaign, user_id) for user_id in range(4)] == ["A", "B", "A", "B"]


def test_an_empty_list_is_filled_once_a_second_or_once_codes_were_added(campaign, django_assert_num_queries):
    assert take(campaign, 1) is None
    with django_assert_num_queries(0):
        assert take(campaign, 1) is None
    add(campaign, "A")
    assert take(campaign, 1) == "A"


def test_a_returned_code_goes_first_if_there_is_a_list(campaign):
    add(campaign, "A", "B")
    remembered.slot_released(campaign_id=campaign.pk, user_id=1, code="A")
    assert shown(campaign) == []

    take(campaign, 1)
    remembered.slot_released(campaign_id=campaign.pk, user_id=1, code="A")
    assert shown(campaign) == ["A", "B"]


def test_unissued_codes_of_crashed_processes_are_returned_and_issued_ones_are_not(campaign, unlawful):
    add(campaign, "A", "B", "C")
    before = pool_list.GIVEN_BACK._value.get()
    for user_id in (1, 2):
        take(campaign, user_id)
    PoolCode.objects.filter(campaign=campaign, code="A").update(status="in_flight")

    assert pool_list.heal() == 0
    assert shown(campaign, "codes-in-flight") == ["A", "B"]
    assert pool_list.heal(after_seconds=0) == 2
    assert (shown(campaign), shown(campaign, "codes-in-flight")) == (["B", "C"], [])
    assert pool_list.GIVEN_BACK._value.get() - before == 1


def test_a_pool_that_was_used_up_long_ago_is_not_looked_at_until_it_has_codes_again(campaign):
    add(campaign, "A")
    assert issue(campaign, *accounts(1)) == "A"
    add(campaign, "B")
    assert take(campaign, 7) == "B"
    set_columns(campaign, codes_added=1)
    Coupon.objects.update(issued_at=F("issued_at") - timedelta(hours=2))

    assert pool_list.heal(after_seconds=0) == 0
    assert shown(campaign, "codes-in-flight") == ["B"]

    set_columns(campaign, codes_added=2)
    assert pool_list.heal(after_seconds=0) == 1
    assert shown(campaign) == ["B"]


def test_a_list_that_lost_a_code_is_dropped(campaign):
    add(campaign, "A")
    take(campaign, 1)
    redis_client.client().delete(key(campaign.pk, "codes-in-flight"), key(campaign.pk, "codes-takers"))
    assert take(campaign, 2) is None

    pool_list.heal()

    assert take(campaign, 2) == "A"


def test_all_keys_of_a_list_share_a_slot_of_a_cluster_and_expire(campaign):
    add(campaign, "A", "B")
    take(campaign, 1)
    pool_list.fill(campaign, after_id=10**9)

    keys = redis_client.client().keys("firstcome:*codes*")

    assert len(keys) == 5
    assert len({key_slot(one) for one in keys}) == 1
    assert all(0 < redis_client.client().ttl(one) <= 24 * 3600 for one in keys)
