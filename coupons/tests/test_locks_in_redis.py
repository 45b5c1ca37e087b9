"""Issuing under locks in Redis that are lost or expired; the twin that trusts its lock; and the order of
arrival by `fair_lock`.
"""

import os
import signal
import threading
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import pytest
from django.utils import timezone

from coupons import issuing
from coupons.allocation import allocating
from coupons.allocation.outcomes import IssueRequest
from coupons.models import Confirmation, Coupon
from coupons.redis_keys import key
from coupons.strategies.fair_lock import issue as issue_by_fair_lock
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from coupons.tests.outcomes import count_outcomes, issue, issue_calls, raced
from foundation.db import transactions
from foundation.redis import fair_lock, locks
from foundation.tests import fair_locks
from foundation.tests.factories import set_columns
from foundation.tests.racing import race
from foundation.tests.second_process import another_process, starts_another_process
from foundation.tests.waiting import in_background, within

pytestmark = pytest.mark.django_db(transaction=True)
by_each = pytest.mark.parametrize("strategy", ["spin_lock", "fair_lock"])
LEASE_SECONDS = locks.LEASE_MILLISECONDS / 1000

# Issues a coupon, and pauses between its read and its write until a line of input arrives.
ISSUE_WITH_A_PAUSE = """
from coupons.codes import code_format
from coupons import issuing
make_several = code_format.make_several
def paused(count):
    print("ready", flush=True)
    sys.stdin.readline()
    return make_several(count)
code_format.make_several = paused
issued = issuing.issue(campaign_id=int(sys.argv[1]), user_id=int(sys.argv[2]))
print(issued.is_new, flush=True)
"""


def holding(campaign) -> AbstractContextManager[object]:
    held = locks.spinning if campaign.strategy == "spin_lock" else fair_locks.held
    return held(key(campaign.pk, campaign.strategy.replace("_", "-")))


@starts_another_process
@pytest.mark.parametrize(("quantity", "told"), [(2, ["ready", "True"]), (1, [])])
@by_each
def test_a_holder_paused_past_its_lease_and_the_next_one_both_get_their_coupon(strategy, quantity, told):
    """Unless the next one got the last."""
    campaign, [first, second] = CampaignFactory(strategy=strategy, quantity=quantity), accounts(2)

    with another_process(ISSUE_WITH_A_PAUSE, str(campaign.pk), str(first)) as holder:
        os.kill(holder.pid, signal.SIGSTOP)
        issue(campaign, second)
        os.kill(holder.pid, signal.SIGCONT)
        # Twice: its first write found a change, and the retry pauses again, if a coupon is left.
        output, _ = holder.communicate("go on\ngo on\n", timeout=30)

    assert (output.split(), holder.returncode == 0) == (told, quantity == 2)
    owners = Coupon.objects.order_by("position").values_list("account_id", "position")
    assert list(owners) == [(second, 1), (first, 2)][:quantity]


@pytest.mark.parametrize(("is_guarded", "laws"), [(True, []), (False, ["L1"])])
def test_a_lock_without_a_version_check_breaks_the_law(is_guarded, laws, unlawful):
    """The twin: a holder paused past its lease writes by its old read, and the other's slot is lost."""
    campaign, [first, second] = CampaignFactory(partner="convenience_store"), accounts(2)
    has_read, other_has_written = threading.Event(), threading.Event()

    def write(user_id, pause):
        with locks.spinning(key(campaign.pk, "spin-lock"), lease_milliseconds=100):
            as_read = allocating.read_campaign(campaign.pk, [user_id])
            pause()
            decide = partial(allocating.allocate, as_read, [IssueRequest(user_id)], if_unchanged=is_guarded)
            return transactions.run(decide, transactions.KEYED)

    paused = in_background(partial(write, first, lambda: (has_read.set(), other_has_written.wait(10))))
    assert has_read.wait(10)
    write(second, lambda: None)
    other_has_written.set()

    error = paused.exception(10)
    assert isinstance(error, transactions.ChangedMeanwhile) if is_guarded else error is None
    assert Confirmation.objects.count() == (1 if is_guarded else 2)
    assert list(broken()) == laws


