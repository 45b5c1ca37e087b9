"""Issuing coupons: who gets one, in which order, and never more than there are. Read this room first.

A campaign names its strategy; each is a function of the same signature in `STRATEGIES`, a module of its own
below `coupons/issuing/strategies/`. They differ in how they keep two askers apart; what an asker is owed is
decided in one place, `coupons.allocation.eligibility`, and written in one, `coupons.allocation.writes`.
"""

import time
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError
from structlog import get_logger

from coupons import sold_out
from coupons.allocation import eligibility, lookups
from coupons.allocation.writes import Issued, IssueRequest, PendingConfirmation, Queued
from coupons.issuing.strategies import (
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
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import confirming, patience
from coupons.queue import tickets
from shop import clock
from shop.concurrency.group_commit import Batcher
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
BATCHED_STRATEGY = "group_commit"
"""The one whose requests need nothing but their batch."""

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
    full = sold_out.read(campaign_id)
    if full:
        seen, had = lookups.read_campaign_and_coupon(campaign_id=campaign_id, user_id=user_id)
        # Whatever comes back to a campaign changes its version.
        if seen.version == full.version:
            return _existing_or_raise(seen, user_id, had)
    if partner and patience.is_unavailable(partner):
        # Nobody takes a slot that can't be confirmed.
        away = Unavailable("The partner of this campaign is away; nothing was done. Ask again.")
        seen, had = lookups.read_campaign_and_coupon(campaign_id=campaign_id, user_id=user_id)
        return _existing_or_raise(seen, user_id, had, otherwise=away)
    return _issue_by_strategy(STRATEGIES[strategy], campaign_id, user_id)


@dataclass(frozen=True, slots=True)
class BatchRoute:
    """How a request is decided without a query of its own: in a batch, or in a shared look once sold out."""

    campaign_id: int
    full: Campaign | None

    def batcher(self) -> Batcher[Any, Any]:
        """The batcher that takes `request`."""
        return lookups.batcher(self.campaign_id) if self.full else group_commit.batcher(self.campaign_id)

    def request(self, user_id: int) -> Any:
        return user_id if self.full else IssueRequest(user_id)

    def result(self, user_id: int, outcome: Any) -> Issued | Queued | None:
        """What the account gets; None where only `issue` can tell. Raises the refusal."""
        if self.full is None:
            return None if isinstance(outcome, PendingConfirmation) else outcome
        seen, had = outcome
        if (
            seen.version != self.full.version
            or seen.strategy != BATCHED_STRATEGY
            or isinstance(had, Confirmation)
        ):
            return None
        return _existing_or_raise(seen, user_id, had)


def is_renewal_due(campaign_id: int) -> bool:
    """Whether this request should `renew`; until it has, the others of this loop go by what is known."""
    strategy, partner, good_until = _remembered.get(campaign_id, ("", "", 0.0))
    now = time.monotonic()
    if strategy != BATCHED_STRATEGY or partner or good_until > now:
        return False
    _remembered[campaign_id] = (strategy, partner, now + REMEMBER_SECONDS)
    return True


def renew(campaign_id: int) -> None:
    """Read again what is remembered of the campaign. Raises `NotFound`."""
    name, partner = _read_strategy_and_partner(campaign_id)
    _remembered[campaign_id] = (name, partner, time.monotonic() + REMEMBER_SECONDS)


def batch_route(campaign_id: int) -> BatchRoute | None:
    """How a request for this campaign is decided by a batcher, from what is remembered; it touches nothing.

    None where `issue` has to look something up, or to ask a partner, or the strategy decides alone.
    """
    strategy, partner, good_until = _remembered.get(campaign_id, ("", "", 0.0))
    if strategy != BATCHED_STRATEGY or partner or good_until <= time.monotonic():
        return None
    full, needs_look = sold_out.read_cached(campaign_id)
    return None if needs_look else BatchRoute(campaign_id, full)


def _existing_or_raise(
    campaign: Campaign,
    user_id: int,
    had: Coupon | Confirmation | None,
    *,
    otherwise: FirstcomeError | None = None,
) -> Issued | Queued:
    """What the account has of a campaign that gives nothing new just now; or why it doesn't, raised."""
    queued = tickets.first_waiting_ticket(campaign, user_id) if campaign.strategy == "queue" else None
    if queued and not isinstance(had, Coupon):
        return queued
    if had is None:
        raise eligibility.refusal(campaign, clock.now()) or otherwise or eligibility.sold_out(campaign)
    return _confirm_if_pending(eligibility.unwrap(eligibility.existing_result(campaign, had)))


def _confirm_if_pending(outcome: Issued | PendingConfirmation | Queued) -> Issued | Queued:
    """The coupon, once the campaign's partner agrees; who is queued has it asked by the issuer."""
    return confirming.ask_partner(outcome) if isinstance(outcome, PendingConfirmation) else outcome


def _issue_by_strategy(strategy: Strategy, campaign_id: int, user_id: int) -> Issued | Queued:
    try:
        return _confirm_if_pending(strategy(campaign_id=campaign_id, user_id=user_id))
    except (Rejected, IntegrityError) as error:
        raise refusal_of(error, campaign_id=campaign_id, user_id=user_id) from error


def refusal_of(error: Rejected | IntegrityError, *, campaign_id: int, user_id: int) -> FirstcomeError:
    """The refusal that an error of a strategy stands for; what it shows of the campaign is remembered."""
    if isinstance(error, Rejected):
        if error.code == "sold_out":
            sold_out.refresh(campaign_id)
        return error
    # Strategies don't look whether the account is there: its foreign key does, for nothing.
    if not _is_account(user_id):
        return _no_account(user_id)
    log.error("a constraint refused a coupon", campaign=campaign_id, account=user_id, error=str(error))
    return Rejected("Another request was faster; nothing was done.", code="conflict", retry_after=1)


def issue_by_staff(*, campaign_id: int, user_id: int) -> Issued | Queued:
    """Issue to somebody else's account, for staff.

    Raises what `issue` raises; an account that is disabled counts as one that doesn't exist.
    """
    if not _is_account(user_id, is_active=True):
        raise _no_account(user_id)
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


def _is_account(user_id: int, **conditions: bool) -> bool:
    return User.objects.filter(pk=user_id, **conditions).exists()


def _no_account(user_id: int) -> NotFound:
    return NotFound(f"There is no active account {user_id}.")
