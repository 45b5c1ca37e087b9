"""Ends unpaid orders: cancelled by their owner or by staff, or expired."""

from collections import deque
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from uuid import UUID

from django.db.models import Q, QuerySet
from structlog import get_logger

from accounts.operating import own_account
from coupons import holding
from foundation import clock, journal
from foundation.db import compiled, stuck_rows, transactions
from foundation.db.rows import present
from foundation.db.stuck_rows import Row
from foundation.models import JournalLine
from inventory import stock_levels
from inventory.lost_demand import Reason
from orders import lost_demand, order_events, order_states, rows as order_rows
from orders.models import Order, OrderLine

log = get_logger(__name__)
EXPIRY_BATCH_SIZE = 100
# A crowd's orders may lapse at once.
MOST_SEARCHED = 1_000
# Much longer than the pause between two passes.
OVERDUE_AFTER = timedelta(minutes=1)
CANNOT_EXPIRE = "order.cannot_expire"
# Each pass retries: errors whose text differs each time must not fill the journal.
NOTED_WITHIN = timedelta(hours=1)
MOST_NOTED = 3


def cancel(*, order_id: UUID, account_id: int | None, reason: str = "") -> Order:
    """Cancel an order that awaits payment and release all it holds; a repeat has no further effect.

    `account_id` None is staff, who may cancel any order but their own, which they cancel as any buyer; the
    journal keeps their `reason` for staff alone. Durable when it returns. Raises `NotFound`, `NotAllowed`
    `own_account`, and `Rejected` `order_not_cancellable`.
    """
    return transactions.run_or_savepoint(
        lambda: _cancel(order_id, account_id, reason), transactions.REPEATABLE
    )


def expire_due() -> int:
    """Expire the unpaid orders whose time to pay is over. Returns how many.

    One that can't keeps its stock and stops no other: the journal records why, and the next call retries.
    """
    ended = 0
    rest = Q()
    while True:
        rows = list(
            _due(clock.now())
            .filter(rest)
            .order_by("expires_at", "id")
            .values_list("id", "expires_at")[:EXPIRY_BATCH_SIZE]
        )
        if not rows:
            return ended
        last_id, lapsed_at = rows[-1]
        rest = Q(expires_at__gt=lapsed_at) | Q(expires_at=lapsed_at, id__gt=last_id)
        ended += expire_all([order_id for order_id, _ in rows])


def find_lapsed(*, account_ids: Collection[int], product_ids: Collection[int]) -> list[UUID] | None:
    """Orders of these accounts, or of these products, among the `MOST_SEARCHED` whose time to pay was over
    first. None if there are none, nor more to search.
    """
    oldest = list(_due(clock.now()).order_by("expires_at", "id").values_list("id", flat=True)[:MOST_SEARCHED])
    is_theirs = Q(order__account_id__in=account_ids) | Q(product_id__in=product_ids)
    lines = OrderLine.objects.filter(is_theirs, order_id__in=oldest).values_list("order_id", flat=True)
    found = list(lines.distinct()[:EXPIRY_BATCH_SIZE])
    return found if found or len(oldest) == MOST_SEARCHED else None


def expire_unlocked(order_ids: Collection[UUID]) -> bool:
    """Expire those of these orders that have lapsed, without waiting for locks: `expire_due` does the rest.

    Returns whether there are any of which no other transaction has a row locked.
    """
    unlocked = _without_locked_rows(order_ids)
    if unlocked:
        expire_all(unlocked)
    return bool(unlocked)


def is_any_due() -> bool:
    return bool(compiled.rows(_one_due, at=clock.now()))


def _one_due(now: datetime) -> "QuerySet[Order, tuple[UUID]]":
    return _due(now).values_list("pk")[:1]


def is_overdue() -> Q:
    """The condition for unpaid orders that should have expired a while ago."""
    return Q(status=Order.Status.AWAITING_PAYMENT, expires_at__lte=clock.now() - OVERDUE_AFTER)


def overdue_count() -> int:
    return Order.objects.filter(is_overdue()).count()


def failure_lines(order_id: UUID) -> QuerySet[JournalLine]:
    """The journal's lines on why the order can't expire, newest first."""
    return JournalLine.objects.filter(order_id=order_id, what=CANNOT_EXPIRE).order_by("-id")


def _due(now: datetime) -> "QuerySet[Order]":
    return Order.objects.filter(status=Order.Status.AWAITING_PAYMENT, expires_at__lte=now)


