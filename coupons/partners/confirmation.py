"""Records partners' replies: slots that are being confirmed become coupons, or are released.

Updates of a campaign that arrive while a transaction is open share the next one, so a hot campaign is
confirmed in batches. Every update may be repeated, by requests and sweepers at once: a confirmation is locked
before it is removed, and only one of them still finds it.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from uuid import UUID

from coupons import CAMPAIGNS_AT_ONCE, pool, reopening
from coupons.allocation import eligibility, writes
from coupons.allocation.writes import Issued, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon
from shop import clock
from shop.concurrency.group_commit import Batcher
from shop.errors import FirstcomeError, PartnerFailed, Unavailable
from shop.events import journal
from shop.events.journal import ActorContext
from shop.lazy_texts import mark as _


class ConfirmationDecision(Enum):
    """What is known of a slot's key: registered, never to be registered, or certainly not sent so far."""

    AGREED = "agreed"
    REFUSED = "refused"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class ConfirmationUpdate:
    """A decision on a slot, and its actor: created in the thread that called the partner."""

    confirming: PendingConfirmation
    decision: ConfirmationDecision
    by: ActorContext = field(default_factory=journal.current_actor)


@dataclass(frozen=True, slots=True)
class SlotReleased:
    """The slot and its code are available again."""


ConfirmationResult = Issued | SlotReleased | FirstcomeError


def confirm(confirming: PendingConfirmation) -> Issued:
    """Make the slot the account's coupon, because its partner has registered the key; durable on return.

    Raises `Unavailable` if the slot was cancelled meanwhile, and `PartnerFailed` if it was released.
    """
    outcome = _batcher(confirming.campaign_id).submit(
        ConfirmationUpdate(confirming, ConfirmationDecision.AGREED)
    )
    if isinstance(outcome, SlotReleased):
        raise refused()
    return outcome


def release_slot(confirming: PendingConfirmation, *, is_unsent: bool = False) -> Issued | None:
    """Release the slot and its code, because nothing is or will be registered under the key.

    With `is_unsent` only this caller's own call is known not to have been sent: if another may have called
    the partner, the slot is kept and `Unavailable` raised. Returns the coupon if another caller has confirmed
    the slot meanwhile. Raises `PartnerFailed` if the slot was released before.
    """
    decision = ConfirmationDecision.UNSENT if is_unsent else ConfirmationDecision.REFUSED
    outcome = _batcher(confirming.campaign_id).submit(ConfirmationUpdate(confirming, decision))
    if isinstance(outcome, Issued):
        return outcome
    reopening.slot_released(
        campaign_id=confirming.campaign_id, user_id=confirming.user_id, code=confirming.code
    )
    return None


def refused() -> PartnerFailed:
    """The error of a request whose partner refused: slot and code were released."""
    return PartnerFailed(_("The partner refused this coupon; nothing was issued."))


@lru_cache(maxsize=CAMPAIGNS_AT_ONCE)
def _batcher(campaign_id: int) -> Batcher[ConfirmationUpdate, Issued | SlotReleased]:
    return Batcher(lambda updates: _write(campaign_id, updates), name="confirmations")


def _write(campaign_id: int, updates: Sequence[ConfirmationUpdate]) -> list[ConfirmationResult]:
    """Apply these partner decisions in order: agreed ones become coupons, the others free their slots.

    One result per update.
    """
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    keys = {update.confirming.key for update in updates}
    # Locked, because sweepers and repeated requests write to them.
    rows = Confirmation.objects.select_for_update().filter(pk__in=keys).order_by("pk")
    confirmations = {row.key: row for row in rows}
    settled: dict[UUID, ConfirmationUpdate] = {}
    for update in updates:
        row = confirmations.get(update.confirming.key)
        if row and row.key not in settled and _is_sufficient(update.decision, row):
            settled[row.key] = update
    coupons = _write_coupons(
        campaign, [update for update in settled.values() if update.decision is ConfirmationDecision.AGREED]
    )
    _release_slots(
        campaign,
        [update for update in settled.values() if update.decision is not ConfirmationDecision.AGREED],
    )
    gone = {update.confirming.user_id for update in updates if update.confirming.key not in confirmations}
    found = eligibility.existing_coupons(campaign, gone) if gone else {}
    existing = {user_id: row for user_id, row in found.items() if isinstance(row, Coupon)}
    existing |= {coupon.account_id: coupon for coupon in coupons}
    unsettled = confirmations.keys() - settled.keys()
    is_first = {id(update) for update in settled.values()}
    return [
        _result_for(update, existing, is_first=id(update) in is_first, unsettled=unsettled)
        for update in updates
    ]


def _is_sufficient(decision: ConfirmationDecision, row: Confirmation) -> bool:
    """Whether the decision settles the row. A cancelled slot never becomes a coupon."""
    match decision:
        case ConfirmationDecision.AGREED:
            return not row.is_cancelled
        case ConfirmationDecision.UNSENT:
            return not row.is_cancelled and not row.attempts
    return True


def _write_coupons(campaign: Campaign, agreed: Sequence[ConfirmationUpdate]) -> list[Coupon]:
    """Coupons in place of these confirmations, at the campaign's next positions."""
    if not agreed:
        return []
    Confirmation.objects.filter(pk__in=[update.confirming.key for update in agreed]).delete()
    writes.update_counters(campaign, issued=len(agreed), confirming=-len(agreed))
    now = clock.now()
    coupons = [
        writes.new_coupon(campaign, update.confirming.user_id, update.confirming.code, position, now)
        for position, update in enumerate(agreed, start=campaign.issued - len(agreed) + 1)
    ]
    writes.write_coupons(coupons, by={update.confirming.user_id: update.by for update in agreed})
    return coupons


def _release_slots(campaign: Campaign, back: Sequence[ConfirmationUpdate]) -> None:
    """Release these slots and their codes."""
    if not back:
        return
    Confirmation.objects.filter(pk__in=[update.confirming.key for update in back]).delete()
    writes.update_counters(campaign, confirming=-len(back))
    pool.mark_available([update.confirming.code for update in back])
    for update in back:
        slot = update.confirming
        journal.note(
            what="coupon.not_confirmed",
            subject=f"coupon {slot.code}",
            after={"campaign": slot.campaign_id, "account": slot.user_id},
            detail=f"{slot.partner}: {update.decision.value}",
            is_internal=True,
            by=update.by,
        )


def _result_for(
    update: ConfirmationUpdate,
    existing: Mapping[int, Coupon],
    *,
    is_first: bool,
    unsettled: Collection[UUID],
) -> ConfirmationResult:
    """One caller's result: the first to settle a slot gets the new coupon, all others the existing one."""
    coupon = existing.get(update.confirming.user_id)
    if is_first:
        return Issued(coupon, is_new=True) if coupon else SlotReleased()
    if coupon:
        return eligibility.existing_coupon_result(coupon)
    if update.confirming.key in unsettled:
        return Unavailable(_("It is not known yet whether the partner confirms the coupon; try again."))
    return refused()
