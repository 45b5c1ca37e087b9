"""Moving the coupons of a closed campaign into the archive, and back, some at a time.

A coupon is in one of the two tables: a transaction inserts it there and deletes it here. It locks as all
others do (docs/adr/003): orders, then the campaign, then the coupons, then what the foreign keys refer to.
While it holds the campaign's lock no other batch and no change of the campaign runs; a closed campaign issues
nothing that would wait for it. A process that is killed leaves whole batches: the rows say what is left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from coupons.models import ArchivedCoupon, Campaign, Coupon, QueueTicket
from shop import clock
from shop.db import bulk_sql, transactions
from shop.events import journal

MOVE = "INSERT INTO {target} ({columns}) SELECT {columns} FROM {source} WHERE id IN ({ids})"
DELETE = "DELETE FROM {source} WHERE id IN ({ids})"
Table = type[Coupon] | type[ArchivedCoupon]


class IncompleteMove(RuntimeError):
    """A batch would not have left each of its coupons in one table: it was rolled back."""


@dataclass(frozen=True, slots=True)
class Batch:
    """How many coupons a batch moved, and the last position that it looked at, None at the end."""

    moved: int
    last_position: int | None


def archivable(*, until: datetime) -> "QuerySet[Campaign]":
    """Campaigns that closed by then, and whose coupons nothing refers to but orders.

    The codes of pools and queue tickets refer to their coupons, so these campaigns keep them.
    """
    has_tickets = Exists(QueueTicket.objects.filter(campaign=OuterRef("pk")))
    # Only the strategy of the lab leaves them out.
    lacks_positions = Exists(Coupon.objects.filter(campaign=OuterRef("pk"), position__isnull=True))
    return Campaign.objects.filter(
        ~has_tickets,
        ~lacks_positions,
        ~Q(code_source=Campaign.CodeSource.POOL),
        closes_at__lte=until,
        confirming=0,
        issued__gt=0,
    )


def archive_batch(*, campaign_id: int, after: int, until: datetime, size: int) -> Batch:
    """Archive up to `size` coupons of the campaign, from the position that follows `after`.

    Coupons that an order holds, or that expire after `until`, stay. Durable when it returns, and safe to
    repeat from any position. It moves nothing and is at the end if the campaign has not closed by `until`.
    """

    def is_movable(campaign: Campaign) -> Q | None:
        if campaign.closes_at is None or campaign.closes_at > until:
            return None
        return ~Q(status=Coupon.Status.HELD) & Q(expires_at__lte=until)

    return _move(Coupon, ArchivedCoupon, campaign_id, after=after, size=size, condition=is_movable)


def restore_batch(*, campaign_id: int, after: int, size: int) -> Batch:
    """Move up to `size` coupons of the campaign back, from the position that follows `after`."""
    return _move(ArchivedCoupon, Coupon, campaign_id, after=after, size=size, condition=lambda campaign: Q())


def end_restore(*, campaign_id: int) -> bool:
    """Mark the campaign as not archived unless the archive has coupons of it. Returns if it did."""

    def work() -> bool:
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        if ArchivedCoupon.objects.filter(campaign=campaign).exists():
            return False
        if campaign.archived_at is not None:
            _mark(campaign, archived_at=None)
        return True

    return transactions.run(work, transactions.REPEATABLE)


def _move(
    source: Table,
    target: Table,
    campaign_id: int,
    *,
    after: int,
    size: int,
    condition: Callable[[Campaign], Q | None],
) -> Batch:
    """Move the rows that meet the condition, of the next `size` positions, in one transaction.

    The condition is decided by the campaign under its lock; None is for no row at all.
    """
    following = source._default_manager.filter(campaign_id=campaign_id, position__gt=after)
    seen = list(following.order_by("position").values_list("pk", "position", "order_id")[:size])
    if not seen:
        return Batch(0, None)
    ids = [id for id, *_ in seen]
    order_ids = sorted(order_id for *_, order_id in seen if order_id is not None)

    def work() -> Batch:
        if order_ids:
            # As the foreign key of the new row does, but before the coupon: the lock order.
            _lock_orders(order_ids)
        campaign = Campaign.objects.select_for_update().get(pk=campaign_id)
        movable = condition(campaign)
        if movable is None:
            return Batch(0, None)
        rows = source._default_manager.filter(movable, pk__in=ids).order_by("pk").select_for_update()
        moving = list(rows.values_list("pk", flat=True))
        if moving and target is ArchivedCoupon and campaign.archived_at is None:
            _mark(campaign, archived_at=clock.now())
        return Batch(_move_rows(source, target, moving), seen[-1][1])

    # REPEATABLE: a repeat after a commit whose reply was lost moves nothing more, and counts less.
    return transactions.run(work, transactions.REPEATABLE)


def _lock_orders(order_ids: Sequence[Any]) -> None:
    if connection.features.has_select_for_update:
        orders = Coupon._meta.get_field("order").related_model
        bulk_sql.reader(orders, ("id",)).rows_of(order_ids, column="id", lock=bulk_sql.lock(shared=True))


def _move_rows(source: Table, target: Table, ids: Sequence[int]) -> int:
    """Move these locked rows. Raises `IncompleteMove` unless each was inserted there and deleted here."""
    if not ids:
        return 0
    columns = ", ".join(str(field.column) for field in ArchivedCoupon._meta.concrete_fields)
    names = {
        "source": source._meta.db_table,
        "target": target._meta.db_table,
        "columns": columns,
        "ids": bulk_sql.integer_list(ids),
    }
    with connection.cursor() as cursor:
        cursor.execute(MOVE.format(**names))
        inserted = cursor.rowcount
        cursor.execute(DELETE.format(**names))
        if not inserted == cursor.rowcount == len(ids):
            raise IncompleteMove(
                f"{len(ids)} coupons were locked, {inserted} inserted, {cursor.rowcount} deleted"
            )
    return len(ids)


def _mark(campaign: Campaign, *, archived_at: datetime | None) -> None:
    """Write it in the caller's transaction, with a line of the journal."""
    before, campaign.archived_at = campaign.archived_at, archived_at
    campaign.version += 1
    campaign.save(update_fields=["archived_at", "version"])
    journal.note(
        what="campaign.archived" if archived_at else "campaign.restored",
        subject=f"campaign {campaign.pk}",
        before={"archived_at": before},
        after={"archived_at": archived_at},
        is_internal=True,
    )
