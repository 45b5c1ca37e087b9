"""What a partner said of slots that are being confirmed, written: they become coupons, or go back.

Whoever hears something of a campaign while a transaction is open shares the next one, so a hot campaign
confirms in batches. All of it may be repeated, by callers and sweepers at once: a confirmation is locked
when it is written, and only one of them still finds it there.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from uuid import UUID

from django.db import IntegrityError
from structlog import get_logger

from coupons import pool, reopening
from coupons.allocation import eligibility, writes
from coupons.allocation.writes import Issued, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.db import transactions
from shop.errors import FirstcomeError, PartnerFailed, Unavailable
from shop.events import journal
from shop.events.journal import ActorContext

log = get_logger(__name__)
BATCHERS = 1_024


class ConfirmationDecision(Enum):
    """What is known of a slot's key: registered, never to be registered, or surely not sent so far."""

    AGREED = "agreed"
    REFUSED = "refused"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class ConfirmationUpdate:
    """The verdict on a slot, and at whose hands it was heard: made in their thread."""

    confirming: PendingConfirmation
    verdict: ConfirmationDecision
    by: ActorContext = field(default_factory=journal.current_actor)


@dataclass(frozen=True, slots=True)
class SlotReleased:
    """The slot and its code are there for others again."""


ConfirmationResult = Issued | SlotReleased | FirstcomeError


def confirm(confirming: PendingConfirmation) -> Issued:
    """Make the slot the account's coupon, for its partner has registered the key; durable on return.

    Raises `Unavailable` when the slot was given up meanwhile, and `PartnerFailed` when it is gone.
    """
    outcome = _batcher(confirming.campaign_id).submit(
        ConfirmationUpdate(confirming, ConfirmationDecision.AGREED)
    )
    if isinstance(outcome, SlotReleased):
        raise refused()
    return outcome


def release_slot(confirming: PendingConfirmation, *, is_unsent: bool = False) -> Issued | None:
    """Give back the slot and its code, for nothing is registered under the key, nor will be.

    With `is_unsent` that is known only of the caller's own call; then it is kept, and `Unavailable` raised,
    when somebody else may have asked. Returns the coupon that somebody else has confirmed meanwhile. Raises
    `PartnerFailed` when it was given back before.
    """
    verdict = ConfirmationDecision.UNSENT if is_unsent else ConfirmationDecision.REFUSED
    outcome = _batcher(confirming.campaign_id).submit(ConfirmationUpdate(confirming, verdict))
    if isinstance(outcome, Issued):
        return outcome
    reopening.slot_released(
        campaign_id=confirming.campaign_id, user_id=confirming.user_id, code=confirming.code
    )
    return None


def record_updates(heard: Sequence[ConfirmationUpdate]) -> int:
    """Write what was heard of several slots at once. Returns how many became coupons, or went back.

    Those that somebody else has settled don't count.
    """
    by_campaign: dict[int, list[ConfirmationUpdate]] = {}
    for one in heard:
        by_campaign.setdefault(one.confirming.campaign_id, []).append(one)
    return sum(_record_updates(campaign_id, some) for campaign_id, some in by_campaign.items())


def _record_updates(campaign_id: int, heard: Sequence[ConfirmationUpdate]) -> int:
    try:
        outcomes = transactions.run(lambda: _write(campaign_id, heard), transactions.KEYED)
    except IntegrityError as error:
        # One that can't be written must not keep the others.
        if len(heard) > 1:
            return sum(_record_updates(campaign_id, [one]) for one in heard)
        log.error("a constraint refused a coupon", code=heard[0].confirming.code, error=str(error))
        return 0
    for one, outcome in zip(heard, outcomes, strict=True):
        if isinstance(outcome, SlotReleased):
            slot = one.confirming
            reopening.slot_released(campaign_id=campaign_id, user_id=slot.user_id, code=slot.code)
    return sum(
        isinstance(outcome, SlotReleased) or (isinstance(outcome, Issued) and outcome.is_new)
        for outcome in outcomes
    )


def refused() -> PartnerFailed:
    """The partner didn't agree: the slot and the code went back."""
    return PartnerFailed("The partner refused this coupon; nothing was issued.")


@lru_cache(maxsize=BATCHERS)
def _batcher(campaign_id: int) -> Batcher[ConfirmationUpdate, Issued | SlotReleased]:
    return Batcher(lambda heard: _write(campaign_id, heard))


