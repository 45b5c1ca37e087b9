"""Following up: the slots whose partner has said neither yes nor no to anybody who still waits for it.

Their callers left, died, or heard nothing. The partner is asked what became of the key; and if it hasn't
heard of it, to register it, until that takes too long. Then it is given up in two steps, so that no caller
can make a coupon of what the partner forgets: `is_cancelled` is committed, and the partner is told next.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta

from django.conf import settings
from structlog import get_logger

from coupons.allocation import writes
from coupons.allocation.writes import PendingConfirmation
from coupons.models import Campaign, Confirmation
from coupons.partners import confirmation, patience
from coupons.partners.confirmation import ConfirmationDecision, ConfirmationUpdate
from coupons.partners.contract import NoAnswer, NotReached, Partner, PartnerReply
from shop import clock
from shop.db import transactions
from shop.outbound.backoff import pause_seconds

log = get_logger(__name__)
CLAIMED_AT_ONCE = 64
PARTNER_THREADS = 8
# A pass begins nothing new after so long: partners that are away are asked again in the next one.
PASS_SECONDS = 5.0
# Somebody waits for a coupon that is all but theirs.
LONGEST_PAUSE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class DueConfirmation:
    """A slot to be followed up: whether it was given up, and whether it is time for that."""

    slot: PendingConfirmation
    is_cancelled: bool
    is_late: bool


def recover_due() -> int:
    """Settle what is due. Returns how many slots became coupons or went back."""
    began, settled = time.monotonic(), 0
    while time.monotonic() - began < PASS_SECONDS and (cases := _claim_due()):
        settled += _recover(cases)
    return settled


def count_pending() -> int:
    """How many slots are being confirmed."""
    return Confirmation.objects.count()


def oldest_age_seconds() -> float:
    """For how long the oldest of them has waited."""
    # Keys are UUIDs of version 7, in the order of their making.
    taken_at = Confirmation.objects.order_by("pk").values_list("taken_at", flat=True).first()
    return 0.0 if taken_at is None else (clock.now() - taken_at).total_seconds()


def _claim_due() -> list[DueConfirmation]:
    """Some that are due, the longest due first, which nobody else takes up for a while."""
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
    """Ask about all of these, give up those that nobody knows and that are late, and write what was said."""
    told = list(zip(cases, _run_in_threads(_find_or_register, cases), strict=True))
    late = [
        case for case, said in told if said is PartnerReply.UNKNOWN and case.is_late and _mark_cancelled(case)
    ]
    told += zip(late, _run_in_threads(_cancel, late), strict=True)
    heard = [
        ConfirmationUpdate(
            case.slot,
            ConfirmationDecision.AGREED if said is PartnerReply.REGISTERED else ConfirmationDecision.REFUSED,
        )
        for case, said in told
        if said not in (None, PartnerReply.UNKNOWN)
    ]
    return confirmation.record_updates(heard)


def _run_in_threads(
    ask: Callable[[DueConfirmation], PartnerReply | None], cases: Sequence[DueConfirmation]
) -> list[PartnerReply | None]:
    """Several at once, for partners are slow; these threads never touch the database."""
    with ThreadPoolExecutor(PARTNER_THREADS, thread_name_prefix="partner") as threads:
        return list(threads.map(ask, cases))


def _find_or_register(case: DueConfirmation) -> PartnerReply | None:
    """What has become of its key, or becomes of it now; None when the partner didn't say."""
    if case.is_cancelled:
        return _cancel(case)
    said = _call_partner(case, lambda partner: partner.find(case.slot.key))
    if said is PartnerReply.UNKNOWN and not case.is_late:
        return _call_partner(case, lambda partner: partner.register(case.slot.key, case.slot.code))
    return said


def _cancel(case: DueConfirmation) -> PartnerReply | None:
    return _call_partner(case, lambda partner: partner.cancel(case.slot.key))


def _call_partner(case: DueConfirmation, question: Callable[[Partner], PartnerReply]) -> PartnerReply | None:
    try:
        with patience.partner_call(case.slot.partner) as partner:
            return question(partner)
    except (NotReached, NoAnswer):
        return None


def _mark_cancelled(case: DueConfirmation) -> bool:
    """Have it confirmed by nobody any more; False when somebody has settled it."""
    there = Confirmation.objects.filter(pk=case.slot.key)
    is_there = bool(transactions.run(lambda: there.update(is_cancelled=True), transactions.REPEATABLE))
    if is_there:
        log.warning(
            "a partner didn't confirm a coupon in time", partner=case.slot.partner, code=case.slot.code
        )
    return is_there
