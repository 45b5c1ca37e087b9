"""Recovers open confirmations: slots that no request waits for, and whose partner's reply is not known.

Their requests were abandoned, crashed, or got no reply. The partner is asked for the key's state and, if it
doesn't know the key, to register it, until that takes too long. Then the slot is cancelled in two steps, so
that no request can make a coupon of a key that the partner cancels: first `is_cancelled` is committed, then
the partner is called.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from django.db import IntegrityError
from structlog import get_logger

from coupons.allocation import writes
from coupons.allocation.writes import PendingConfirmation
from coupons.models import Campaign, Confirmation
from coupons.partners import call_limit, confirmation
from coupons.partners.contract import NoAnswer, NotReached, Partner, PartnerReply
from shop import clock
from shop.db import transactions
from shop.db.transactions import DatabaseUnavailable
from shop.errors import PartnerFailed, Rejected, Unavailable
from shop.observability import logs
from shop.outbound.backoff import pause_seconds

log = get_logger(__name__)
CLAIMED_AT_ONCE = 64
PARTNER_THREADS = 8
"""They never use the database."""
# A pass claims nothing more after so long: partners that are unavailable are called again in the next one.
PASS_SECONDS = 5.0
# Short, because a customer waits for the coupon.
LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DueConfirmation:
    """A slot to be recovered: whether it is cancelled already, and whether it is late enough to be."""

    slot: PendingConfirmation
    is_cancelled: bool
    is_late: bool


def recover_due() -> int:
    """Recover the confirmations that are due. Returns how many slots became coupons or were released."""
    began, settled = time.monotonic(), 0
    while time.monotonic() - began < PASS_SECONDS and (cases := _claim_due()):
        settled += _recover(cases)
    return settled


def count_pending() -> int:
    """The number of slots that are being confirmed."""
    return Confirmation.objects.count()


def oldest_age_seconds() -> float:
    """For how many seconds the oldest of them has waited."""
    # Keys are UUIDs of version 7, which sort by creation time.
    taken_at = Confirmation.objects.order_by("pk").values_list("taken_at", flat=True).first()
    return 0.0 if taken_at is None else (clock.now() - taken_at).total_seconds()


def _claim_due() -> list[DueConfirmation]:
    """Claim some confirmations, longest due first; no other process claims them for a while."""
    now = clock.now()

    def work() -> list[Confirmation]:
        due = Confirmation.objects.select_for_update(skip_locked=True).filter(next_attempt_at__lte=now)
        rows = list(due.order_by("next_attempt_at")[:CLAIMED_AT_ONCE])
        for row in rows:
            row.attempts += 1
            pause = min(pause_seconds(row.attempts), LONGEST_PAUSE_SECONDS)
            row.next_attempt_at = now + timedelta(seconds=pause)
        Confirmation.objects.bulk_update(rows, ["attempts", "next_attempt_at"])
        return rows

    rows = transactions.run(work, transactions.REPEATABLE)
    campaigns = Campaign.objects.in_bulk({row.campaign_id for row in rows})
    too_old = now - timedelta(seconds=settings.PARTNER_GIVE_UP_SECONDS)
    return [
        DueConfirmation(
            writes.pending_confirmation(row, campaigns[row.campaign_id]),
            is_cancelled=row.is_cancelled,
            is_late=row.taken_at <= too_old,
        )
        for row in rows
    ]


def _recover(cases: Sequence[DueConfirmation]) -> int:
    """Call the partner for each, cancel those that are late and unknown to it, and record the replies."""
    replies = list(
        zip(cases, call_limit.call_at_once(_find_or_register, cases, threads=PARTNER_THREADS), strict=True)
    )
    late = [
        case
        for case, reply in replies
        if reply is PartnerReply.UNKNOWN and case.is_late and _mark_cancelled(case)
    ]
    replies += zip(late, call_limit.call_at_once(_cancel, late, threads=PARTNER_THREADS), strict=True)
    return sum(
        _settle(case.slot, is_agreed=reply is PartnerReply.REGISTERED)
        for case, reply in replies
        if reply not in (None, PartnerReply.UNKNOWN)
    )


def _settle(slot: PendingConfirmation, *, is_agreed: bool) -> bool:
    """Make the slot a coupon, or release it; False if it can't be, or another process has settled it."""
    try:
        if is_agreed:
            return confirmation.confirm(slot).is_new
        return confirmation.release_slot(slot) is None
    except DatabaseUnavailable:
        raise
    except (PartnerFailed, Rejected, Unavailable):
        return False
    except IntegrityError as error:
        # One slot that can't be written must not block the others.
        log.error("a constraint refused a coupon", code=slot.code, error=str(error))
        return False


def _find_or_register(case: DueConfirmation) -> PartnerReply | None:
    """The state of its key at the partner, registering it if unknown; None without an answer."""
    if case.is_cancelled:
        return _cancel(case)
    reply = _call_partner(case, lambda partner: partner.find(case.slot.key))
    if reply is PartnerReply.UNKNOWN and not case.is_late:
        return _call_partner(case, lambda partner: partner.register(case.slot.key, case.slot.code))
    return reply


def _cancel(case: DueConfirmation) -> PartnerReply | None:
    return _call_partner(case, lambda partner: partner.cancel(case.slot.key))


def _call_partner(case: DueConfirmation, call: Callable[[Partner], PartnerReply]) -> PartnerReply | None:
    ids = {"campaign": case.slot.campaign_id, "account": case.slot.user_id}
    try:
        with logs.bound(**ids), call_limit.partner_call(case.slot.partner) as partner:
            return call(partner)
    except (NotReached, NoAnswer):
        return None


def _mark_cancelled(case: DueConfirmation) -> bool:
    """Mark it so that no request can confirm it any more; False if it has been settled."""
    rows = Confirmation.objects.filter(pk=case.slot.key)
    is_marked = bool(transactions.run(lambda: rows.update(is_cancelled=True), transactions.REPEATABLE))
    if is_marked:
        log.warning(
            "a partner didn't confirm a coupon in time",
            partner=case.slot.partner,
            code=case.slot.code,
            campaign=case.slot.campaign_id,
            account=case.slot.user_id,
        )
    return is_marked
