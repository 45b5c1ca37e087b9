"""`code_pool`: codes are made ahead, listed in Redis, and each asker takes the next one from there.

How: `LMOVE` into a list of what is in flight; the batcher's leader locks the campaign and the batch's codes,
and gives those that the database calls available; the caller acknowledges after the commit, the sweeper
puts back what the dead took. Who brings nothing, or a code that is given, gets the pool's oldest instead.
Promises: exact, a code once, none lost; positions in order of arrival within a process. Without Redis it
gives nothing (503), flushed it lists the pool again; the same pool under another strategy needs no Redis.
Scales: as `group_commit`, and two calls to Redis more; choose it where codes come from elsewhere, and
nobody is to search the pool for the next free one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from django.db import IntegrityError

from coupons import pool
from coupons.allocation import eligibility, writes
from coupons.allocation.eligibility import Outcome
from coupons.allocation.writes import Asker, Chosen, Confirming, Issued
from coupons.models import Campaign
from coupons.pool_list import pool_list
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.errors import Overloaded, Rejected

# As many as `group_commit` has.
BATCHERS = 1_024


@dataclass(frozen=True, slots=True)
class Bringer:
    """An asker and the code that they took; None when the list had none."""

    asker: Asker
    code: str | None


def issue(*, campaign_id: int, user_id: int) -> Issued | Confirming:
    """Take a code, bring it to the campaign's batcher, and say then whether it is spent.

    Raises `Unavailable` without Redis. When the outcome isn't known, the code stays in flight.
    """
    looked = _looks(campaign_id).submit(user_id)
    if not isinstance(looked, Campaign):
        return looked
    code = pool_list.take(looked, user_id=user_id)
    try:
        outcome = _batcher(campaign_id).submit(Bringer(Asker(user_id), code))
    except (Rejected, Overloaded, IntegrityError):
        _settle(campaign_id, user_id, code, is_spent=False)
        raise
    # Whoever got another code than they took had taken one that was given.
    _settle(campaign_id, user_id, code, is_spent=outcome.is_new or _code_of(outcome) == code)
    return outcome


def _code_of(outcome: Issued | Confirming) -> str:
    return outcome.coupon.code if isinstance(outcome, Issued) else outcome.code


def _settle(campaign_id: int, user_id: int, code: str | None, *, is_spent: bool) -> None:
    if code is not None:
        pool_list.settle(campaign_id, user_id=user_id, code=code, is_spent=is_spent)


@lru_cache(maxsize=BATCHERS)
def _looks(campaign_id: int) -> Batcher[int, Issued | Confirming | Campaign]:
    """Who has something of the campaign already, or can't have anything, takes no code: asked together."""
    return Batcher(lambda user_ids: _look(campaign_id, user_ids))


def _look(campaign_id: int, user_ids: Sequence[int]) -> list[Outcome | Campaign]:
    """What each is owed or refused by now; those who may take a code get the campaign."""
    campaign = Campaign.objects.get(pk=campaign_id)
    now = clock.now()
    had = eligibility.had_before(campaign, set(user_ids))
    return [eligibility.owed_or_refused(campaign, had.get(user_id), now) or campaign for user_id in user_ids]


@lru_cache(maxsize=BATCHERS)
def _batcher(campaign_id: int) -> Batcher[Bringer, Issued | Confirming]:
    return Batcher(lambda bringers: _grant(campaign_id, bringers))


def _grant(campaign_id: int, bringers: Sequence[Bringer]) -> list[Outcome]:
    brought = {one.asker.user_id: one.code for one in reversed(bringers) if one.code is not None}
    askers = [one.asker for one in bringers]
    return eligibility.grant(campaign_id=campaign_id, askers=askers, choose=partial(_choose, brought=brought))


def _choose(campaign: Campaign, askers: Sequence[Asker], *, brought: Mapping[int, str]) -> Chosen:
    """For each of these what they brought, if it is there to be given, or else what the pool has left."""
    if campaign.code_source != Campaign.CodeSource.POOL:
        return writes.choose_codes(campaign, askers)
    wanted = [brought[asker.user_id] for asker in askers if asker.user_id in brought]
    locked = pool.lock_these(campaign_id=campaign.pk, codes=wanted)
    others = iter(_others(campaign, len(askers) - len(locked), locked))
    free = set(locked)
    chosen: dict[int, str] = {}
    for asker in askers:
        code = brought.get(asker.user_id)
        if code in free:
            free.discard(code)
        else:
            code = next(others, None)
        if code is not None:
            chosen[asker.user_id] = code
    return chosen


def _others(campaign: Campaign, count: int, locked: set[str]) -> list[str]:
    """As many codes for those who brought none: one of these would be given twice otherwise."""
    return pool.lock_available(campaign_id=campaign.pk, count=count, but=locked) if count else []
