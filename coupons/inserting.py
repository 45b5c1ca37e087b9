"""Inserts many new coupons, or pool codes, at once.

The ORM's bulk insert prepares every value of every row again, which costs more than the rest of a batch.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from operator import attrgetter
from typing import NamedTuple

from django.db import connection

from coupons.models import Coupon, PoolCode
from shop.db import bulk_sql


class NewCoupon(NamedTuple):
    """The columns of a coupon that are written when it is issued."""

    campaign_id: int
    account_id: int
    code: str
    position: int | None
    status: str
    void_reason: str
    issued_at: datetime
    expires_at: datetime


COUPONS = bulk_sql.Table(Coupon, NewCoupon._fields)
VALUES = attrgetter(*NewCoupon._fields)
# Each driver runs it as its database does best: statements of many rows, or one that is prepared.
INSERT_CODE = "INSERT INTO coupons_poolcode (campaign_id, code, status, added_at) VALUES (%s, %s, %s, %s)"


def insert(coupons: Iterable[Coupon]) -> None:
    """Insert these coupons. Their `pk` stays unset: not all databases return it."""
    bulk_sql.insert(COUPONS, map(VALUES, coupons))


def insert_codes(campaign_id: int, codes: Sequence[str], *, now: datetime) -> None:
    """Insert these new codes into the campaign's pool as available."""
    added_at = connection.ops.adapt_datetimefield_value(now)
    available = PoolCode.Status.AVAILABLE.value
    with connection.cursor() as cursor:
        cursor.executemany(INSERT_CODE, [(campaign_id, code, available, added_at) for code in codes])
