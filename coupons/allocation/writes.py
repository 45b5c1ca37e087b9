"""Counts slots on a campaign's row, and writes them as coupons, or as confirmations where a partner confirms.

Parts of a strategy's transaction: count first, for rows that refer to the campaign's need its lock.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from coupons.codes import codes, pool
from coupons.metrics import counters
from coupons.models import Campaign, Confirmation, Coupon, QueueTicket
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.journal import journal
from foundation.journal.journal import ActorContext

# For this long the request that took the slot calls the partner; after that the sweeper takes over.
CALLER_LEASE_SECONDS = 5
# Plain SQL, because every batch runs it and the ORM takes longer to compile it than the database to run it.
UPDATE_COUNTERS = "UPDATE `coupons_campaign` SET issued = %s, confirming = %s, version = %s WHERE id = %s"
UPDATE_COUNTERS_IF_UNCHANGED = f"{UPDATE_COUNTERS} AND version = %s"
ISSUED = Coupon.Status.ISSUED.value


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """A request for an account's coupon, and its actor: created in the request's thread, not the leader's.

    `written` has the codes that attempts at it wrote, by which a retry knows its coupon after a lost COMMIT
    reply. Its strategy may have claimed a `code` of the pool, or drawn a `ticket` of the gate for it.
    """

    user_id: int
    by: ActorContext = field(default_factory=journal.current_actor)
    written: list[str] = field(default_factory=list, compare=False)
    code: str = ""
    ticket: str = ""


class Issued(NamedTuple):
    """An account's coupon, with its campaign loaded; `is_new` if this request made it: `pk` is unset then."""

    coupon: Coupon
    is_new: bool


class PendingConfirmation(NamedTuple):
    """A slot that becomes the account's coupon once the partner confirms it, under `key`.

    `is_new` for the request that took the slot: none has called the partner before it.
    """

    key: UUID
    campaign_id: int
    user_id: int
    code: str
    partner: str
    is_new: bool = False


Slot = Issued | PendingConfirmation
"""What an account has of a campaign: its coupon, or what its partner is to confirm."""


class Queued(NamedTuple):
    """A ticket, with its campaign and coupon loaded, and the number of waiting tickets ahead of it."""

    ticket: QueueTicket
    ahead: int


AssignedCodes = Mapping[int, str]
"""The codes assigned to accounts, by account, in the order of their positions."""


def assign_codes(
    campaign: Campaign, requests: Sequence[IssueRequest], *, if_unchanged: bool = False
) -> AssignedCodes:
    """Assign a code to each of these requests, or to the first of them when the pool runs out.

    One that claimed a code gets it if it is available, and else one that the pool has left, as the others do.
    The campaign's row must be locked, unless `if_unchanged` is given: see `update_counters`.
    """
    if campaign.code_source != Campaign.CodeSource.POOL:
        made = codes.make_several(len(requests))
        return {request.user_id: code for request, code in zip(requests, made, strict=True)}
    if if_unchanged:
        # Codes locked while this request waits for the row would be skipped by the request that holds it,
        # which could find the pool empty although it isn't.
        unchanged = Campaign.objects.filter(pk=campaign.pk, version=campaign.version)
        if not unchanged.select_for_update().values_list("pk", flat=True):
            raise transactions.ChangedMeanwhile(f"campaign {campaign.pk} changed since it was read")
    free = pool.lock_codes(campaign_id=campaign.pk, codes={one.code for one in requests if one.code})
    missing = len(requests) - len(free)
    # Without the locked ones, which would be assigned twice.
    others = iter(pool.lock_available(campaign_id=campaign.pk, count=missing, but=free) if missing else ())
    chosen: dict[int, str] = {}
    for request in requests:
        code = request.code if request.code in free else next(others, None)
        if code is not None:
            free.discard(code)
            chosen[request.user_id] = code
    return chosen


def count_taken_slots(campaign: Campaign, number: int, *, if_unchanged: bool = False) -> None:
    """Count so many slots as issued, or as confirming if there is a partner; see `update_counters`."""
    issued, confirming = (0, number) if campaign.partner else (number, 0)
    update_counters(campaign, issued=issued, confirming=confirming, if_unchanged=if_unchanged)


