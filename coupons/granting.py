"""Granting: what each asker of a campaign is owed, decided and written while its row is locked.

Every strategy that locks the row ends here, with one asker or with a batch. Whatever their number, it is
five statements, seven for a campaign with a pool; two when nobody gets anything new.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import ceil

from django.utils import timezone

from coupons import codes, inserting, pool
from coupons.models import Campaign, Coupon
from shop import journal
from shop.errors import Rejected
from shop.journal import Who


@dataclass(frozen=True, slots=True)
class Asker:
    """An account that is to have its coupon, and who asks: made in their thread, not by a batch's leader."""

    user_id: int
    by: Who = field(default_factory=journal.who)


@dataclass(frozen=True, slots=True)
class Issued:
    """An account's coupon, with its campaign loaded; `is_new` when it was not the account's before.

    A new coupon's `pk` is unset, for not every database tells the ids of several rows: name it by its code.
    """

    coupon: Coupon
    is_new: bool


def grant(*, campaign_id: int, askers: Sequence[Asker]) -> list[Issued | Rejected]:
    """Decide for these askers in their order, and write it, inside the caller's transaction.

    One outcome for each, refusals as values. An account that asks twice gets one coupon. Positions go on
    from the campaign's last one without gaps. Safe to repeat after a rollback.
    """
    campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
    now = timezone.now()
    owned = _coupons_of(campaign, [asker.user_id for asker in askers])
    first_by = {asker.user_id: asker.by for asker in reversed(askers)}
    newcomers = [id for id in dict.fromkeys(asker.user_id for asker in askers) if id not in owned]
    fresh = _issue(campaign, newcomers[: campaign.remaining], now) if not refusal(campaign, now) else {}
    for coupon in fresh.values():
        note(coupon, by=first_by[coupon.account_id])
    return [_outcome(campaign, asker.user_id, owned, fresh, now) for asker in askers]


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


def new_coupon(campaign: Campaign, user_id: int, code: str, position: int | None, now: datetime) -> Coupon:
    """The coupon to be written for the account; the caller answers for code and position."""
    return Coupon(
        campaign=campaign,
        account_id=user_id,
        code=code,
        position=position,
        issued_at=now,
        expires_at=now + campaign.validity,
    )


def note(coupon: Coupon, *, by: Who) -> None:
    """Note a new coupon in the journal, which tells those outside."""
    journal.note(
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


def _coupons_of(campaign: Campaign, user_ids: Iterable[int]) -> dict[int, Coupon]:
    owned = {}
    for coupon in Coupon.objects.filter(campaign_id=campaign.pk, account_id__in=set(user_ids)):
        coupon.campaign = campaign
        owned[coupon.account_id] = coupon
    return owned


def _issue(campaign: Campaign, user_ids: Sequence[int], now: datetime) -> dict[int, Coupon]:
    """Write a coupon for each of these accounts, or for the first of them when codes run out."""
    has_pool = campaign.code_source == Campaign.CodeSource.POOL
    chosen = _codes_for(campaign, len(user_ids))
    coupons = [
        new_coupon(campaign, user_id, code, campaign.issued + place, now)
        for place, (user_id, code) in enumerate(zip(user_ids, chosen, strict=False), start=1)
    ]
    if not coupons:
        return {}
    campaign.issued += len(coupons)
    campaign.version += 1
    Campaign.objects.filter(pk=campaign.pk).update(issued=campaign.issued, version=campaign.version)
    inserting.insert(coupons)
    if has_pool:
        pool.mark_issued(chosen)
    return {coupon.account_id: coupon for coupon in coupons}


def _codes_for(campaign: Campaign, count: int) -> list[str]:
    if campaign.code_source == Campaign.CodeSource.POOL:
        return pool.lock_available(campaign_id=campaign.pk, count=count)
    return [codes.make() for _ in range(count)]


def _outcome(
    campaign: Campaign, user_id: int, owned: dict[int, Coupon], fresh: dict[int, Coupon], now: datetime
) -> Issued | Rejected:
    """One asker's; each gets an error of its own, for errors carry the traceback of who raised them."""
    new = fresh.pop(user_id, None)
    if new:
        owned[user_id] = new
        return Issued(new, is_new=True)
    if user_id in owned:
        return given_before(owned[user_id])
    return refusal(campaign, now) or sold_out(campaign)
