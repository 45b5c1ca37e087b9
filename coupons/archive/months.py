"""Archiving and restoring the coupons of a month: of the campaigns that closed in it.

The work is done in small batches with rests between them. A batch that can't get a lock is given up, and
tried again later; where there is a secondary, the next batch waits until it has applied the last one.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from functools import partial

from django.db import IntegrityError
from django.db.models import Count, Q, QuerySet, Sum
from django.db.models.functions import TruncMonth

from coupons.archive import moving
from coupons.archive.moving import Batch, IncompleteMove
from coupons.models import Campaign
from shop import clock
from shop.db import pacing, transactions
from shop.db.pacing import Pace
from shop.operations.archives import calendar_months

OLDEST_DAYS = 90


@dataclass(frozen=True, slots=True)
class Moved:
    """What became of a campaign: how many of its coupons were moved now."""

    campaign_id: int
    name: str
    coupons: int
    problem: str = ""
    """Why the campaign was left, with what it had moved by then; the others go on."""


@dataclass(frozen=True, slots=True)
class Month:
    """The campaigns that closed in a month, how many of them have coupons in the archive, and all coupons."""

    month: str
    campaigns: int
    archived: int
    coupons: int


def archive(month: str, *, days: int = OLDEST_DAYS, pace: Pace | None = None) -> Iterator[Moved]:
    """Archive the coupons that expired `days` ago, of the campaigns that closed in a month, `YYYY-MM`.

    Yields each campaign once it is done; what ends it in between leaves whole batches, and a second run
    continues. Raises `Unavailable` if the database is away or the secondary doesn't follow.
    """
    until = clock.now() - timedelta(days=days)
    pace = pace or Pace()
    for campaign in _in_month(moving.archivable(until=until), month):

        def move(after: int, id: int = campaign.pk) -> Batch:
            return moving.archive_batch(campaign_id=id, after=after, until=until, size=pace.size)

        yield _move_all(campaign, move, pace)


def restore(month: str, *, pace: Pace | None = None) -> Iterator[Moved]:
    """Move all archived coupons of a month's campaigns back, and mark these as not archived. As `archive`."""
    pace = pace or Pace()
    for campaign in _in_month(Campaign.objects.filter(archived_at__isnull=False), month):

        def move(after: int, id: int = campaign.pk) -> Batch:
            return moving.restore_batch(campaign_id=id, after=after, size=pace.size)

        moved = _move_all(campaign, move, pace)
        if not moved.problem:
            moving.end_restore(campaign_id=campaign.pk)
        yield moved


def overview(*, days: int = OLDEST_DAYS) -> list[Month]:
    """The months in which campaigns closed whose coupons can be archived, or are."""
    until = clock.now() - timedelta(days=days)
    found = moving.archivable(until=until).annotate(month=TruncMonth("closes_at", tzinfo=UTC)).order_by()
    rows = found.values("month").annotate(
        campaigns=Count("pk"),
        archived=Count("pk", filter=Q(archived_at__isnull=False)),
        total=Sum("issued"),
    )
    return [
        Month(f"{row['month']:%Y-%m}", row["campaigns"], row["archived"], row["total"])
        for row in rows.order_by("month")
    ]


def _in_month(campaigns: "QuerySet[Campaign]", month: str) -> Iterable[Campaign]:
    begin, end = calendar_months.bounds(month)
    return list(campaigns.filter(closes_at__gte=begin, closes_at__lt=end).order_by("pk"))


def _move_all(campaign: Campaign, move: Callable[[int], Batch], pace: Pace) -> Moved:
    """Move batch after batch; a campaign whose rows are locked for long, or wrong, is left."""
    coupons, problem = 0, ""
    try:
        for moved in _batches(move, pace):
            coupons += moved
    except (transactions.TooManyConflicts, IncompleteMove, IntegrityError) as error:
        problem = getattr(error, "detail", "") or str(error)
    return Moved(campaign.pk, campaign.name, coupons, problem)


def _batches(move: Callable[[int], Batch], pace: Pace) -> Iterator[int]:
    """Move batch after batch; yields how many coupons each moved."""
    after: int | None = 0
    while after is not None:
        began_at = time.monotonic()
        batch = pacing.run_patiently(partial(move, after))
        after = batch.last_position
        yield batch.moved
        if after is not None:
            pace.rest(time.monotonic() - began_at)
