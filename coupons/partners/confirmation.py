"""Confirms slots at the campaign's partner, which turns them into their accounts' coupons, or releases them.

If the partner doesn't answer, the account keeps the slot: a repeated request calls the partner under the same
key, and `recover_due` does so for those that don't come back, until that takes too long. Then it cancels the
slot: first `is_cancelled` is committed, so that no request makes a coupon of it, then the partner is called.
No customer has a coupon that the partner doesn't know, and no code is lost, wherever either side crashes.

Updates of a campaign that arrive while a transaction is open share the next one. Each may be repeated, by
requests and sweepers at once: a confirmation is locked before it is removed, and only one still finds it.
"""

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError
from django.db.models import F, prefetch_related_objects
from prometheus_client import Counter
from structlog import get_logger

from coupons import CAMPAIGNS_AT_ONCE, remembered, rows, slots
from coupons.allocation import allocating, outcomes
from coupons.allocation.outcomes import Issued, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon
from coupons.partners import named
from coupons.partners.contract import NoAnswer, NotReached, Partner, PartnerAnswer, PartnerReply
from coupons.slots import ConfirmationDecision
from foundation import clock, journal
from foundation.concurrency import thread_pool
from foundation.concurrency.batching import Batcher
from foundation.db import open_transaction, transactions
from foundation.db.transactions import DatabaseUnavailable
from foundation.errors import FirstcomeError, PartnerFailed, Rejected, Unavailable
from foundation.journal import ActorContext
from foundation.lazy_texts import mark
from foundation.observability import logs
from foundation.outbound import backoff
from foundation.outbound.circuit_breaker import CircuitBreaker, CircuitOpen

log = get_logger(__name__)
CLAIMED_AT_ONCE = 64
PARTNER_THREADS = 8
"""They never use the database."""
# A pass claims nothing more after so long: partners that are unavailable are called again in the next one.
PASS_SECONDS = 5.0
# Short, because a customer waits for the coupon.
LONGEST_PAUSE_SECONDS = 15.0
# Consecutive failures: single calls are late now and then although the partner is available.
FAILURES = 10
SECONDS_AWAY = 2
# Half of a process's threads wait for partners at most. This is long enough for a call to a responsive one to
# end, and short enough for threads that other work needs.
PERMIT_WAIT_SECONDS = 0.25
PARTNER_ANSWERS = Counter(
    "firstcome_partner_answers_total",
    "Replies of partners on coupons: registered, refused, cancelled, unknown, none, not_reached.",
    ["answer"],
)


@dataclass(frozen=True, slots=True)
class ConfirmationUpdate:
    """A decision on a slot, and its actor: created in the thread that called the partner."""

    confirming: PendingConfirmation
    decision: ConfirmationDecision
    by: ActorContext = field(default_factory=journal.current_actor)


def ask_partner(confirming: PendingConfirmation) -> Issued:
    """Call the partner and return the slot's coupon; must be called outside any transaction.

    Durable on return, and safe to repeat. Raises `PartnerFailed` if the partner refused, or was not reached
    and can't know the key from an earlier call: slot and code are released. Raises `Unavailable` while the
    partner's decision is not known: the account keeps the slot, and a repeat finds out.
    """
    open_transaction.assert_outside()
    with logs.bound(campaign=confirming.campaign_id, account=confirming.user_id):
        # Kept in a local, because two concurrent first calls may each create a semaphore, of which one is
        # cached.
        permits = _permits()
        if not permits.acquire(timeout=PERMIT_WAIT_SECONDS):
            raise Unavailable(mark("The partner is slow, and too many requests wait for it; try again."))
        try:
            if not confirming.is_new and not _count_attempt(confirming):
                return _read_settled(confirming)
            answer = _register(confirming)
        finally:
            permits.release()
        if answer is PartnerReply.REGISTERED:
            return confirm(confirming)
        if isinstance(answer, NoAnswer) or (isinstance(answer, NotReached) and not confirming.is_new):
            raise reply_unknown() from answer
        issued = release_slot(confirming, is_unsent=isinstance(answer, NotReached))
        if issued is None:
            if isinstance(answer, NotReached):
                raise PartnerFailed(mark("The partner was not reached; nothing was issued.")) from answer
            raise refused()
        return issued


def _register(confirming: PendingConfirmation) -> PartnerAnswer:
    """Call the partner, and count its reply."""
    answer = call_partner(
        confirming.partner, lambda partner: partner.register(confirming.key, confirming.code)
    )
    name = "not_reached" if isinstance(answer, NotReached) else "none"
    PARTNER_ANSWERS.labels(answer.value if isinstance(answer, PartnerReply) else name).inc()
    return answer


def call_partner(name: str, call: Callable[[Partner], PartnerReply]) -> PartnerAnswer:
    """The partner's reply, or why there is none; it is not called while its circuit is open."""
    partner = named(name)
    if partner is None:
        return NotReached(f"no partner {name} is configured")
    try:
        with _breaker(name).guard(NotReached, NoAnswer):
            return call(partner)
    except CircuitOpen:
        return NotReached("the partner is unavailable; it is tried again soon")
    except (NotReached, NoAnswer) as error:
        log.warning("a partner gave no answer", partner=name, reason=error)
        return error


