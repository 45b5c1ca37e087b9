"""Calls that issue coupons, and counting their outcomes."""

from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial
from itertools import cycle
from typing import Any

import pytest

from coupons import issuing
from coupons.allocation import allocating
from coupons.allocation.outcomes import Issued, IssueRequest, Queued
from coupons.queue import worker
from foundation.db import transactions
from foundation.errors import FirstcomeError
from foundation.tests.racing import race

# Ten seconds each, together less than a race's time-out.
TIMES_IN_VAIN = 3


def issue_calls(campaign_id: int, user_ids: Iterable[int]) -> list[Callable[[], Issued | Queued]]:
    """A call for each account, to be raced."""
    return [partial(_ask, campaign_id=campaign_id, user_id=user_id) for user_id in user_ids]


def issue_calls_by(strategies: Iterable[str], campaign_id: int, user_ids: Iterable[int]) -> list[Any]:
    """The calls by these strategies in turn, whatever the campaign's is; no partner is called."""
    ways = zip(user_ids, cycle(strategies), strict=False)
    return [partial(issuing.STRATEGIES[name], campaign_id=campaign_id, user_id=id) for id, name in ways]


def raced(campaign, user_ids: Iterable[int]) -> Counter[str]:
    """The outcomes of concurrent requests of these accounts, counted."""
    return count_outcomes(race(issue_calls(campaign.pk, user_ids)))


def _ask(*, campaign_id, user_id):
    """Issue as a client does that repeats its request if it didn't get its turn on a busy machine."""
    for _ in range(TIMES_IN_VAIN):
        try:
            return issuing.issue(campaign_id=campaign_id, user_id=user_id)
        except FirstcomeError as refusal:
            if refusal.code not in ("lock_not_acquired", "overloaded"):
                raise
    return issuing.issue(campaign_id=campaign_id, user_id=user_id)


def issue(campaign, user_id: int) -> Issued:
    """The account's coupon; of a queue once the worker has settled the ticket."""
    issued = issuing.issue(campaign_id=campaign.pk, user_id=user_id)
    if isinstance(issued, Queued):
        worker.serve_once()
        issued = issuing.issue(campaign_id=campaign.pk, user_id=user_id)
    assert isinstance(issued, Issued)
    return issued


def allocated(campaign, *user_ids: int) -> list[Any]:
    """The results of a batch of requests of these accounts, in their order."""
    requests = [IssueRequest(user_id) for user_id in user_ids]
    decide = partial(allocating.lock_and_allocate, campaign_id=campaign.pk, requests=requests)
    return transactions.run(decide, transactions.KEYED)


def outcome_of(work: Callable[[], Any]):
    try:
        return work()
    except FirstcomeError as error:
        return error


def refusal(work: Callable[[], Any]) -> str:
    """The code that the call is refused with."""
    with pytest.raises(FirstcomeError) as refused:
        work()
    return refused.value.code


def refused(campaign, user_id: int) -> str:
    """The code that the account's request is refused with."""
    return refusal(partial(issuing.issue, campaign_id=campaign.pk, user_id=user_id))


def count_outcomes(outcomes: Iterable[Any]) -> Counter[str]:
    """The number of each outcome: `new`, `again`, `queued`, or a refusal's code."""
    return Counter(_outcome_name(outcome) for outcome in outcomes)


def _outcome_name(outcome):
    match outcome:
        case Issued():
            return "new" if outcome.is_new else "again"
        case Queued():
            return "queued"
        case FirstcomeError():
            return outcome.code
    return repr(outcome)
