"""Slots of a campaign: counted on its row, and written as coupons, or as confirmations where a partner is
still to be asked.

These are the parts that a strategy's transaction is made of: none opens its own, each insists on being in
one. Count first and write then: the campaign's row is locked before rows that refer to it are inserted.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models.base import ModelState

from coupons import codes, inserting, pool
from coupons.models import Campaign, Confirmation, Coupon, QueueTicket
from shop.db import bulk_sql, transactions
from shop.events import journal
from shop.events.journal import ActorContext

# A confirmation belongs to the caller who asks the partner for this long; then the sweeper takes over.
CALLER_LEASE_SECONDS = 5
# Written here, for each batch writes one: the ORM takes longer to compile it than the database to run it.
UPDATE_COUNTERS = "UPDATE `coupons_campaign` SET issued = %s, confirming = %s, version = %s WHERE id = %s"
UPDATE_COUNTERS_IF_UNCHANGED = f"{UPDATE_COUNTERS} AND version = %s"
ISSUED = Coupon.Status.ISSUED.value


@dataclass(frozen=True, slots=True)
class IssueRequest:
    """An account that is to have its coupon, and who asks: made in their thread, not by a batch's leader."""

    user_id: int
    by: ActorContext = field(default_factory=journal.current_actor)


@dataclass(frozen=True, slots=True)
class Issued:
    """An account's coupon, with its campaign loaded; `is_new` when it was not the account's before.

    A new coupon's `pk` is unset, for not every database tells the ids of several rows: name it by its code.
    """

    coupon: Coupon
    is_new: bool


@dataclass(frozen=True, slots=True)
class PendingConfirmation:
    """A slot that is the account's once the partner agrees; `coupons.partners.confirming` asks it, by key.

    `is_new` to the one caller who took it: nobody has asked the partner before them.
    """

    key: UUID
    campaign_id: int
    user_id: int
    code: str
    partner: str
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Queued:
    """A place in the line of a campaign with the strategy `queue`, and how many wait before it.

    The ticket has its campaign loaded, and its coupon's once it is issued.
    """

    ticket: QueueTicket
    ahead: int


AssignedCodes = Mapping[int, str]
"""The codes that accounts are to get, by account, in the order of their positions."""


def assign_codes(campaign: Campaign, requests: Sequence[IssueRequest]) -> AssignedCodes:
    """A code for each of these accounts, or for the first of them when the pool runs out."""
    user_ids = [asker.user_id for asker in requests]
    if campaign.code_source == Campaign.CodeSource.POOL:
        return dict(
            zip(user_ids, pool.lock_available(campaign_id=campaign.pk, count=len(user_ids)), strict=False)
        )
    return dict(zip(user_ids, codes.make_several(len(user_ids)), strict=True))


def count_taken_slots(campaign: Campaign, number: int, *, if_unchanged: bool = False) -> None:
    """Count that many slots as given, or as being confirmed where a partner is asked; see `move`."""
    if campaign.partner:
        update_counters(campaign, confirming=number, if_unchanged=if_unchanged)
    else:
        update_counters(campaign, issued=number, if_unchanged=if_unchanged)


def update_counters(
    campaign: Campaign, *, issued: int = 0, confirming: int = 0, if_unchanged: bool = False
) -> None:
    """Add to the counters of slots, on the campaign's row and on this copy of it.

    The copy is of a locked row; or else say `if_unchanged`, which raises `transactions.ChangedMeanwhile`
    when the row isn't at the copy's version any more.
    """
    transactions.assert_inside()
    after = (campaign.issued + issued, campaign.confirming + confirming, campaign.version + 1)
    if if_unchanged:
        with connection.cursor() as cursor:
            cursor.execute(UPDATE_COUNTERS_IF_UNCHANGED, [*after, campaign.pk, campaign.version])
            is_moved = cursor.rowcount == 1
        if not is_moved:
            raise transactions.ChangedMeanwhile(f"campaign {campaign.pk} changed since it was read")
    else:
        bulk_sql.execute_deferred(UPDATE_COUNTERS, [*after, campaign.pk])
    campaign.issued, campaign.confirming, campaign.version = after


def write_slots(
    campaign: Campaign, chosen: AssignedCodes, *, by: Mapping[int, ActorContext], now: datetime
) -> dict[int, Issued | PendingConfirmation]:
    """Write what these accounts get, the last slots that were counted on this copy of the campaign."""
    transactions.assert_inside()
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


def _write_confirmations(
    campaign: Campaign, chosen: AssignedCodes, now: datetime
) -> dict[int, Issued | PendingConfirmation]:
    """Write a confirmation for each of these; whoever asked is the one to ask the partner."""
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
    return {one.account_id: pending_confirmation(one, campaign, is_new=True) for one in confirmations}


def new_coupon(campaign: Campaign, user_id: int, code: str, position: int | None, now: datetime) -> Coupon:
    """The coupon to be written for the account; the caller answers for code and position.

    It is made as unpickling makes one: the model's constructor takes five times as long as these lines.
    """
    coupon = Coupon.__new__(Coupon)
    coupon._state = ModelState()
    coupon._state.fields_cache["campaign"] = campaign
    coupon.__dict__.update(
        id=None,
        campaign_id=campaign.pk,
        account_id=user_id,
        code=code,
        position=position,
        status=ISSUED,
        order_id=None,
        issued_at=now,
        expires_at=now + campaign.validity,
        void_reason="",
    )
    return coupon


def write_coupons(coupons: Sequence[Coupon], *, by: Mapping[int, ActorContext]) -> None:
    """Write these new coupons of one campaign, with their codes' state and their lines in the journal."""
    inserting.insert(coupons)
    if coupons[0].campaign.code_source == Campaign.CodeSource.POOL:
        pool.mark_issued([coupon.code for coupon in coupons])
    note_issued([(coupon, by[coupon.account_id]) for coupon in coupons])


def note_issued(issued: Iterable[tuple[Coupon, ActorContext]]) -> None:
    """Note new coupons in the journal, each at whose hands it is; the journal tells those outside."""
    journal.note_all(
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
            is_outgoing=True,
            at=coupon.issued_at,
            by=by,
        )
        for coupon, by in issued
    )


def pending_confirmation(
    confirmation: Confirmation, campaign: Campaign, *, is_new: bool = False
) -> PendingConfirmation:
    """What the partner of the campaign is asked about that slot."""
    return PendingConfirmation(
        key=confirmation.key,
        campaign_id=campaign.pk,
        user_id=confirmation.account_id,
        code=confirmation.code,
        partner=campaign.partner,
        is_new=is_new,
    )
