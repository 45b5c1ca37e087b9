"""Issues coupons: which accounts get one, in which order, and never more than the campaign has. Start here.

A campaign names one of the strategies, which differ in how they keep concurrent requests apart.
`coupons.eligibility` decides what a request gets, and `coupons.allocation.allocating` writes it.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TypeVar

from django.conf import settings
from django.contrib.auth.models import User
from django.db import DatabaseError, IntegrityError
from structlog import get_logger

from accounts.operating import own_account
from coupons import eligibility, remembered, selectors
from coupons.allocation import outcomes
from coupons.allocation.allocating import Applicants
from coupons.allocation.outcomes import Answer, Issued, IssueRequest, PendingConfirmation, Queued, Slot
from coupons.metrics import counters
from coupons.models import Campaign, Confirmation, Coupon, PoolCode
from coupons.partners import confirmation
from coupons.queue import tickets
from coupons.strategies import (
    code_pool,
    conditional_update,
    fair_lock,
    group_commit,
    lookup_batcher,
    optimistic,
    pessimistic,
    queue,
    redis_gate,
    spin_lock,
    unsafe,
)
from foundation import clock, journal
from foundation.concurrency.event_loop import run_blocking, run_in_thread, submit_to_batcher
from foundation.concurrency.thread_pool import LOOKUP_POOL
from foundation.db import transactions
from foundation.errors import NotFound, Overloaded, Rejected, Unavailable
from foundation.lazy_texts import mark

log = get_logger(__name__)
Result = TypeVar("Result")

STRATEGIES: dict[str, Callable[..., Slot | Queued]] = {
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


def issue(*, campaign_id: int, user_id: int) -> Answer:
    """Issue the account's coupon of the campaign, or return its existing coupon, or its queue ticket.

    Durable on return, and safe to repeat: an account gets one coupon, also from a sold out or closed
    campaign.

    Raises `NotFound` `campaign_not_found`, or `not_found` for an account that doesn't exist; `Rejected`
    `sold_out`, `campaign_not_open`, `campaign_closed`, `campaign_paused`, `coupon_void`, `conflict`,
    `not_eligible`, `lock_not_acquired`, `strategy_not_available`; `PartnerFailed`; `Overloaded`,
    `Unavailable`.
    """
    return run_blocking(issue_async(campaign_id=campaign_id, user_id=user_id))


async def issue_async(*, campaign_id: int, user_id: int) -> Answer:
    """`issue` for a coroutine: it holds no thread while a batcher decides, and blocks no event loop."""
    try:
        issued = await _issue(campaign_id, user_id)
    except Exception as error:
        count_refused(campaign_id, error)
        raise
    # New coupons are counted with their commit.
    if not isinstance(issued, Issued):
        counters.count_answer(campaign_id, counters.PENDING)
    elif not issued.is_new:
        counters.count_answer(campaign_id, counters.REPEATED)
    return issued


def count_refused(campaign_id: int, error: Exception) -> None:
    """Count a request that is answered this error; for one that was refused before it was issued."""
    known = campaign_id if remembered.is_known(campaign_id) else None
    counters.count_answer(known, getattr(error, "code", "internal_error"))


async def read_campaign(campaign_id: int) -> Campaign:
    """The campaign as it was a second ago at most, without a query in a crowd. Raises `NotFound`."""
    known = remembered.campaign(campaign_id)
    # In a group, which leaves a thread for the campaigns that are there: a request may name any.
    group = None if known.is_known() else "unknown campaigns"
    return await known.get_on_loop(partial(run_in_thread, pool=LOOKUP_POOL, group=group))


async def _issue(campaign_id: int, user_id: int) -> Answer:
    """Refuse or repeat what takes no slot; take a slot; have a partner that is new confirm it."""
    seen = await read_campaign(campaign_id)
    _require_available(seen.strategy)
    is_away = bool(seen.partner) and confirmation.is_unavailable(seen.partner)
    if is_away or not seen.has_left(1):
        existing = await _answer_without_slot(seen, user_id, is_away=is_away)
        if existing is not None:
            return existing
    try:
        slot = await _take_slot(seen, user_id)
    except Rejected as refusal:
        if refusal.code == "sold_out":
            with suppress(Unavailable, DatabaseError):
                await _in_thread(campaign_id, user_id, partial(remembered.note_sold_out, campaign_id))
        raise
    except IntegrityError as error:
        # Strategies don't check that the account exists: the foreign key does, at no cost.
        if not await _in_thread(campaign_id, user_id, User.objects.filter(pk=user_id).exists):
            raise _no_account(user_id) from error
        log.error("a constraint refused a coupon", campaign=campaign_id, account=user_id, error=error)
        text = mark("Another request was faster; nothing was done.")
        raise Rejected(text, code="conflict", retry_after=1) from error
    if not isinstance(slot, PendingConfirmation):
        return slot
    # The campaign got a partner after it was last read.
    try:
        return await _in_thread(campaign_id, user_id, partial(confirmation.ask_partner, slot))
    except Overloaded as error:
        raise confirmation.reply_unknown() from error


def _require_available(strategy: str) -> None:
    """Refuse a strategy of the lab outside of it, and one of another release."""
    if strategy in LAB_ONLY and not settings.LAB:
        text = mark("The strategy {name} of this campaign runs only with LAB=1.", name=strategy)
    elif strategy not in STRATEGIES:
        text = mark("The strategy {name} of this campaign is of another release.", name=strategy)
    else:
        return
    raise Rejected(text, code="strategy_not_available")


async def _answer_without_slot(seen: Campaign, user_id: int, *, is_away: bool) -> Answer | None:
    """What the account has of a campaign that is full or whose partner is away, or its refusal, raised.

    None if a slot was released since: that has changed the campaign's version.
    """
    applicants = await submit_to_batcher(lookup_batcher(seen.id), user_id)
    if not is_away and applicants.campaign.version != seen.version:
        return None
    settle = partial(_existing_or_raise, applicants, user_id, is_away=is_away)
    existing = applicants.existing.get(user_id)
    needs_thread = is_away or seen.strategy == "queue" or isinstance(existing, Confirmation)
    return await _in_thread(seen.id, user_id, settle) if needs_thread else settle()


def _take_slot(seen: Campaign, user_id: int) -> Awaitable[Slot | Queued]:
    """The account's slot, by the batch or by the strategy in a thread, which has its partner confirm it."""
    if seen.strategy == BATCHED_STRATEGY and not seen.partner:
        return submit_to_batcher(group_commit.batcher(seen.id), IssueRequest(user_id))
    issue_one = partial(STRATEGIES[seen.strategy], campaign_id=seen.id, user_id=user_id)
    return _in_thread(seen.id, user_id, lambda: _confirm_if_pending(issue_one()))


