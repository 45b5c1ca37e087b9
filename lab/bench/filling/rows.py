"""Rows that the database copies from what it decided: SQL for some columns, model defaults for others."""

import time
from collections.abc import Callable, Iterator
from typing import Any

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import AutoField, CharField, Field, Max, Model, TextField

from coupons.models import Campaign
from shop import clock
from shop.models import JournalLine

BITE = 50_000
"""Rows of a transaction: enough to be quick, few enough for its undo log to stay small."""
ACCOUNTS = """
CREATE OR REPLACE TEMPORARY TABLE filling_account (number INT PRIMARY KEY, account_id INT NOT NULL)
SELECT ROW_NUMBER() OVER (ORDER BY id) AS number, id AS account_id
FROM (SELECT id FROM auth_user WHERE is_active ORDER BY id LIMIT {count}) AS first_ones
"""
# Codes of 14 characters, as spread over their index as real ones that were issued hour after hour for weeks.
CODE = "LPAD(CONV(LEFT(MD5(CONCAT({seed}, ' ', UUID())), 15), 16, 32), 12, '0')"


def bites(count: int, size: int) -> Iterator[tuple[int, int]]:
    """From 1 to `count`, in pieces: the first and the last number of each."""
    for first in range(1, count + 1, size):
        yield first, min(first + size - 1, count)


def progress(what: str, count: int) -> Callable[[int], None]:
    """Reports at each tenth."""
    started_at, done, reported = time.monotonic(), 0, 0

    def further(number: int) -> None:
        nonlocal done, reported
        done += number
        if done * 10 // count > reported:
            reported = done * 10 // count
            print(f"{done:,} of {count:,} {what}, {time.monotonic() - started_at:.0f} s")

    return further


def execute(statement: str, **names: Any) -> Any:
    """Run the statement; the first cell of its result, where it has one."""
    with connection.cursor() as cursor:
        cursor.execute(statement, names or None)
        return cursor.fetchone()[0] if cursor.description else None


def insert(model: type[Model], source: str, names: dict[str, Any] | None = None, /, **cells: str) -> None:
    """Write a row of the model for each of the source's: SQL for these attributes, defaults for others."""
    columns = {
        connection.ops.quote_name(str(field.column)): cells.pop(field.attname, "") or _default(field)
        for field in model._meta.concrete_fields
        if field.attname in cells or not (isinstance(field, AutoField) or field.generated)
    }
    if cells:
        raise ValueError(f"{model.__name__} has no {', '.join(cells)}")
    table = connection.ops.quote_name(model._meta.db_table)
    cells_of_row = ", ".join(columns.values())
    statement = f"INSERT INTO {table} ({', '.join(columns)}) SELECT {cells_of_row} FROM {source}"  # noqa: S608
    execute(statement, **(names or {}))


def _default(field: "Field[Any, Any]") -> str:
    """What the model writes where nothing is said, as SQL."""
    if field.null:
        return "NULL"
    value = field.get_default() if field.has_default() else ""
    if not (field.has_default() or (isinstance(field, CharField | TextField) and field.blank)):
        raise ValueError(f"{field} has no default")
    return str(int(value)) if isinstance(value, int) else f"'{value}'"


def note(source: str, names: dict[str, Any] | None = None, /, **cells: str) -> None:
    """A journal line for each row of the source, of the system where no actor is named."""
    insert(JournalLine, source, names, **{"actor": "'system'"} | cells)


def choose_accounts(count: int) -> None:
    """Number the first `count` active accounts from 1, in `filling_account`; make those that are missing."""
    missing = count - User.objects.filter(is_active=True).count()
    if missing > 0:
        last = User.objects.aggregate(last=Max("id"))["last"] or 0
        # A hash never begins with an exclamation mark: no password fits.
        now = "UTC_TIMESTAMP(6)"
        name = f"CONCAT('filled-', {last} + seq)"
        insert(User, f"seq_1_to_{missing}", username=name, password="'!'", date_joined=now)  # noqa: S106 - no hash
    execute(ACCOUNTS.format(count=count))


def open_campaign(*, quantity: int, discount_amount: int = 1_000) -> int:
    """A new campaign with that many coupons to give; returns its id."""
    kind = Campaign.DiscountType.AMOUNT
    terms = {"discount_type": kind, "discount_value": discount_amount}
    return Campaign.objects.create(name="Filled", quantity=quantity, opens_at=clock.now(), **terms).pk
