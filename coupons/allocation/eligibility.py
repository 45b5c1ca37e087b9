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
from coupons.allocation.writes import Asker, Chosen, Confirming, Issued
from coupons.models import Campaign, Confirmation, Coupon
from shop import clock
from shop.accounts import accounts
from shop.db.stuck_rows import Row
from shop.errors import FirstcomeError, Rejected, Unavailable

Outcome = Issued | Confirming | FirstcomeError
Choose = Callable[[Campaign, Sequence[Asker]], Chosen]


def grant(
    *, campaign_id: int, askers: Sequence[Asker], choose: Choose = writes.choose_codes
) -> list[Outcome]:
    """Decide for these askers in their order, and write it, inside the caller's transaction.

    One outcome for each, refusals as values. An account that asks twice gets one coupon. Positions go on
    from the campaign's last one without gaps. `choose` says which codes the newcomers get; those it leaves
    out find the campaign sold out. Safe to repeat after a rollback.
    """
    campaign, coupons = locking.lock(campaign_id, {asker.user_id for asker in askers})
    return decide(campaign, askers, choose=choose, coupons=coupons)


def locked_rows(campaign_id: int, asker: Asker) -> list[Row]:
    """The rows that issuing locks, which others may keep locked."""
    return [Row(Campaign, campaign_id), accounts.referenced_row(asker.user_id)]


def decide(
    campaign: Campaign,
    askers: Sequence[Asker],
    *,
    choose: Choose = writes.choose_codes,
    coupons: Mapping[int, Coupon] | None = None,
    if_unchanged: bool = False,
) -> list[Outcome]:
    """The same with the campaign as it was read: locked, or else only `if_unchanged`.

    `coupons` are what the askers had when the campaign was read, if they were read with it.

    Raises `transactions.ChangedMeanwhile` when it was not locked, has changed, and somebody would get
    something new; a refusal was true when the campaign was read.
    """
    now = clock.now()
    had = had_before(campaign, {asker.user_id for asker in askers}, coupons=coupons)
    first_of = {asker.user_id: asker for asker in reversed(askers)}
    newcomers = [
        first_of[user_id]
        for user_id in dict.fromkeys(asker.user_id for asker in askers)
        if user_id not in had
    ]
    fresh: dict[int, Issued | Confirming] = {}
    if newcomers and not refusal(campaign, now):
        chosen = choose(campaign, newcomers[: campaign.remaining])
        if chosen:
            writes.count(campaign, len(chosen), if_unchanged=if_unchanged)
        fresh = writes.fill(campaign, chosen, by={id: one.by for id, one in first_of.items()}, now=now)
    return [_outcome(campaign, asker.user_id, had, fresh, now) for asker in askers]


def told(outcome: Outcome) -> Issued | Confirming:
    """The outcome, or the refusal that it is, raised."""
    if isinstance(outcome, FirstcomeError):
        raise outcome
    return outcome


def answer_without_lock(*, campaign_id: int, user_id: int) -> Issued | Confirming | None:
    """What the account has of the campaign; None when it is to get something, which needs a lock.

    Raises what `refusal` says, and what the account is owed when that is a refusal.
    """
    campaign = Campaign.objects.get(pk=campaign_id)
    had = had_before(campaign, [user_id]).get(user_id)
    answer = owed_or_refused(campaign, had, clock.now())
    return told(answer) if answer else None


def owed_or_refused(campaign: Campaign, had: Coupon | Confirmation | None, now: datetime) -> Outcome | None:
    """What an account is owed that has this, or why it gets nothing; None when it may get something new."""
    return owed(campaign, had) if had else refusal(campaign, now)


def had_before(
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
    had.update(_coupons(campaign, user_ids) if coupons is None else coupons)
    return had


def _coupons(campaign: Campaign, user_ids: Collection[int]) -> dict[int, Coupon]:
    coupons = list(Coupon.objects.filter(campaign_id=campaign.pk, account_id__in=user_ids))
    for coupon in coupons:
        coupon.campaign = campaign
    return {coupon.account_id: coupon for coupon in coupons}


def owed(campaign: Campaign, had: Coupon | Confirmation) -> Outcome:
    """What an account is owed that has this of the campaign."""
    if isinstance(had, Coupon):
        return given_before(had)
    if had.is_cancelled:
        return Unavailable("The partner didn't agree in time, and is being told so; ask again.")
    return writes.being_confirmed(had, campaign)


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


def given_before(coupon: Coupon) -> Issued | Rejected:
    """What an account is owed that has its coupon."""
    if coupon.status == Coupon.Status.VOID:
        return Rejected("This account's coupon of the campaign was made void.", code="coupon_void")
    return Issued(coupon, is_new=False)


def _outcome(
    campaign: Campaign,
    user_id: int,
    had: dict[int, Coupon | Confirmation],
    fresh: dict[int, Issued | Confirming],
    now: datetime,
) -> Outcome:
    """One asker's; each gets an error of its own, for errors carry the traceback of who raised them."""
    new = fresh.get(user_id)
    if new is None and user_id not in had:
        return refusal(campaign, now) or sold_out(campaign)
    if isinstance(new, Issued):
        # Whoever asks once more in the same batch has had it before.
        had[user_id] = new.coupon
        del fresh[user_id]
    elif isinstance(new, Confirming):
        fresh[user_id] = replace(new, is_new=False)
    return new or owed(campaign, had[user_id])
