"""Making a coupon void: it is worth nothing from then on, and its slot is not given out again."""

from coupons.models import Coupon, PoolCode
from shop import clock
from shop.db import transactions
from shop.errors import NotFound, Rejected
from shop.events import journal


def void(*, code: str, reason: str) -> Coupon:
    """Make an issued coupon void, with the reason why; its owner can't have another.

    Durable when it returns the coupon. Raises `NotFound`, and `Rejected` `coupon_not_voidable` for one
    that is held, redeemed, expired or void already.
    """
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
    coupon = Coupon.objects.select_related("campaign").filter(code=code).first()
    if coupon is None:
        raise NotFound(f"There is no coupon {code}.")
    if not is_voided:
        status = coupon.status_at(clock.now())
        raise Rejected(
            f"Coupon {code} is {status}; only issued ones are made void.", code="coupon_not_voidable"
        )
    return coupon
