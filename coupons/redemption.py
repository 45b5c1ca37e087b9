"""Coupons in orders: what they take off, and which order holds them.

These are the parts that an order's transaction is made of: none opens its own, each insists on being in
one. A coupon is issued, then held by an open order, then redeemed by that order or given back. Rows are
locked in the order of their ids, after the order and before any account.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from django.db import connection

from coupons.models import Campaign, Coupon
from shop.db import bulk_sql, transactions
from shop.db.stuck_rows import Row
from shop.errors import Rejected
from shop.events import journal
from shop.events.journal import ActorContext

# Written here, for orders come by the few: the ORM takes longer to compile one than the database to run it.
FIND = """
SELECT {coupon}, {campaign} FROM coupons_coupon coupon
JOIN coupons_campaign campaign ON campaign.id = coupon.campaign_id WHERE coupon.code IN ({codes})
"""
LOCK = "SELECT {coupon} FROM coupons_coupon coupon WHERE coupon.id IN ({ids}) ORDER BY coupon.id{for_update}"
HOLD = """
UPDATE coupons_coupon SET status = 'held', order_id = CASE id{cases} END
WHERE id IN ({ids}) AND status = 'issued'
"""
REASONS = {
    "not_found": "There is no such coupon.",
    "void": "The coupon was made void.",
    "redeemed": "The coupon has been redeemed.",
    "held": "The coupon is held by another order.",
    "expired": "The coupon has expired.",
    "below_minimum": "The order is below the coupon's minimum.",
}


def lock_by_code(codes: Iterable[str]) -> dict[str, Coupon]:
    """The coupons of these codes, with their campaigns, locked until the transaction ends.

    Codes that don't exist are absent. Campaigns are read and not locked: issuing doesn't wait for orders.
    """
    transactions.assert_inside()
    # Found first and locked then: never a lock on a row that may be missing.
    campaigns = {coupon.pk: coupon.campaign for coupon in read_by_code(codes).values()}
    coupons = _lock(campaigns) if campaigns else []
    for coupon in coupons:
        coupon.campaign = campaigns[coupon.pk]
    return {coupon.code: coupon for coupon in coupons}


def read_by_code(codes: Iterable[str]) -> dict[str, Coupon]:
    """The same without a lock: `hold` finds out whether somebody changed them meanwhile."""
    cells = bulk_sql.SqlLiterals()
    wanted = cells.listed(set(codes))
    if not wanted:
        return {}
    coupons, campaigns = (
        bulk_sql.columns_of(Coupon, alias="coupon"),
        bulk_sql.columns_of(Campaign, alias="campaign"),
    )
    statement = FIND.format(coupon=coupons.selected, campaign=campaigns.selected, codes=wanted)
    with connection.cursor() as cursor:
        cursor.execute(statement, cells.parameters or None)
        found = cursor.fetchall()
    width = len(coupons.names)
    looked = {}
    for row in found:
        coupon = coupons.to_model(row[:width])
        coupon.campaign = campaigns.to_model(row[width:])
        looked[coupon.code] = coupon
    return looked


def discount_amount(coupon: Coupon | None, *, account_id: int, items_amount: int, now: datetime) -> int:
    """What the coupon takes off items of this amount, in minor units; percents round down.

    Raises `Rejected` `coupon_not_usable` with `reason`: `not_found` (None, or somebody else's), `void`,
    `redeemed`, `held`, `expired` or `below_minimum`.
    """
    if coupon is None or coupon.account_id != account_id:
        raise _not_usable("not_found")
    status = coupon.status_at(now)
    if status != Coupon.Status.ISSUED:
        raise _not_usable(status)
    campaign = coupon.campaign
    if items_amount < campaign.min_order_amount:
        raise _not_usable("below_minimum")
    return min(items_amount, _face_amount(campaign, items_amount))


def mark_held(coupon: Coupon, *, order_id: UUID, by: ActorContext) -> None:
    """Mark this coupon, from the caller's transaction, as the order's, in memory: `hold` writes it.

    Whoever asks for it next in the same batch finds it held. `by` is who orders.
    """
    _note("coupon.held", coupon, order_id=order_id, to=Coupon.Status.HELD, by=by)
    coupon.status = Coupon.Status.HELD


def hold(orders: Mapping[Coupon, UUID]) -> None:
    """Let each of these coupons, from `usable` or `look`, be held by its order, all in one statement.

    The objects are marked as well, so that whoever asks for one next in the same batch finds it held.
    Raises `transactions.ChangedMeanwhile` when one of them is not there to be held any more.
    """
    transactions.assert_inside()
    if not orders:
        return
    cells = bulk_sql.SqlLiterals()
    cases = "".join(f" WHEN {cells[coupon.pk]} THEN {cells[id]}" for coupon, id in orders.items())
    statement = HOLD.format(cases=cases, ids=cells.listed(coupon.pk for coupon in orders))
    with connection.cursor() as cursor:
        cursor.execute(statement, cells.parameters or None)
        is_held = cursor.rowcount == len(orders)
    if not is_held:
        raise transactions.ChangedMeanwhile("coupons to hold are not issued, or not any more")
    for coupon, order_id in orders.items():
        coupon.status, coupon.order_id = Coupon.Status.HELD, order_id


def locked_row(code: str) -> Row:
    """The row that holding the coupon of this code locks."""
    return Row(Coupon, code, column="code")


def release(order_ids: Iterable[UUID]) -> int:
    """Let go of the coupons that these orders hold; returns how many. Repeating it does nothing."""
    held = _lock_coupons_of_orders(order_ids, Coupon.Status.HELD)
    return _change_status(held, "coupon.given_back", to=Coupon.Status.ISSUED)


def held_ids(order_ids: Iterable[UUID]) -> list[int]:
    """The ids of the coupons that these orders hold, which are locked: nothing else frees them meanwhile."""
    return _coupon_ids(set(order_ids), Coupon.Status.HELD)


def redeem(order_ids: Iterable[UUID], *, ids: Sequence[int] | None = None) -> int:
    """Redeem the coupons that these orders hold; returns how many. Repeating it does nothing.

    `ids` are theirs from `held_ids`, where that was asked before other locks were taken.
    """
    held = _lock_coupons_of_orders(order_ids, Coupon.Status.HELD, ids=ids)
    return _change_status(held, "coupon.redeemed", to=Coupon.Status.REDEEMED)


def reinstate(order_id: UUID, *, now: datetime) -> int:
    """Give back the coupon that a fully refunded order redeemed, unless it has expired by `now`.

    Returns how many that was; repeating it does nothing.
    """
    redeemed = _lock_coupons_of_orders([order_id], Coupon.Status.REDEEMED)
    usable_again = [coupon for coupon in redeemed if coupon.expires_at > now]
    return _change_status(usable_again, "coupon.given_back", to=Coupon.Status.ISSUED)


def _lock(ids: Iterable[int]) -> list[Coupon]:
    coupons = bulk_sql.columns_of(Coupon, alias="coupon")
    statement = LOCK.format(
        coupon=coupons.selected, ids=bulk_sql.integer_list(ids), for_update=bulk_sql.for_update()
    )
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return [coupons.to_model(row) for row in cursor.fetchall()]


def _lock_coupons_of_orders(
    order_ids: Iterable[UUID], status: Coupon.Status, *, ids: Sequence[int] | None = None
) -> list[Coupon]:
    """These orders' coupons of that status, locked in the order of their ids."""
    transactions.assert_inside()
    wanted = set(order_ids)
    ids = _coupon_ids(wanted, status) if ids is None else ids
    coupons = _lock(ids) if ids else []
    return [coupon for coupon in coupons if coupon.status == status and coupon.order_id in wanted]


def _coupon_ids(order_ids: Collection[UUID], status: Coupon.Status) -> list[int]:
    found = bulk_sql.reader(Coupon, ("id", "status")).rows_of(order_ids, column="order_id")
    return [id for id, current in found if current == status]


def _change_status(coupons: Sequence[Coupon], what: str, *, to: Coupon.Status) -> int:
    """Bring these locked coupons to a status, issued ones belonging to no order. Returns how many."""
    if not coupons:
        return 0
    freed: dict[str, None] = {"order_id": None} if to == Coupon.Status.ISSUED else {}
    for coupon in coupons:
        _note(what, coupon, order_id=coupon.order_id, to=to)
    condition = f"id IN ({bulk_sql.integer_list(coupon.pk for coupon in coupons)})"
    return bulk_sql.update(
        Coupon, {"status": to.value, **freed}, condition=condition, cells=bulk_sql.SqlLiterals()
    )


def _note(
    what: str, coupon: Coupon, *, order_id: UUID | None, to: Coupon.Status, by: ActorContext | None = None
) -> None:
    """Note it in the journal; customers learn of it by what becomes of their order."""
    journal.note(
        what=what,
        subject=f"coupon {coupon.code}",
        order_id=order_id,
        before={"status": coupon.status},
        after={"status": to},
        is_internal=True,
        by=by,
    )


def _face_amount(campaign: Campaign, items_amount: int) -> int:
    """What the coupon says, were the items' amount no limit."""
    is_percent = campaign.discount_type == Campaign.DiscountType.PERCENT
    value = campaign.discount_value
    amount = items_amount * value // 100 if is_percent else value
    most = campaign.max_discount_amount
    return amount if most is None else min(amount, most)


def _not_usable(reason: str) -> Rejected:
    return Rejected(REASONS[reason], code="coupon_not_usable", reason=reason)
