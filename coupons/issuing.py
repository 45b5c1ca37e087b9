"""Issuing coupons: who gets one, in which order, and never more than there are. Read this room first.

A campaign names its strategy; each is a function of the same signature in `STRATEGIES`, a module of its
own below `coupons/strategies/`. They differ in how they keep two askers apart; what an asker is owed is
decided in one place, `coupons.granting`, and written in one, `coupons.slots`.
"""

import time

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError
from structlog import get_logger

from coupons import confirming, granting, looking, tickets
from coupons.in_redis import sold_out
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import patience
from coupons.slots import Confirming, Issued, Queued
from coupons.strategies import (
    Strategy,
    code_pool,
    conditional_update,
    fair_lock,
    group_commit,
    optimistic,
    pessimistic,
    queue,
    redis_gate,
    spin_lock,
    unsafe,
)
from shop import clock
from shop.errors import FirstcomeError, NotFound, Rejected, Unavailable

log = get_logger(__name__)

STRATEGIES: dict[str, Strategy] = {
    "group_commit": group_commit.issue,
    "pessimistic": pessimistic.issue,
    "optimistic": optimistic.issue,
    "conditional_update": conditional_update.issue,
    "spin_lock": spin_lock.issue,
    "fair_lock": fair_lock.issue,
    "redis_gate": redis_gate.issue,
    "code_pool": code_pool.issue,
    "queue": queue.issue,
    "unsafe": unsafe.issue,
}
LAB_ONLY = {"unsafe"}

# What a process remembers of a campaign, to find the strategy without a query for each request. The
# strategy reads the campaign itself again, so a stale entry costs a refusal or a slower way, no law.
REMEMBER_SECONDS = 1.0
MOST_REMEMBERED = 1_024
_remembered: dict[int, tuple[str, str, float]] = {}


def issue(*, campaign_id: int, user_id: int) -> Issued | Queued:
    """Give the account its coupon of the campaign, or the one it already has, or its ticket in line for one.

    Durable when it returns, and safe to repeat: an account gets one coupon, whoever asks and how often.
    An account that has its coupon gets it from a sold out or closed campaign too.

    Raises `NotFound` `campaign_not_found`, or `not_found` for an account that doesn't exist; `Rejected`
    `sold_out`, `campaign_not_open`, `campaign_closed`, `coupon_void`, `conflict`,
    `strategy_not_available`; `PartnerFailed`; `Overloaded`, `Unavailable`.
    """
    strategy, partner = _strategy_and_partner(campaign_id)
    full = sold_out.known(campaign_id)
    if full:
        seen, had = looking.look(campaign_id=campaign_id, user_id=user_id)
        # Whatever comes back to a campaign changes its version.
        if seen.version == full.version:
            return _had_before(seen, user_id, had)
    if partner and patience.is_away(partner):
        # Nobody takes a slot that can't be confirmed.
        away = Unavailable("The partner of this campaign is away; nothing was done. Ask again.")
        seen, had = looking.look(campaign_id=campaign_id, user_id=user_id)
        return _had_before(seen, user_id, had, otherwise=away)
    return _issued(STRATEGIES[strategy], campaign_id, user_id)


def _had_before(
    campaign: Campaign,
    user_id: int,
    had: Coupon | Confirmation | None,
    *,
    otherwise: FirstcomeError | None = None,
) -> Issued | Queued:
    """What the account has of a campaign that gives nothing new just now; or why it doesn't, raised."""
    queued = tickets.waiting_of(campaign, user_id) if campaign.strategy == "queue" else None
    if queued and not isinstance(had, Coupon):
        return queued
    if had is None:
        raise granting.refusal(campaign, clock.now()) or otherwise or granting.sold_out(campaign)
    return _confirmed(granting.told(granting.owed(campaign, had)))


def _confirmed(outcome: Issued | Confirming | Queued) -> Issued | Queued:
    """The coupon, once the campaign's partner agrees; who is queued has it asked by the issuer."""
    return confirming.ask(outcome) if isinstance(outcome, Confirming) else outcome


def _issued(strategy: Strategy, campaign_id: int, user_id: int) -> Issued | Queued:
    try:
        return _confirmed(strategy(campaign_id=campaign_id, user_id=user_id))
    except Rejected as refusal:
        if refusal.code == "sold_out":
            sold_out.look(campaign_id)
        raise
    except IntegrityError as error:
        # Strategies don't look whether the account is there: its foreign key does, for nothing.
        _require_account(user_id)
        log.error("a constraint refused a coupon", campaign=campaign_id, account=user_id, error=str(error))
        raise Rejected(
            "Somebody else was faster; nothing was done.", code="conflict", retry_after=1
        ) from error


def issue_to(*, campaign_id: int, user_id: int) -> Issued | Queued:
    """Issue to somebody else's account, for staff.

    Raises what `issue` raises; an account that is disabled counts as one that doesn't exist.
    """
    _require_account(user_id, is_active=True)
    return issue(campaign_id=campaign_id, user_id=user_id)


def available_strategies() -> list[str]:
    """The strategies that a campaign can be given here."""
    return [name for name in STRATEGIES if settings.LAB or name not in LAB_ONLY]


def forget() -> None:
    """Forget what this process remembers of campaigns (tests)."""
    _remembered.clear()
    sold_out.forget()


def _strategy_and_partner(campaign_id: int) -> tuple[str, str]:
    """The campaign's strategy and partner, about a second old at most."""
    now = time.monotonic()
    name, partner, good_until = _remembered.get(campaign_id, ("", "", 0.0))
    if good_until <= now:
        if name:
            # One reads for all threads; the others go by what is known until it has.
            _remembered[campaign_id] = (name, partner, now + REMEMBER_SECONDS)
        name, partner = _read_strategy_and_partner(campaign_id)
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[campaign_id] = (name, partner, now + REMEMBER_SECONDS)
    if name in LAB_ONLY and not settings.LAB:
        raise Rejected(
            f"The strategy {name} of this campaign runs only with LAB=1.", code="strategy_not_available"
        )
    return name, partner


def _read_strategy_and_partner(campaign_id: int) -> tuple[str, str]:
    found = Campaign.objects.filter(pk=campaign_id).values_list("strategy", "partner").first()
    if found is None:
        _remembered.pop(campaign_id, None)
        raise NotFound(f"There is no campaign {campaign_id}.", code="campaign_not_found")
    return found


def _require_account(user_id: int, **conditions: bool) -> None:
    if not User.objects.filter(pk=user_id, **conditions).exists():
        raise NotFound(f"There is no active account {user_id}.")
