"""Writing many new coupons, or codes of a pool, at once.

The ORM's bulk insert prepares each value of each row anew, which costs more than all the rest of a batch
together. Here what the rows share is prepared once.
"""

from collections.abc import Sequence
from datetime import datetime

from django.db import connection

from coupons.models import Coupon, PoolCode

COLUMNS = "campaign_id, account_id, code, position, status, void_reason, issued_at, expires_at"
ROW = "(%s, %s, %s, %s, %s, %s, %s, %s)"
INSERT = "INSERT INTO coupons_coupon ({columns}) VALUES {rows}"
# The drivers make the most of it that their database can take: statements of many rows, or one prepared.
INSERT_CODE = "INSERT INTO coupons_poolcode (campaign_id, code, status, added_at) VALUES (%s, %s, %s, %s)"


def insert(coupons: Sequence[Coupon]) -> None:
    """Write these coupons of one campaign and instant. Their `pk` stays unset: not all databases tell it."""
    first = coupons[0]
    issued_at = connection.ops.adapt_datetimefield_value(first.issued_at)
    expires_at = connection.ops.adapt_datetimefield_value(first.expires_at)
    shared = (Coupon.Status.ISSUED.value, first.void_reason, issued_at, expires_at)
    values: list[int | str | None] = []
    for coupon in coupons:
        values += (first.campaign_id, coupon.account_id, coupon.code, coupon.position, *shared)
    statement = INSERT.format(columns=COLUMNS, rows=", ".join([ROW] * len(coupons)))
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def insert_codes(campaign_id: int, codes: Sequence[str], *, now: datetime) -> None:
    """Write these new codes of the campaign's pool, available from now on."""
    added_at = connection.ops.adapt_datetimefield_value(now)
    available = PoolCode.Status.AVAILABLE.value
    with connection.cursor() as cursor:
        cursor.executemany(INSERT_CODE, [(campaign_id, code, available, added_at) for code in codes])
