"""Granting: what each asker of a campaign is owed, decided and written while its row is locked.

Every strategy that locks the row ends here, with one asker or with a batch. Whatever their number, it is
four statements, six for a campaign with a pool; one when nobody gets anything new. A partner costs one
more, to see whose slots are being confirmed.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil

from coupons.allocation import locking, writes
from coupons.allocation.writes import AssignedCodes, Issued, IssueRequest, PendingConfirmation
from coupons.models import Campaign, Confirmation, Coupon
from shop import clock
from shop.accounts import accounts
from shop.db.stuck_rows import Row
from shop.errors import FirstcomeError, Rejected, Unavailable

AllocationResult = Issued | PendingConfirmation | FirstcomeError
CodeAssigner = Callable[[Campaign, Sequence[IssueRequest]], AssignedCodes]


def lock_and_allocate(
    *, campaign_id: int, requests: Sequence[IssueRequest], choose: CodeAssigner = writes.assign_codes
) -> list[AllocationResult]:
    """Decide for these askers in their order, and write it, inside the caller's transaction.

    One outcome for each, refusals as values. An account that asks twice gets one coupon. Positions go on
    from the campaign's last one without gaps. `choose` says which codes the newcomers get; those it leaves
    out find the campaign sold out. Safe to repeat after a rollback.
    """
    campaign, coupons = locking.lock(campaign_id, {asker.user_id for asker in requests})
    return allocate(campaign, requests, choose=choose, coupons=coupons)


def locked_rows(campaign_id: int, request: IssueRequest) -> list[Row]:
    """The rows that issuing locks, which others may keep locked."""
    return [Row(Campaign, campaign_id), accounts.referenced_row(request.user_id)]


def allocate(
    campaign: Campaign,
    requests: Sequence[IssueRequest],
    *,
    choose: CodeAssigner = writes.assign_codes,
    coupons: Mapping[int, Coupon] | None = None,
    if_unchanged: bool = False,
) -> list[AllocationResult]:
    """The same with the campaign as it was read: locked, or else only `if_unchanged`.

    `coupons` are what the askers had when the campaign was read, if they were read with it.

    Raises `transactions.ChangedMeanwhile` when it was not locked, has changed, and somebody would get
    something new; a refusal was true when the campaign was read.
    """
    now = clock.now()
    had = existing_coupons(campaign, {asker.user_id for asker in requests}, coupons=coupons)
    first_of = {asker.user_id: asker for asker in reversed(requests)}
    newcomers = [
        first_of[user_id]
        for user_id in dict.fromkeys(asker.user_id for asker in requests)
        if user_id not in had
    ]
    fresh: dict[int, Issued | PendingConfirmation] = {}
    if newcomers and not refusal(campaign, now):
        chosen = choose(campaign, newcomers[: campaign.remaining])
        if chosen:
            writes.count_taken_slots(campaign, len(chosen), if_unchanged=if_unchanged)
        fresh = writes.write_slots(campaign, chosen, by={id: one.by for id, one in first_of.items()}, now=now)
    return [_result_for(campaign, asker.user_id, had, fresh, now) for asker in requests]


def unwrap(outcome: AllocationResult) -> Issued | PendingConfirmation:
    """The outcome, or the refusal that it is, raised."""
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def answer_without_lock(*, campaign_id: int, user_id: int) -> Issued | PendingConfirmation | None:
    """What the account has of the campaign; None when it is to get something, which needs a lock.

    Raises what `refusal` says, and what the account is owed when that is a refusal.
    """
    campaign = Campaign.objects.get(pk=campaign_id)
    had = existing_coupons(campaign, [user_id]).get(user_id)
    answer = existing_result_or_refusal(campaign, had, clock.now())
    return unwrap(answer) if answer else None


def existing_result_or_refusal(
    campaign: Campaign, had: Coupon | Confirmation | None, now: datetime
) -> AllocationResult | None:
    """What an account is owed that has this, or why it gets nothing; None when it may get something new."""
    return existing_result(campaign, had) if had else refusal(campaign, now)


def existing_coupons(
    campaign: Campaign, user_ids: Collection[int], *, coupons: Mapping[int, Coupon] | None = None
) -> dict[int, Coupon | Confirmation]:
    """The coupons of these accounts, or the slots that are being confirmed for them, by account.

    Slots are read first: one that becomes a coupon between the two looks is seen at least once. `coupons`
    were read with the campaign, and its lock: while that lasts no slot becomes a coupon.
    """
    had: dict[int, Coupon | Confirmation] = {}
    if campaign.partner:
        for confirmation in campaign.confirmations.filter(account_id__in=user_ids):
            had[confirmation.account_id] = confirmation
    had.update(_coupons_by_account(campaign, user_ids) if coupons is None else coupons)
    return had


def _coupons_by_account(campaign: Campaign, user_ids: Collection[int]) -> dict[int, Coupon]:
    coupons = list(Coupon.objects.filter(campaign_id=campaign.pk, account_id__in=user_ids))
    for coupon in coupons:
        coupon.campaign = campaign
    return {coupon.account_id: coupon for coupon in coupons}


def existing_result(campaign: Campaign, had: Coupon | Confirmation) -> AllocationResult:
    """What an account is owed that has this of the campaign."""
    if isinstance(had, Coupon):
        return existing_coupon_result(had)
    if had.is_cancelled:
        return Unavailable("The partner didn't agree in time, and is being told so; ask again.")
    return writes.pending_confirmation(had, campaign)


def refusal(campaign: Campaign, now: datetime) -> Rejected | None:
    """Why the campaign gives nothing new at that instant, if so."""
    match campaign.status_at(now):
        case Campaign.Status.SCHEDULED:
            return Rejected(
                f"{campaign.name} opens at {campaign.opens_at.isoformat()}.",
                code="campaign_not_open",
                retry_after=ceil((campaign.opens_at - now).total_seconds()),
            )
        case Campaign.Status.CLOSED:
            return Rejected(f"{campaign.name} is closed.", code="campaign_closed")
        case Campaign.Status.SOLD_OUT:
            return sold_out(campaign)
    return None


def sold_out(campaign: Campaign) -> Rejected:
    """Nothing is left: every slot is given, or the pool has no code."""
    return Rejected(f"{campaign.name} is sold out.", code="sold_out")


def existing_coupon_result(coupon: Coupon) -> Issued | Rejected:
    """What an account is owed that has its coupon."""
    if coupon.status == Coupon.Status.VOID:
        return Rejected("This account's coupon of the campaign was made void.", code="coupon_void")
    return Issued(coupon, is_new=False)


def _result_for(
    campaign: Campaign,
    user_id: int,
    had: dict[int, Coupon | Confirmation],
    fresh: dict[int, Issued | PendingConfirmation],
    now: datetime,
) -> AllocationResult:
    """One asker's; each gets an error of its own, for errors carry the traceback of who raised them."""
    new = fresh.get(user_id)
    if new is None and user_id not in had:
        return refusal(campaign, now) or sold_out(campaign)
    if isinstance(new, Issued):
        # Whoever asks once more in the same batch has had it before.
        had[user_id] = new.coupon
        del fresh[user_id]
    elif isinstance(new, PendingConfirmation):
        fresh[user_id] = replace(new, is_new=False)
    return new or existing_result(campaign, had[user_id])
