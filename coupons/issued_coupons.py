"""Issued coupons: reading one, and voiding one."""

from coupons.archive import both_tables
from coupons.models import Coupon, PoolCode
from shop import clock
from shop.accounts import own_account
from shop.db import transactions
from shop.errors import NotFound, Rejected
from shop.events import journal
from shop.lazy_texts import mark as _


def get(*, code: str, owner_id: int | None) -> Coupon:
    """One coupon of the owner, or any coupon without an owner, archived or not. Raises `NotFound`."""
    found = Coupon.objects.select_related("campaign").filter(code=code).first()
    coupon = found or both_tables.by_code([code]).get(code)
    if coupon is None or owner_id not in (None, coupon.account_id):
        raise NotFound(_("There is no coupon {code}.", code=code))
    return coupon


def void(*, code: str, reason: str) -> Coupon:
    """Void an issued coupon, for a reason; its owner can't get another of the campaign.

    Durable on return. Raises `NotFound`, `NotAllowed` `own_account`, and `Rejected` `coupon_not_voidable` for
    a coupon that is held, redeemed, expired or void already.
    """
    own_account.refuse_own(get(code=code, owner_id=None).account_id)
    voidable = Coupon.objects.filter(code=code, status=Coupon.Status.ISSUED, expires_at__gt=clock.now())

    def work() -> bool:
        is_voided = voidable.update(status=Coupon.Status.VOID, void_reason=reason) == 1
        if is_voided:
            PoolCode.objects.filter(code=code).update(status=PoolCode.Status.VOID)
            journal.note(
                what="coupon.void",
                subject=f"coupon {code}",
                before={"status": Coupon.Status.ISSUED},
                after={"status": Coupon.Status.VOID},
                detail=reason,
            )
        return is_voided

    is_voided = transactions.run(work, transactions.ONCE)
    coupon = get(code=code, owner_id=None)
    if not is_voided:
        status = coupon.status_at(clock.now())
        raise Rejected(
            _("Coupon {code} is {status}; only issued ones are made void.", code=code, status=status),
            code="coupon_not_voidable",
        )
    return coupon
