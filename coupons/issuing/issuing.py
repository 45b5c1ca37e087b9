"""Issues coupons: which accounts get one, in which order, and never more than the campaign has. Start here.

A campaign names its strategy, which differ in how they keep concurrent requests apart. What a request gets is
decided in one place, `coupons.allocation.eligibility`, and written in one, `coupons.allocation.writes`.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from functools import lru_cache, partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError
from structlog import get_logger

from coupons import CAMPAIGNS_AT_ONCE, sold_out
from coupons.allocation import eligibility
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
from coupons.metrics import counters
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import call_limit, confirming
from coupons.queue import tickets
from shop import clock
from shop.accounts import own_account
from shop.concurrency.event_loop import LOOKUP_POOL, run_blocking, run_in_thread, submit_to_batcher
from shop.concurrency.group_commit import Batcher
from shop.db import transactions
from shop.errors import FirstcomeError, NotFound, Overloaded, Rejected, Unavailable
from shop.lazy_texts import mark as _

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
"""The strategy whose requests need nothing but their batch."""

# A process remembers each campaign's strategy, partner and when to read them again, so that a request needs
# no query for them. The strategy reads the campaign again, so a stale entry costs a refusal or time, never a
# law.
REMEMBER_SECONDS = 1.0
MOST_REMEMBERED = CAMPAIGNS_AT_ONCE
_remembered: dict[int, tuple[str, str, float]] = {}
# A read takes a millisecond, in which few other requests arrive.
LOOKUP_INTERVAL_SECONDS = 0.01

InThread = Callable[..., Awaitable[Any]]
CampaignAndCoupon = tuple[Campaign, Coupon | Confirmation | None]


def issue(*, campaign_id: int, user_id: int) -> Issued | Queued:
    """Issue the account's coupon of the campaign, or return its existing coupon, or its queue ticket.

    Durable on return, and safe to repeat: an account gets one coupon, also from a sold out or closed
    campaign.

    Raises `NotFound` `campaign_not_found`, or `not_found` for an account that doesn't exist; `Rejected`
    `sold_out`, `campaign_not_open`, `campaign_closed`, `campaign_paused`, `coupon_void`, `conflict`,
    `strategy_not_available`; `PartnerFailed`; `Overloaded`, `Unavailable`.
    """
    return run_blocking(issue_async(campaign_id=campaign_id, user_id=user_id))


async def issue_async(*, campaign_id: int, user_id: int) -> Issued | Queued:
    """`issue` for a coroutine: it holds no thread while a batcher decides, and blocks no event loop.

    Requests that need nothing but their batch, or are answered by what the process remembers, go without a
    thread.
    """
    in_thread = partial(run_in_thread, group=("campaign", campaign_id), owner=user_id)
    strategy, partner = await _strategy_and_partner(campaign_id, in_thread)
    full, needs_refresh = sold_out.read_cached(campaign_id)
    if needs_refresh:
        full = await in_thread(sold_out.read, campaign_id)
    is_away = bool(partner) and call_limit.is_unavailable(partner)
    if full or is_away:
        campaign, existing = await submit_to_batcher(lookup_batcher(campaign_id), user_id)
        # A slot that was released since has changed the campaign's version.
        is_full = full is not None and campaign.version == full.version
        if is_full or is_away:
            settle = partial(_existing_or_raise, campaign, user_id, existing, is_full=is_full)
            needs_thread = is_away or campaign.strategy == "queue" or isinstance(existing, Confirmation)
            return await in_thread(settle) if needs_thread else settle()
    if strategy == BATCHED_STRATEGY and not partner:
        return await _issue_by_batch(campaign_id, user_id, in_thread)
    return await in_thread(_issue_by_strategy, STRATEGIES[strategy], campaign_id, user_id)


async def _issue_by_batch(campaign_id: int, user_id: int, in_thread: InThread) -> Issued | Queued:
    try:
        outcome = await submit_to_batcher(group_commit.batcher(campaign_id), IssueRequest(user_id))
    except (Rejected, IntegrityError) as error:
        if isinstance(error, Rejected) and error.code != "sold_out":
            raise
        refusal = partial(_refusal_of, error, campaign_id=campaign_id, user_id=user_id)
        raise await run_in_thread(refusal, owner=user_id) from error
    if isinstance(outcome, Issued):
        return outcome
    try:
        # The campaign got a partner after it was last read.
        return await in_thread(confirming.ask_partner, outcome)
    except Overloaded as error:
        raise confirming.reply_unknown() from error


class counting_answer:  # noqa: N801 - reads as a word: `with issuing.counting_answer(...)`
    """Counts what one request was answered: the block sets `issued`, or raises the refusal.

    A new coupon is not counted here but with its commit, which may come without a request. A class, because
    every request enters it: it is cheaper.
    """

    __slots__ = ("_campaign_id", "issued")

    def __init__(self, campaign_id: int) -> None:
        self._campaign_id = campaign_id
        self.issued: Issued | Queued | None = None

    def __enter__(self) -> "counting_answer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None and isinstance(self.issued, Issued) and self.issued.is_new:
            return
        if error is not None:
            outcome = getattr(error, "code", "internal_error")
        else:
            outcome = counters.REPEATED if isinstance(self.issued, Issued) else counters.PENDING
        # What the process remembers exists; the number in a request may be any.
        counters.count_answer(self._campaign_id if self._campaign_id in _remembered else None, outcome)


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def lookup_batcher(campaign_id: int) -> Batcher[int, CampaignAndCoupon]:
    """The batcher whose requests read the campaign and their account's coupon."""
    return Batcher(
        lambda user_ids: _read_campaign_and_coupons(campaign_id, user_ids),
        name="coupon_lookups",
        run=transactions.read,
        min_interval_seconds=LOOKUP_INTERVAL_SECONDS,
    )