def _write(campaign_id: int, heard: Sequence[ConfirmationUpdate]) -> list[ConfirmationResult]:
    """Write what was heard of a campaign's slots, in this order, inside the batcher's transaction."""
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    awaited = _lock_confirmations({one.confirming.key for one in heard})
    settled: dict[UUID, ConfirmationUpdate] = {}
    for one in heard:
        row = awaited.get(one.confirming.key)
        if row and row.key not in settled and _is_sufficient(one.verdict, row):
            settled[row.key] = one
    coupons = _write_coupons(
        campaign, [one for one in settled.values() if one.verdict is ConfirmationDecision.AGREED]
    )
    _release_slots(
        campaign, [one for one in settled.values() if one.verdict is not ConfirmationDecision.AGREED]
    )
    gone = {one.confirming.user_id for one in heard if one.confirming.key not in awaited}
    had = _existing_coupons(campaign, gone) | {coupon.account_id: coupon for coupon in coupons}
    unsettled = awaited.keys() - settled.keys()
    is_first = {id(one) for one in settled.values()}
    return [_result_for(one, had, is_first=id(one) in is_first, unsettled=unsettled) for one in heard]


def _lock_confirmations(keys: Collection[UUID]) -> dict[UUID, Confirmation]:
    """Those that are still there. They are locked, for sweepers and callers who ask again write to them."""
    rows = Confirmation.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    return {row.key: row for row in rows}


def _is_sufficient(verdict: ConfirmationDecision, row: Confirmation) -> bool:
    """Whether the verdict is enough. What is cancelled never becomes a coupon: its partner is told so."""
    match verdict:
        case ConfirmationDecision.AGREED:
            return not row.is_cancelled
        case ConfirmationDecision.UNSENT:
            return not row.is_cancelled and not row.attempts
    return True


def _write_coupons(campaign: Campaign, agreed: Sequence[ConfirmationUpdate]) -> list[Coupon]:
    """Coupons in place of these confirmations, at the campaign's next positions."""
    if not agreed:
        return []
    Confirmation.objects.filter(pk__in=[one.confirming.key for one in agreed]).delete()
    writes.update_counters(campaign, issued=len(agreed), confirming=-len(agreed))
    now = clock.now()
    coupons = [
        writes.new_coupon(campaign, one.confirming.user_id, one.confirming.code, position, now)
        for position, one in enumerate(agreed, start=campaign.issued - len(agreed) + 1)
    ]
    writes.write_coupons(coupons, by={one.confirming.user_id: one.by for one in agreed})
    return coupons


def _release_slots(campaign: Campaign, back: Sequence[ConfirmationUpdate]) -> None:
    """These slots and their codes are nobody's again."""
    if not back:
        return
    Confirmation.objects.filter(pk__in=[one.confirming.key for one in back]).delete()
    writes.update_counters(campaign, confirming=-len(back))
    pool.mark_available([one.confirming.code for one in back])
    for one in back:
        slot = one.confirming
        journal.note(
            what="coupon.not_confirmed",
            subject=f"coupon {slot.code}",
            after={"campaign": slot.campaign_id, "account": slot.user_id},
            detail=f"{slot.partner}: {one.verdict.value}",
            is_internal=True,
            by=one.by,
        )


def _existing_coupons(campaign: Campaign, user_ids: Collection[int]) -> dict[int, Coupon]:
    """What these accounts have, whose confirmations somebody else has settled."""
    had = eligibility.existing_coupons(campaign, user_ids) if user_ids else {}
    return {user_id: row for user_id, row in had.items() if isinstance(row, Coupon)}


def _result_for(
    heard: ConfirmationUpdate, had: Mapping[int, Coupon], *, is_first: bool, unsettled: Collection[UUID]
) -> ConfirmationResult:
    """One caller's: the first to settle a slot gets what is new, whoever else heard of it what there is."""
    coupon = had.get(heard.confirming.user_id)
    if is_first:
        return Issued(coupon, is_new=True) if coupon else SlotReleased()
    if coupon:
        return eligibility.existing_coupon_result(coupon)
    if heard.confirming.key in unsettled:
        return Unavailable("Whether the partner agrees is not known yet; ask again.")
    return refused()
