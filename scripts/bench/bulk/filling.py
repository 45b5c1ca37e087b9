"""Closed campaigns with their coupons, a campaign for each of the last months, made by MariaDB itself.

The table has its primary key alone meanwhile. Afterwards InnoDB sorts each index once, which is many times
faster than to look up the place of each row. The audit checks what was made.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from django.db import connection

from coupons.models import Campaign, Coupon
from shop import clock
from shop.management.filling.rows import choose_accounts, execute, insert

AGE = timedelta(days=120)
"""How long ago the latest of them closed."""
STRIDE = 7_919
"""A prime: positions go through the accounts in another order than their ids."""
INDEX = re.compile(r"^  ((?:UNIQUE )?KEY (`\w+`) .*?),?$", re.MULTILINE)
"""Of `SHOW CREATE TABLE`: the definition, and its name."""
CODE = "CONCAT(LPAD(CONV(campaign.id, 10, 32), 2, '0'), LEFT(MD5(CONCAT(campaign.id, ' ', seq)), 14))"


def fill(count: int, *, months: int, say: Callable[[str], None]) -> int:
    """Fill in that many coupons, evenly over so many months; returns how many were made.

    Each account has one of each month.
    """
    each = count // months
    choose_accounts(each)
    closed_at, ids = clock.now() - AGE, list[int]()
    for _ in range(months):
        closed_at = (closed_at.replace(day=1) - timedelta(days=1)).replace(day=15)
        ids.append(_campaign(closed_at, issued=each))
    with indexed_afterwards(Coupon._meta.db_table, say=say):
        for campaign_id in ids:
            _issue(campaign_id, each)
            say(f"{each:,} coupons of campaign {campaign_id} are there")
    return each * months


def _campaign(closed_at: datetime, *, issued: int) -> int:
    return Campaign.objects.create(
        name=f"{closed_at.astimezone(UTC):%Y-%m}",
        quantity=issued,
        issued=issued,
        opens_at=closed_at - timedelta(days=10),
        closes_at=closed_at,
        discount_type=Campaign.DiscountType.AMOUNT,
        discount_value=1_000,
    ).pk


@contextmanager
def indexed_afterwards(table: str, *, say: Callable[[str], None]) -> Iterator[None]:
    """The table has no secondary index inside the block; at its end they are made again, all at once."""
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW CREATE TABLE {table}")
        indexes = INDEX.findall(cursor.fetchone()[1])
    # Foreign keys need their indexes, unless they aren't checked.
    execute("SET SESSION foreign_key_checks = 0")
    execute(f"ALTER TABLE {table} {', '.join(f'DROP KEY {name}' for _, name in indexes)}")
    yield
    say(f"{len(indexes)} indexes are being made")
    execute(f"ALTER TABLE {table} {', '.join(f'ADD {definition}' for definition, _ in indexes)}")
    execute("SET SESSION foreign_key_checks = 1")


def _issue(campaign_id: int, each: int) -> None:
    """Write all coupons of the campaign: a tenth are void, all others have expired."""
    insert(
        Coupon,
        f"coupons_campaign AS campaign JOIN seq_1_to_{each} "
        f"JOIN filling_account ON number = MOD(seq * {STRIDE} + campaign.id, {each}) + 1 "
        f"WHERE campaign.id = {campaign_id}",
        campaign_id="campaign.id",
        account_id="account_id",
        code=CODE,
        position="seq",
        status="IF(MOD(seq, 10), 'issued', 'void')",
        issued_at="campaign.closes_at - INTERVAL 1 DAY",
        expires_at="campaign.closes_at + INTERVAL 7 DAY",
    )