def _read_campaign_and_coupons(campaign_id: int, user_ids: Sequence[int]) -> list[CampaignAndCoupon]:
    campaign, coupons = eligibility.read_campaign(campaign_id, set(user_ids))
    # A confirmation may become a coupon between two reads, so confirmations must be read first.
    existing = eligibility.existing_coupons(campaign, user_ids, coupons=None if campaign.partner else coupons)
    return [(campaign, existing.get(user_id)) for user_id in user_ids]


def _existing_or_raise(
    campaign: Campaign,
    user_id: int,
    existing: Coupon | Confirmation | None,
    *,
    is_full: bool,
) -> Issued | Queued:
    """The account's coupon or ticket of a campaign that issues nothing new now, or its refusal, raised.

    One that isn't full has a partner that is away: no slot is taken that can't be confirmed.
    """
    queued = tickets.first_waiting_ticket(campaign, user_id) if campaign.strategy == "queue" else None
    if queued and not isinstance(existing, Coupon):
        return queued
    if existing is None:
        away = Unavailable(_("The partner of this campaign is unavailable; nothing was done. Try again."))
        refused = eligibility.refusal(campaign, user_id, clock.now())
        raise refused or (eligibility.sold_out(campaign) if is_full else away)
    return _confirm_if_pending(eligibility.unwrap(eligibility.existing_result(campaign, existing)))


def _confirm_if_pending(outcome: Issued | PendingConfirmation | Queued) -> Issued | Queued:
    """The coupon, once the campaign's partner confirms it; for tickets the issuer calls the partner."""
    return confirming.ask_partner(outcome) if isinstance(outcome, PendingConfirmation) else outcome


def _issue_by_strategy(strategy: Strategy, campaign_id: int, user_id: int) -> Issued | Queued:
    try:
        return _confirm_if_pending(strategy(campaign_id=campaign_id, user_id=user_id))
    except (Rejected, IntegrityError) as error:
        raise _refusal_of(error, campaign_id=campaign_id, user_id=user_id) from error


def _refusal_of(error: Rejected | IntegrityError, *, campaign_id: int, user_id: int) -> FirstcomeError:
    """The refusal for an error of a strategy; `sold_out` is remembered."""
    if isinstance(error, Rejected):
        if error.code == "sold_out":
            sold_out.refresh(campaign_id)
        return error
    # Strategies don't check that the account exists: the foreign key does, at no cost.
    if not _is_account(user_id):
        return _no_account(user_id)
    log.error("a constraint refused a coupon", campaign=campaign_id, account=user_id, error=str(error))
    return Rejected(_("Another request was faster; nothing was done."), code="conflict", retry_after=1)


def issue_by_staff(*, campaign_id: int, user_id: int) -> Issued | Queued:
    """Issue a coupon to another account, for staff; a disabled one counts as one that doesn't exist.

    Raises what `issue` raises, and `NotAllowed` `own_account`.
    """
    own_account.refuse_own(user_id)
    if not _is_account(user_id, is_active=True):
        raise _no_account(user_id)
    return issue(campaign_id=campaign_id, user_id=user_id)


def available_strategies() -> list[str]:
    """The strategies that a campaign may have in this installation."""
    return [name for name in STRATEGIES if settings.LAB or name not in LAB_ONLY]


def forget() -> None:
    """Forget what this process remembers of campaigns (tests)."""
    _remembered.clear()
    sold_out.forget()


async def _strategy_and_partner(campaign_id: int, in_thread: InThread) -> tuple[str, str]:
    """The campaign's strategy and partner, about a second old at most."""
    name, partner, good_until = _remembered.get(campaign_id, ("", "", 0.0))
    now = time.monotonic()
    if not name:
        name, partner = await in_thread(_read_strategy_and_partner, campaign_id)
    elif good_until <= now:
        # One request reads for all; until it has, the others use the old entry.
        _remembered[campaign_id] = (name, partner, now + REMEMBER_SECONDS)
        name, partner = await run_in_thread(_read_strategy_and_partner, campaign_id, pool=LOOKUP_POOL)
    if name in LAB_ONLY and not settings.LAB:
        raise Rejected(
            _("The strategy {name} of this campaign runs only with LAB=1.", name=name),
            code="strategy_not_available",
        )
    return name, partner


def _read_strategy_and_partner(campaign_id: int) -> tuple[str, str]:
    """Read both, and remember them. Raises `NotFound`."""
    found = Campaign.objects.filter(pk=campaign_id).values_list("strategy", "partner").first()
    if found is None:
        _remembered.pop(campaign_id, None)
        raise NotFound(
            _("There is no campaign {campaign_id}.", campaign_id=campaign_id),
            code="campaign_not_found",
        )
    if len(_remembered) >= MOST_REMEMBERED:
        _remembered.clear()
    _remembered[campaign_id] = (*found, time.monotonic() + REMEMBER_SECONDS)
    return found


def _is_account(user_id: int, **conditions: bool) -> bool:
    return User.objects.filter(pk=user_id, **conditions).exists()


def _no_account(user_id: int) -> NotFound:
    return NotFound(_("There is no active account {user_id}.", user_id=user_id))
