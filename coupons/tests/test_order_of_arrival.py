"""The order in which requests get their coupons by `fair_lock`: that in which they reached Redis."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from coupons.issuing.strategies import fair_lock
from coupons.tests.factories import CampaignFactory, accounts
from coupons.tests.laws import broken
from shop.errors import Rejected
from shop.redis import fair_lock as line, locks
from shop.tests.racing import race

pytestmark = pytest.mark.django_db(transaction=True)
REQUESTS = 100


def test_coupons_are_issued_in_the_order_in_which_requests_reached_redis(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # On a busy machine no waiter may count as crashed here.
    monkeypatch.setattr(line, "PRESUMED_DEAD_MILLISECONDS", 60_000)
    monkeypatch.setattr(locks, "LEASE_MILLISECONDS", 60_000)
    campaign, queued = CampaignFactory.create(strategy="fair_lock", quantity=REQUESTS), line.queued
    numbers: dict[int, int] = {}

    @contextmanager
    def numbered(name: str) -> Iterator[line.Turn]:
        with queued(name) as turn:
            yield turn
            numbers[threading.get_ident()] = turn.number

    def issue_in_turn(user_id: int) -> tuple[Any, int]:
        issued = fair_lock.issue(campaign_id=campaign.pk, user_id=user_id)
        return issued, numbers[threading.get_ident()]

    monkeypatch.setattr(line, "queued", numbered)
    calls = [partial(issue_in_turn, user_id) for user_id in accounts(REQUESTS)]

    issued = [outcome for outcome in race(calls) if not has_waited_in_vain(outcome)]

    in_order = [result.coupon.position for result, _ in sorted(issued, key=lambda pair: pair[1])]
    assert in_order == list(range(1, len(issued) + 1))
    assert len(issued) > REQUESTS / 4
    assert broken() == {}


def has_waited_in_vain(outcome: object) -> bool:
    """Whether the request timed out: ten seconds may be too short on a busy machine."""
    return isinstance(outcome, Rejected) and outcome.code == "lock_not_acquired"
