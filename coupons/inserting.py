"""Writing many new coupons, or codes of a pool, at once.

The ORM's bulk insert prepares each value of each row anew, which costs more than all the rest of a batch.
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
# The drivers make the most of it that their database can take: statements of many rows, or one prepared.
INSERT_CODE = "INSERT INTO coupons_poolcode (campaign_id, code, status, added_at) VALUES (%s, %s, %s, %s)"


def insert(coupons: Iterable[Coupon]) -> None:
    """Write these coupons. Their `pk` stays unset: not all databases tell it."""
    bulk_sql.insert(COUPONS, map(VALUES, coupons))


def insert_codes(campaign_id: int, codes: Sequence[str], *, now: datetime) -> None:
    """Write these new codes of the campaign's pool, available from now on."""
    added_at = connection.ops.adapt_datetimefield_value(now)
    available = PoolCode.Status.AVAILABLE.value
    with connection.cursor() as cursor:
        cursor.executemany(INSERT_CODE, [(campaign_id, code, available, added_at) for code in codes])