def _count_attempt(confirming: PendingConfirmation) -> bool:
    """Count an attempt before the partner is called again; False if the slot has been settled.

    The first call is not counted: while `attempts` is 0, only the request that took the slot may have called.
    """
    kept = Confirmation.objects.filter(pk=confirming.key, is_cancelled=False)
    return bool(transactions.run(lambda: kept.update(attempts=F("attempts") + 1), transactions.REPEATABLE))


def _read_settled(confirming: PendingConfirmation) -> Issued:
    """The coupon of a slot that another process has settled; raises if there is none."""
    applicants = allocating.read_campaign(confirming.campaign_id, [confirming.user_id])
    existing = applicants.existing.get(confirming.user_id)
    if not isinstance(existing, Coupon):
        raise reply_unknown() if existing else refused()
    outcome = outcomes.existing_coupon_result(existing)
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def reply_unknown() -> Unavailable:
    """The error of a request that keeps its slot while the partner's decision is not known."""
    return Unavailable(mark("The partner has not answered; the coupon is reserved meanwhile. Try again."))


def confirm(confirming: PendingConfirmation) -> Issued:
    """Make the slot the account's coupon, because its partner has registered the key; durable on return.

    Raises `Unavailable` if the slot was cancelled meanwhile, and `PartnerFailed` if it was released.
    """
    issued = _batcher(confirming.campaign_id).submit(
        ConfirmationUpdate(confirming, ConfirmationDecision.AGREED)
    )
    assert issued is not None
    return issued


def release_slot(confirming: PendingConfirmation, *, is_unsent: bool = False) -> Issued | None:
    """Release the slot and its code, because nothing is or will be registered under the key.

    With `is_unsent` only this caller's own call is known not to have been sent: if another may have called
    the partner, the slot is kept and `Unavailable` raised. Returns the coupon if another caller has confirmed
    the slot meanwhile. Raises `PartnerFailed` if the slot was released before.
    """
    decision = ConfirmationDecision.UNSENT if is_unsent else ConfirmationDecision.REFUSED
    issued = _batcher(confirming.campaign_id).submit(ConfirmationUpdate(confirming, decision))
    if issued is None:
        remembered.slot_released(
            campaign_id=confirming.campaign_id, user_id=confirming.user_id, code=confirming.code
        )
    return issued


def refused() -> PartnerFailed:
    """The error of a request whose partner refused: slot and code were released."""
    return PartnerFailed(mark("The partner refused this coupon; nothing was issued."))


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _batcher(campaign_id: int) -> Batcher[ConfirmationUpdate, Issued | None]:
    return Batcher(lambda updates: _write(campaign_id, updates), name="confirmations")


def _write(campaign_id: int, updates: Sequence[ConfirmationUpdate]) -> list[Issued | FirstcomeError | None]:
    """Apply these partner decisions in order: agreed ones become coupons, the others free their slots.

    One result per update: the first to settle a slot gets the new coupon, or None for a released one.
    """
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    keys = {update.confirming.key for update in updates}
    # Locked, because sweepers and repeated requests write to them.
    locked = Confirmation.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    confirmations = {row.key: row for row in locked}
    settled: dict[UUID, ConfirmationUpdate] = {}
    for update in updates:
        row = confirmations.get(update.confirming.key)
        if row is None or row.key in settled:
            continue
        if slots.settles(update.decision, is_cancelled=row.is_cancelled, attempts=row.attempts):
            settled[row.key] = update
    new = _settle(campaign, settled.values()) if settled else []
    gone = {update.confirming.user_id for update in updates if update.confirming.key not in confirmations}
    coupons = [*campaign.coupons.filter(account_id__in=gone), *new]
    coupon_of = {coupon.account_id: coupon for coupon in coupons}

    def result_of(update: ConfirmationUpdate) -> Issued | FirstcomeError | None:
        key = update.confirming.key
        coupon = coupon_of.get(update.confirming.user_id)
        if settled.get(key) is update:
            return Issued(coupon, is_new=True) if coupon else None
        if coupon:
            return outcomes.existing_coupon_result(coupon)
        if key in confirmations and key not in settled:
            return Unavailable(
                mark("It is not known yet whether the partner confirms the coupon; try again.")
            )
        return refused()

    return [result_of(update) for update in updates]


def _settle(campaign: Campaign, settled: Collection[ConfirmationUpdate]) -> list[Coupon]:
    """Replace the agreed ones by coupons at the campaign's next positions, and release the other slots."""
    agreed = [one for one in settled if one.decision is ConfirmationDecision.AGREED]
    released = [one for one in settled if one.decision is not ConfirmationDecision.AGREED]
    Confirmation.objects.filter(pk__in=[one.confirming.key for one in settled]).delete()
    rows.update_counters(campaign, issued=len(agreed), confirming=-len(settled))
    now = clock.now()
    coupons = [
        rows.new_coupon(campaign, one.confirming.user_id, one.confirming.code, position, now)
        for position, one in enumerate(agreed, start=slots.first_position(campaign.issued, len(agreed)))
    ]
    if coupons:
        allocating.write_coupons(coupons, by={one.confirming.user_id: one.by for one in agreed})
    if released:
        rows.mark_codes_available([one.confirming.code for one in released])
    for one in released:
        journal.note(
            what="coupon.not_confirmed",
            subject=f"coupon {one.confirming.code}",
            after={"campaign": campaign.pk, "account": one.confirming.user_id},
            detail=f"{one.confirming.partner}: {one.decision.value}",
            is_internal=True,
            by=one.by,
        )
    return coupons