def _cancel(order_id: UUID, account_id: int | None, reason: str) -> Order:
    order = order_rows.lock_order(order_id, **present(account_id=account_id))
    if account_id is None:
        own_account.refuse_own(order.account_id)
    if order.status == Order.Status.CANCELLED:
        return order
    order_states.check_cancellable(order.status, order.expires_at, clock.now())
    _end_orders([order], to=Order.Status.CANCELLED)
    if reason:
        journal.note(
            what="order.cancelled_by_staff",
            subject=f"order {order_id}",
            order_id=order_id,
            detail=reason,
            is_internal=True,
        )
    return Order.objects.get(id=order_id)


def expire_all(order_ids: list[UUID]) -> int:
    """Expire those of these orders that have lapsed, together or, where that fails, one by one. Returns how
    many expired.
    """
    ended = 0
    groups = deque([order_ids])
    while groups:
        group = groups.popleft()
        try:
            ended += transactions.run_batch(partial(_expire, group))
        except transactions.DatabaseUnavailable:
            raise
        except transactions.LockWaitTimeout:
            left = group if len(group) > 1 else list(chain(*groups))
            unblocked = _without_locked_rows(left)
            blocked = [order_id for order_id in left if order_id not in unblocked]
            if blocked:
                log.warning("orders expire later: what they hold is locked", orders=blocked)
            groups = deque([order_id] for order_id in unblocked)
        except transactions.OutcomeUnknown:
            log.warning("orders may have expired: the next pass finds out", orders=[*map(str, group)])
        except Exception as error:
            if len(group) > 1:
                groups.extend([order_id] for order_id in group)
            elif isinstance(error, transactions.TooManyConflicts):
                log.info("an order expires later: others change what it holds", order=group[0])
            elif transactions.run(partial(_note_failure, group[0], error), transactions.ONCE):
                log.exception("an order can't expire, and keeps its stock", order=group[0])
    return ended


def _without_locked_rows(order_ids: Collection[UUID]) -> list[UUID]:
    """The orders whose row, products and coupon no other transaction keeps locked."""
    needed = {order_id: {Row(Order, order_id)} for order_id in order_ids}
    lines = OrderLine.objects.filter(order_id__in=order_ids).values_list("order_id", "product_id")
    for order_id, product_id in lines:
        needed[order_id].add(stock_levels.locked_row(product_id))
    for order_id, code in Order.objects.filter(id__in=order_ids).values_list("id", "coupon_code"):
        if code:
            needed[order_id].add(holding.locked_row(code))
    in_use = set(stuck_rows.in_use(set().union(*needed.values())))
    return [order_id for order_id in order_ids if needed[order_id].isdisjoint(in_use)]


def _note_failure(order_id: UUID, error: Exception) -> bool:
    """Record for operators why the order can't expire; False if that is recorded, as each pass retries."""
    detail = f"{type(error).__name__}: {error}"[: journal.LONGEST_DETAIL]
    lines = list(failure_lines(order_id).values_list("detail", "at")[:MOST_NOTED])
    recent = [noted for noted, at in lines if at > clock.now() - NOTED_WITHIN]
    if detail in recent or len(recent) == MOST_NOTED or (lines and lines[0][0] == detail):
        return False
    journal.note(
        what=CANNOT_EXPIRE, subject=f"order {order_id}", order_id=order_id, detail=detail, is_internal=True
    )
    return True


def _expire(order_ids: Collection[UUID]) -> int:
    locked = Order.objects.select_for_update().filter(id__in=order_ids).order_by("id")
    now = clock.now()
    lapsed = [order for order in locked if order_states.is_lapsed(order.status, order.expires_at, now)]
    if lapsed:
        _end_orders(lapsed, to=Order.Status.EXPIRED)
    return len(lapsed)


def _end_orders(orders: Sequence[Order], *, to: str) -> None:
    """End these locked orders: release their stock and coupons, and record it."""
    order_ids = [order.id for order in orders]
    now = clock.now()
    lines = order_rows.read_lines(order_ids)
    stock_levels.release([*chain.from_iterable(lines.values())])
    holding.release(order_ids)
    order_rows.transition(order_ids, to=to, ended_at=now)
    if to == Order.Status.EXPIRED:
        lost_demand.note_ended(lines, {order.id: (order.account_id, Reason.EXPIRED) for order in orders})
    for order in orders:
        order_events.note_status(order, status=to, at=now)
