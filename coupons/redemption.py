"""Coupons in orders: their discounts, and which order holds them.

These functions are the parts of an order's transaction: each must be called inside one, none opens its own. A
coupon is issued, then held by an open order, then redeemed by that order or released. Rows are locked in the
order of their ids, after the order's row and before any account's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from coupons.metrics import counters
from coupons.models import Campaign, Coupon
from foundation.db import bulk_sql, open_transaction, transactions
from foundation.db.stuck_rows import Row
from foundation.errors import Held, Rejected
from foundation.journal import journal
from foundation.journal.journal import ActorContext
from foundation.lazy_texts import Text, mark as _

# Plain SQL, because batches of orders are small: the ORM takes longer to compile it than the database to run
# it.
FIND = """
SELECT {coupon}, {campaign} FROM coupons_coupon coupon
JOIN coupons_campaign campaign ON campaign.id = coupon.campaign_id WHERE coupon.code IN ({codes})
"""
HOLD = """
UPDATE coupons_coupon SET status = 'held', order_id = {order_ids}
WHERE id IN ({ids}) AND status = 'issued'
"""
REASONS = {
    "not_found": _("There is no such coupon."),
    "void": _("The coupon was made void."),
    "redeemed": _("The coupon has been redeemed."),
    "held": _("The coupon is held by another order."),
    "expired": _("The coupon has expired."),
    "below_minimum": _("The order is below the coupon's minimum."),
    "no_eligible_item": _("The order has none of the products that the coupon is for."),
    "not_first_order": _("The coupon is for an account's first order, and this one has ordered before."),
    "not_eligible": _("The code is for listed accounts, and this one is not listed."),
    "sold_out": _("All coupons of this code are taken."),
    "campaign_not_open": _("The code can't be used yet."),
    "campaign_closed": _("The code can't be used any more."),
    "campaign_paused": _("The code can't be used for now. Try again later."),
}


def lock_found(found: Collection[Coupon]) -> dict[int, Coupon]:
    """These coupons, locked in the order of their ids and read again, by id."""
    open_transaction.assert_inside()
    campaigns = {coupon.pk: coupon.campaign for coupon in found}
    coupons = _lock(sorted(campaigns)) if campaigns else []
    for coupon in coupons:
        coupon.campaign = campaigns[coupon.pk]
    return {coupon.pk: coupon for coupon in coupons}


def find_by_code(codes: Collection[str]) -> dict[str, Coupon]:
    """The coupons of these codes with their campaigns, without a lock: `hold` detects a change since."""
    cells = bulk_sql.SqlLiterals()
    wanted = cells.listed(codes)
    if not wanted:
        return {}
    coupons = bulk_sql.reader(Coupon, alias="coupon")
    campaigns = bulk_sql.reader(Campaign, alias="campaign")
    statement = FIND.format(coupon=coupons.selected, campaign=campaigns.selected, codes=wanted)
    width = len(coupons.names)
    by_code = {}
    for row in bulk_sql.fetch(statement, cells.parameters):
        coupon = coupons.to_model(row[:width])
        coupon.campaign = campaigns.to_model(row[width:])
        by_code[coupon.code] = coupon
    return by_code


def discount_amount(coupon: Coupon, *, items_amount: int) -> int:
    """The discount of a usable coupon on lines of this amount that it counts over; percentages round down.

    Raises `Rejected` `coupon_not_usable` with `reason` `below_minimum`.
    """
    campaign = coupon.campaign
    if items_amount < campaign.min_order_amount:
        raise not_usable("below_minimum")
    amount = campaign.discount_value
    if campaign.discount_type == Campaign.DiscountType.PERCENT:
        amount = items_amount * amount // 100
    if campaign.max_discount_amount is not None:
        amount = min(amount, campaign.max_discount_amount)
    return min(items_amount, amount)


def require_issued(coupon: Coupon, *, now: datetime) -> None:
    """Check that an order may take the coupon at that instant.

    Raises `Rejected` `coupon_not_usable` with `reason`: `void`, `redeemed`, `held` or `expired`.
    """
    status = coupon.status_at(now)
    if status != Coupon.Status.ISSUED:
        raise not_usable(status)


class OpensSoon(Rejected):
    """`not_found` of a shared code whose campaign opens within a day: to callers as any other one."""


def not_usable(reason: str, detail: Text = "", *, kind: type[Rejected] = Rejected) -> Rejected:
    """The refusal `coupon_not_usable` for this reason, one of `REASONS`, or else with this text."""
    if reason in ("held", "not_first_order"):
        kind = Held
    return kind(REASONS.get(reason, detail), code="coupon_not_usable", reason=reason)


def mark_held(coupon: Coupon, *, order_id: UUID, by: ActorContext) -> None:
    """Mark this coupon as held by the order, in memory and in the journal: `hold` writes it."""
    _note("coupon.held", coupon, order_id=order_id, to=Coupon.Status.HELD, by=by)
    coupon.status = Coupon.Status.HELD


def hold(orders: Mapping[Coupon, UUID]) -> None:
    """Have each of these coupons, from `lock_found` or `find_by_code`, held by its order, by one statement.

    The objects are changed as well, so that a later order of the same batch finds them held. Raises
    `transactions.ChangedMeanwhile` if one of them is no longer issued.
    """
    open_transaction.assert_inside()
    if not orders:
        return
    cells = bulk_sql.SqlLiterals()
    by_coupon = {coupon.pk: order_id for coupon, order_id in orders.items()}
    statement = HOLD.format(order_ids=cells.case("id", by_coupon), ids=cells.listed(by_coupon))
    if bulk_sql.execute(statement, cells.parameters) != len(orders):
        raise transactions.ChangedMeanwhile("coupons to hold are not issued, or not any more")
    for coupon, order_id in orders.items():
        coupon.status = Coupon.Status.HELD
        coupon.order_id = order_id


def locked_row(code: str) -> Row:
    """The row that holding the coupon of this code locks."""
    return Row(Coupon, code, column="code")


def release(order_ids: Iterable[UUID]) -> int:
    """Release the coupons that these orders hold; returns how many. Repeating it does nothing."""
    held = _lock_coupons_of_orders(order_ids, Coupon.Status.HELD)
    return _change_status(held, "coupon.given_back", to=Coupon.Status.ISSUED)


def held_ids(order_ids: Iterable[UUID], status: Coupon.Status = Coupon.Status.HELD) -> list[int]:
    """The ids of the coupons that these orders hold. The orders are locked, so they stay held."""
    found = bulk_sql.reader(Coupon, ("id", "status")).rows_of(set(order_ids), column="order_id")
    return [id for id, current in found if current == status]


def redeem(order_ids: Iterable[UUID], *, ids: Sequence[int] | None = None) -> int:
    """Redeem the coupons that these orders hold, of `held_ids`; returns how many. A repeat does nothing."""
    held = _lock_coupons_of_orders(order_ids, Coupon.Status.HELD, ids=ids)
    return _change_status(held, "coupon.redeemed", to=Coupon.Status.REDEEMED)


def reinstate(order_ids: Collection[UUID], *, now: datetime) -> int:
    """Reinstate the unexpired coupons that fully refunded orders redeemed; returns how many."""
    redeemed = _lock_coupons_of_orders(order_ids, Coupon.Status.REDEEMED)
    usable_again = [coupon for coupon in redeemed if coupon.expires_at > now]
    return _change_status(usable_again, "coupon.given_back", to=Coupon.Status.ISSUED)


def _lock(ids: Iterable[int]) -> list[Coupon]:
    condition = f"id IN ({bulk_sql.integer_list(ids)}) ORDER BY id{bulk_sql.for_update()}"
    return bulk_sql.reader(Coupon).models(condition, bulk_sql.SqlLiterals())


def _lock_coupons_of_orders(
    order_ids: Iterable[UUID], status: Coupon.Status, *, ids: Sequence[int] | None = None
) -> list[Coupon]:
    """These orders' coupons of that status, locked in the order of their ids."""
    open_transaction.assert_inside()
    wanted = set(order_ids)
    ids = held_ids(wanted, status) if ids is None else ids
    coupons = _lock(ids) if ids else []
    return [coupon for coupon in coupons if coupon.status == status and coupon.order_id in wanted]


def _change_status(coupons: Sequence[Coupon], what: str, *, to: Coupon.Status) -> int:
    """Set the status of these locked coupons; issued ones belong to no order. Returns how many."""
    if not coupons:
        return 0
    freed: dict[str, None] = {"order_id": None} if to == Coupon.Status.ISSUED else {}
    for coupon in coupons:
        _note(what, coupon, order_id=coupon.order_id, to=to)
    if to == Coupon.Status.REDEEMED:
        campaign_ids = [coupon.campaign_id for coupon in coupons]
        open_transaction.count_after_commit(counters.count_redeemed, campaign_ids)
    condition = f"id IN ({bulk_sql.integer_list(coupon.pk for coupon in coupons)})"
    return bulk_sql.update(
        Coupon, {"status": to.value, **freed}, condition=condition, cells=bulk_sql.SqlLiterals()
    )


def _note(
    what: str, coupon: Coupon, *, order_id: UUID | None, to: Coupon.Status, by: ActorContext | None = None
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