def recover_due() -> int:
    """Recover the confirmations that are due. Returns how many slots became coupons or were released."""
    began = time.monotonic()
    settled = 0
    while time.monotonic() - began < PASS_SECONDS and (claimed := _claim_due()):
        settled += _recover(claimed)
    return settled


def oldest_age_seconds() -> float:
    """For how many seconds the oldest of them has waited."""
    # Keys are UUIDs of version 7, which sort by creation time.
    taken_at = Confirmation.objects.order_by("pk").values_list("taken_at", flat=True).first()
    return 0.0 if taken_at is None else clock.age_seconds(taken_at)


def _claim_due() -> list[Confirmation]:
    """Claim some confirmations, longest due first; no other process claims them for a while."""
    now = clock.now()

    def work() -> list[Confirmation]:
        is_due = backoff.is_due(most_seconds=LONGEST_PAUSE_SECONDS)
        due = Confirmation.objects.select_for_update(skip_locked=True).filter(is_due)
        claimed = list(due.order_by("next_attempt_at")[:CLAIMED_AT_ONCE])
        for row in claimed:
            row.attempts += 1
            row.next_attempt_at = backoff.retry_at(row.attempts, now, most_seconds=LONGEST_PAUSE_SECONDS)
        Confirmation.objects.bulk_update(claimed, ["attempts", "next_attempt_at"])
        return claimed

    claimed = transactions.run(work, transactions.REPEATABLE)
    prefetch_related_objects(claimed, "campaign")
    return claimed


def _recover(claimed: Sequence[Confirmation]) -> int:
    """Call the partner for each, mark those that are late and unknown to it, and record its other replies."""
    replies = thread_pool.call_at_once(_find_or_register, claimed, threads=PARTNER_THREADS)
    settled = 0
    waiting = set[int]()
    for row, reply in zip(claimed, replies, strict=True):
        if reply is PartnerReply.UNKNOWN:
            _mark_cancelled(row)
        elif isinstance(reply, PartnerReply) and row.campaign_id not in waiting:
            slot = outcomes.pending_confirmation(row)
            is_agreed = reply is PartnerReply.REGISTERED
            try:
                settled += confirm(slot).is_new if is_agreed else release_slot(slot) is None
            except DatabaseUnavailable:
                raise
            except Unavailable:
                # Something keeps the campaign's row locked: each of its slots would wait as long.
                waiting.add(row.campaign_id)
            except IntegrityError as error:
                # One slot that can't be written must not block the others.
                log.error("a constraint refused a coupon", code=slot.code, error=error)
            except (PartnerFailed, Rejected):
                # Another process has settled it.
                pass
    return settled


def _find_or_register(row: Confirmation) -> PartnerAnswer:
    """The state of its key at the partner, cancelling it if it is to be, or registering it if it is unknown.

    `UNKNOWN` if it is late to be registered.
    """
    name = row.campaign.partner
    with logs.bound(campaign=row.campaign_id, account=row.account_id):
        if row.is_cancelled:
            return call_partner(name, lambda partner: partner.cancel(row.key))
        reply = call_partner(name, lambda partner: partner.find(row.key))
        is_late = row.taken_at <= clock.now() - timedelta(seconds=settings.PARTNER_GIVE_UP_SECONDS)
        if reply is PartnerReply.UNKNOWN and not is_late:
            return call_partner(name, lambda partner: partner.register(row.key, row.code))
        return reply


def _mark_cancelled(row: Confirmation) -> None:
    """Mark it so that no request can confirm it any more, to be cancelled at the partner next."""
    columns = {"is_cancelled": True, "next_attempt_at": clock.now()}
    marked = Confirmation.objects.filter(pk=row.key)
    if transactions.run(lambda: marked.update(**columns), transactions.REPEATABLE):
        log.warning(
            "a partner didn't confirm a coupon in time",
            partner=row.campaign.partner,
            code=row.code,
            campaign=row.campaign_id,
            account=row.account_id,
        )


def is_unavailable(name: str) -> bool:
    """Whether the partner's circuit is open or it isn't configured, so that a call would fail."""
    return _breaker(name).is_open or named(name) is None


def reset() -> None:
    """Forget all failures of partners (tests)."""
    _breaker.cache_clear()
    _permits.cache_clear()


@lru_cache
def _breaker(name: str) -> CircuitBreaker:
    return CircuitBreaker(f"partner {name}", failures=FAILURES, seconds=SECONDS_AWAY)


@lru_cache
def _permits() -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(max(1, thread_pool.split_threads(settings.WEB_THREADS).calling // 2))