async def _in_thread(campaign_id: int, user_id: int, call: Callable[[], Result]) -> Result:
    return await run_in_thread(call, group=("campaign", campaign_id), owner=user_id)


def _existing_or_raise(applicants: Applicants, user_id: int, *, is_away: bool) -> Answer:
    """The account's coupon or ticket, or its refusal, raised: the campaign is full or its partner away."""
    campaign = applicants.campaign
    if campaign.strategy == "queue" and not isinstance(applicants.existing.get(user_id), Coupon):
        queued = tickets.first_waiting_tickets(campaign, [user_id]).get(user_id)
        if queued:
            return queued
    away = Unavailable(mark("The partner of this campaign is unavailable; nothing was done. Try again."))
    answer = applicants.answer(user_id) or (away if is_away else eligibility.sold_out(campaign.name))
    return _confirm_if_pending(outcomes.unwrap(answer))


def _confirm_if_pending(outcome: Slot | Queued) -> Answer:
    """The coupon, once the campaign's partner confirms it; for tickets the issuer calls the partner."""
    return confirmation.ask_partner(outcome) if isinstance(outcome, PendingConfirmation) else outcome


def issue_by_staff(*, campaign_id: int, user_id: int) -> Answer:
    """Issue a coupon to another account, for staff; a disabled one counts as one that doesn't exist.

    Raises what `issue` raises, and `NotAllowed` `own_account`.
    """
    own_account.refuse_own(user_id)
    if not User.objects.filter(pk=user_id, is_active=True).exists():
        raise _no_account(user_id)
    return issue(campaign_id=campaign_id, user_id=user_id)


def available_strategies() -> list[str]:
    """The strategies that a campaign may have in this installation."""
    return [name for name in STRATEGIES if settings.LAB or name not in LAB_ONLY]


def forget() -> None:
    """Forget what this process remembers of campaigns (tests)."""
    remembered.campaign.cache_clear()


def _no_account(user_id: int) -> NotFound:
    return NotFound(mark("There is no active account {user_id}.", user_id=user_id))


def void(*, code: str, reason: str) -> Coupon:
    """Void an issued coupon, for a reason; its owner can't get another of the campaign.

    Durable on return. Raises `NotFound`, `NotAllowed` `own_account`, and `Rejected` `coupon_not_voidable` for
    a coupon that is held, redeemed, expired or void already.
    """
    own_account.refuse_own(selectors.get(code=code, owner_id=None).account_id)
    voidable = Coupon.objects.filter(code=code, status=Coupon.Status.ISSUED, expires_at__gt=clock.now())

    def work() -> None:
        if not voidable.update(status=Coupon.Status.VOID, void_reason=reason):
            status = selectors.get(code=code, owner_id=None).status_at(clock.now())
            raise Rejected(
                mark("Coupon {code} is {status}; only issued ones are made void.", code=code, status=status),
                code="coupon_not_voidable",
            )
        PoolCode.objects.filter(code=code).update(status=PoolCode.Status.VOID)
        journal.note(
            what="coupon.void",
            subject=f"coupon {code}",
            before={"status": Coupon.Status.ISSUED},
            after={"status": Coupon.Status.VOID},
            detail=reason,
        )

    transactions.run_or_savepoint(work, transactions.ONCE)
    return selectors.get(code=code, owner_id=None)