def update_counters(
    campaign: Campaign, *, issued: int = 0, confirming: int = 0, if_unchanged: bool = False
) -> None:
    """Add to the counters, on the campaign's row and on this copy of it.

    The row must be locked, unless `if_unchanged` is given: that raises `transactions.ChangedMeanwhile` when
    the row no longer has the copy's version.
    """
    open_transaction.assert_inside()
    after = (campaign.issued + issued, campaign.confirming + confirming, campaign.version + 1)
    if if_unchanged:
        if not bulk_sql.execute(UPDATE_COUNTERS_IF_UNCHANGED, [*after, campaign.pk, campaign.version]):
            raise transactions.ChangedMeanwhile(f"campaign {campaign.pk} changed since it was read")
    else:
        bulk_sql.execute_deferred(UPDATE_COUNTERS, [*after, campaign.pk])
    campaign.issued, campaign.confirming, campaign.version = after


def write_slots(
    campaign: Campaign, chosen: AssignedCodes, *, by: Mapping[int, ActorContext], now: datetime
) -> dict[int, Slot]:
    """Write coupons or confirmations for these accounts: the last slots counted on this campaign object."""
    open_transaction.assert_inside()
    if not chosen:
        return {}
    if campaign.partner:
        return _write_confirmations(campaign, chosen, now)
    first = campaign.issued - len(chosen) + 1
    coupons = [
        new_coupon(campaign, user_id, code, position, now)
        for position, (user_id, code) in enumerate(chosen.items(), start=first)
    ]
    write_coupons(coupons, by=by)
    return {coupon.account_id: Issued(coupon, is_new=True) for coupon in coupons}


def _write_confirmations(campaign: Campaign, chosen: AssignedCodes, now: datetime) -> dict[int, Slot]:
    """Write a confirmation for each of these accounts; the request that took the slot calls the partner."""
    confirmations = [
        Confirmation(
            campaign=campaign,
            account_id=user_id,
            code=code,
            taken_at=now,
            next_attempt_at=now + timedelta(seconds=CALLER_LEASE_SECONDS),
        )
        for user_id, code in chosen.items()
    ]
    Confirmation.objects.bulk_create(confirmations)
    if campaign.code_source == Campaign.CodeSource.POOL:
        pool.mark_in_flight([one.code for one in confirmations])
    return {one.account_id: pending_confirmation(one, is_new=True) for one in confirmations}


def new_coupon(campaign: Campaign, user_id: int, code: str, position: int | None, now: datetime) -> Coupon:
    """A new, unsaved coupon of the account; the caller guarantees that code and position are free."""
    columns = {
        "id": None,
        "campaign_id": campaign.pk,
        "account_id": user_id,
        "code": code,
        "position": position,
        "status": ISSUED,
        "order_id": None,
        "issued_at": now,
        "expires_at": now + timedelta(days=campaign.coupon_valid_for_days),
        "void_reason": "",
    }
    return bulk_sql.new_object(Coupon, columns, campaign=campaign)


def write_coupons(coupons: Sequence[Coupon], *, by: Mapping[int, ActorContext]) -> None:
    """Write these new coupons of one campaign, the status of their pool codes, and their journal lines."""
    insert_coupons(coupons)
    if coupons[0].campaign.code_source == Campaign.CodeSource.POOL:
        pool.mark_issued([coupon.code for coupon in coupons])
    note_issued([(coupon, by[coupon.account_id]) for coupon in coupons])


def insert_coupons(coupons: Sequence[Coupon]) -> None:
    """Write the rows of these new coupons, by one statement, and nothing else: see `write_coupons`."""
    # The ORM's bulk insert prepares every value again, which costs more than the rest of a batch.
    bulk_sql.insert_objects(coupons)


def note_issued(issued: Sequence[tuple[Coupon, ActorContext]]) -> None:
    """Record new coupons in the journal, each under its actor; which are events."""
    lines = [
        journal.build_line(
            what="coupon.issued",
            subject=f"coupon {coupon.code}",
            after={
                "coupon": coupon.code,
                "campaign": coupon.campaign_id,
                "account": coupon.account_id,
                "position": coupon.position,
                "status": coupon.status,
            },
            at=coupon.issued_at,
            by=by,
        )
        for coupon, by in issued
    ]
    journal.note_all(lines)
    new = [(coupon.campaign_id, counters.ISSUED) for coupon, _ in issued]
    open_transaction.count_after_commit(counters.count_outcomes, new)


def pending_confirmation(confirmation: Confirmation, *, is_new: bool = False) -> PendingConfirmation:
    """The slot of this confirmation, as its campaign's partner is to be called about it."""
    return PendingConfirmation(
        key=confirmation.key,
        campaign_id=confirmation.campaign_id,
        user_id=confirmation.account_id,
        code=confirmation.code,
        partner=confirmation.campaign.partner,
        is_new=is_new,
    )
