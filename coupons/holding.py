"""Which order holds a coupon: held by an open order, then redeemed by it or released; reinstated by a refund.

These functions are the parts of an order's transaction: each must be called inside one, none opens its own.
`coupons.rows` has the order of the locks. Each change is a line of the journal, written with COMMIT.
"""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from uuid import UUID

from coupons import redemption, rows
from coupons.metrics import counters
from coupons.models import Coupon
from foundation import journal
from foundation.db import open_transaction
from foundation.db.stuck_rows import Row
from foundation.journal import ActorContext

Status = Coupon.Status


def mark_held(coupon: Coupon, *, order_id: UUID, by: ActorContext) -> None:
    """Mark this coupon as held by the order, in memory and in the journal: `rows.hold` writes it."""
    _note("coupon.held", coupon, order_id=order_id, to=Status.HELD, by=by)
    coupon.status = Status.HELD


def locked_row(code: str) -> Row:
    """The row that holding the coupon of this code locks."""
    return Row(Coupon, code, column="code")


def release(order_ids: Iterable[UUID]) -> int:
    """Release the coupons that these orders hold; returns how many. Repeating it does nothing."""
    held = _lock_coupons_of_orders(order_ids, Status.HELD)
    return _change_status(held, "coupon.given_back", to=Status.ISSUED)


def held_ids(order_ids: Iterable[UUID]) -> list[int]:
    """The ids of the coupons that these orders hold. The orders are locked, so they stay held."""
    return rows.coupon_ids_of_orders(order_ids, Status.HELD)


def redeem(order_ids: Iterable[UUID], *, ids: Sequence[int] | None = None) -> int:
    """Redeem the coupons that these orders hold, of `held_ids`; returns how many. A repeat does nothing."""
    held = _lock_coupons_of_orders(order_ids, Status.HELD, ids=ids)
    open_transaction.count_after_commit(counters.count_redeemed, [coupon.campaign_id for coupon in held])
    return _change_status(held, "coupon.redeemed", to=Status.REDEEMED)


def reinstate(order_ids: Collection[UUID], *, now: datetime) -> int:
    """Reinstate the unexpired coupons that fully refunded orders redeemed; returns how many."""
    redeemed = _lock_coupons_of_orders(order_ids, Status.REDEEMED)
    usable_again = [coupon for coupon in redeemed if redemption.is_valid(coupon.expires_at, now)]
    return _change_status(usable_again, "coupon.given_back", to=Status.ISSUED)


def _lock_coupons_of_orders(
    order_ids: Iterable[UUID], status: Status, *, ids: Sequence[int] | None = None
) -> list[Coupon]:
    """These orders' coupons of that status, locked in the order of their ids."""
    open_transaction.assert_inside()
    wanted = set(order_ids)
    ids = rows.coupon_ids_of_orders(wanted, status) if ids is None else ids
    coupons = rows.lock_coupons(ids) if ids else []
    return [coupon for coupon in coupons if coupon.status == status and coupon.order_id in wanted]


def _change_status(coupons: Sequence[Coupon], what: str, *, to: Status) -> int:
    """Set the status of these locked coupons, each with a line of the journal. Returns how many."""
    for coupon in coupons:
        _note(what, coupon, order_id=coupon.order_id, to=to)
    return rows.set_status(coupons, to) if coupons else 0


def _note(
    what: str, coupon: Coupon, *, order_id: UUID | None, to: Status, by: ActorContext | None = None
) -> None:
    """Record it in the journal, not as an event: the order's own events inform the customer."""
    journal.note(
        what=what,
        subject=f"coupon {coupon.code}",
        order_id=order_id,
        before={"status": coupon.status},
        after={"status": to},
        is_internal=True,
        by=by,
    )
