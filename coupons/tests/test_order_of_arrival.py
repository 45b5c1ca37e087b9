"""The order in which requests get their coupons: that in which they reached Redis, nearly that of arrival.

`pytest -s coupons/tests/test_order_of_arrival.py` prints by how many places requests moved.
"""

import threading
import time
from functools import partial
from statistics import mean

import pytest
from django.db import connection

from coupons.issuing import issuing
from coupons.issuing.strategies import fair_lock
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken, positions
from shop.errors import Rejected
from shop.redis import fair_lock as line
from shop.redis import locks, redis_client
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)
REQUESTS = 100
# Further apart hardly any request has to wait, and every order is that of arrival.
MILLISECONDS_APART = 1


def test_coupons_are_issued_in_the_order_in_which_requests_reached_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a busy machine no waiter may count as crashed here.
    monkeypatch.setattr(line, "PRESUMED_DEAD_MILLISECONDS", 60_000)
    monkeypatch.setattr(locks, "LEASE_MILLISECONDS", 60_000)
    campaign = CampaignFactory.create(strategy="fair_lock", quantity=REQUESTS)
    calls = [
        partial(fair_lock.issue_in_turn, campaign_id=campaign.pk, user_id=user_id)
        for user_id in accounts(REQUESTS)
    ]

    issued = [outcome for outcome in race(calls) if not has_waited_in_vain(outcome)]

    in_order = [result.coupon.position for result, _ in sorted(issued, key=lambda pair: pair[1])]
    assert in_order == list(range(1, len(issued) + 1))
    assert len(issued) > REQUESTS / 4
    assert broken() == {}


def test_positions_are_nearer_to_the_order_of_arrival_than_by_spinning() -> None:
    """In a random order a request moves by a third of all places, and `spin_lock` is not much better."""
    in_line, spinning = (places_moved(strategy) for strategy in ("fair_lock", "spin_lock"))

    for name, moved in (("fair_lock", in_line), ("spin_lock", spinning)):
        print(
            f"\n{name}, {len(moved)} of {REQUESTS} requests, one every {MILLISECONDS_APART} ms: moved by"
            f" {mean(moved):.1f} places in the mean, {max(moved)} at most"
        )
    assert mean(in_line) < mean(spinning)


def places_moved(strategy: str) -> list[int]:
    """How far each request's position is from its place in the order of arrival at the strategy."""
    campaign = CampaignFactory.create(strategy=strategy, quantity=REQUESTS)
    start = time.monotonic() + 1.0
    calls = [
        partial(arrive, campaign.pk, user_id, start + number * MILLISECONDS_APART / 1000)
        for number, user_id in enumerate(accounts(REQUESTS))
    ]
    arrived = [outcome for outcome in race(calls) if not has_waited_in_vain(outcome)]
    assert positions(campaign) == list(range(1, len(arrived) + 1))
    return [abs(place - position) for place, (_, position) in enumerate(sorted(arrived), start=1)]


def arrive(campaign_id: int, user_id: int, due_at: float) -> tuple[float, int | None]:
    """The time of the request, on a thread with open connections as in a server, and its position."""
    connection.ensure_connection()
    redis_client.client().ping()
    threading.Event().wait(max(0.0, due_at - time.monotonic()))
    arrived_at = time.monotonic()
    issued = issuing.issue(campaign_id=campaign_id, user_id=user_id)
    return arrived_at, issued.coupon.position


def has_waited_in_vain(outcome: object) -> bool:
    """Whether the request timed out: ten seconds may be too short on a busy machine."""
    return isinstance(outcome, Rejected) and outcome.code == "lock_not_acquired"