@starts_another_process
@by_each
def test_a_killed_holder_blocks_the_others_for_one_lease(strategy):
    campaign, [first, second] = CampaignFactory(strategy=strategy, quantity=2), accounts(2)

    with another_process(ISSUE_WITH_A_PAUSE, str(campaign.pk), str(first)) as holder:
        holder.kill()
    with within(LEASE_SECONDS + 3):
        assert raced(campaign, [second, first]) == {"new": 2}
    assert positions(campaign) == [1, 2]


@by_each
def test_existing_coupons_and_refusals_do_not_wait_for_the_lock(strategy):
    campaign, [owner, other] = CampaignFactory(strategy=strategy), accounts(2)
    issue(campaign, owner)

    with holding(campaign):
        assert raced(campaign, [owner]) == {"again": 1}
        set_columns(campaign, closes_at=timezone.now())
        assert raced(campaign, [owner, other]) == {"again": 1, "campaign_closed": 1}


def test_after_ten_seconds_without_the_lock_the_answer_is_409_and_nothing_is_done(redis_server):
    spinning, standing = (CampaignFactory(strategy=name) for name in ("spin_lock", "fair_lock"))
    # A real holder has the lock for one lease only; this one never releases it.
    redis_server.set(key(spinning.pk, "spin-lock"), "another holder")

    with holding(standing):
        both = zip((spinning, standing), accounts(2), strict=True)
        outcomes = race([partial(issuing.issue, campaign_id=one.pk, user_id=id) for one, id in both])

    assert count_outcomes(outcomes) == {"lock_not_acquired": 2}
    assert [refusal.retry_after for refusal in outcomes] == [1, 1]
    assert not Coupon.objects.exists()


@by_each
def test_a_flush_during_a_race_still_issues_exactly_the_quantity(strategy, redis_server):
    campaign = CampaignFactory(strategy=strategy, quantity=40)
    calls = [*issue_calls(campaign.pk, accounts(60))]

    def flush_all_along():
        pause = threading.Event()
        while Coupon.objects.count() < 40:
            redis_server.flushdb()
            pause.wait(0.01)

    assert count_outcomes(race([*calls, flush_all_along])[:-1]) == {"new": 40, "sold_out": 20}
    assert positions(campaign) == list(range(1, 41))


REQUESTS = 100


def test_coupons_are_issued_in_the_order_in_which_requests_reached_redis(monkeypatch):
    # On a busy machine no waiter may count as crashed here.
    monkeypatch.setattr(fair_lock, "PRESUMED_DEAD_MILLISECONDS", 60_000)
    monkeypatch.setattr(locks, "LEASE_MILLISECONDS", 60_000)
    campaign, queued = CampaignFactory(strategy="fair_lock", quantity=REQUESTS), fair_lock.queued
    numbers = {}

    @contextmanager
    def numbered(name):
        with queued(name) as turn:
            yield turn
            numbers[threading.get_ident()] = turn.number

    def issue_in_turn(user_id):
        issued = issue_by_fair_lock(campaign_id=campaign.pk, user_id=user_id)
        return issued, numbers[threading.get_ident()]

    monkeypatch.setattr(fair_lock, "queued", numbered)
    calls = [partial(issue_in_turn, user_id) for user_id in accounts(REQUESTS)]

    # On a busy machine ten seconds may be too short for the lock.
    issued = [one for one in race(calls) if getattr(one, "code", "") != "lock_not_acquired"]

    in_order = [result.coupon.position for result, _ in sorted(issued, key=lambda pair: pair[1])]
    assert in_order == list(range(1, len(issued) + 1))
    assert len(issued) > REQUESTS / 4
