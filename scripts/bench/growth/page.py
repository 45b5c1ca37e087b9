"""The page docs/growth.md, computed from what `make growth` has measured."""

from collections.abc import Mapping, Sequence
from typing import Any

DAYS = 365
A_DAY = (1_000, 10_000)
KEPT_DAYS = 90 + 31
"""With archives: rows of a month are archived up to a month after they are 90 days old."""
GIB = 2**30
# The sweep deletes these after a day, so a year has as many as a day.
OF_A_DAY = frozenset({"shop_idempotencykey"})
# Accounts and products are there before; neither orders nor coupons add any.
NOT_OF_SALES = frozenset({"auth_user", "inventory_product", "payments_ledgeraccount"})
HEAD = """# Growth

What a year of sales leaves in the database, and in the files of
[archived months](operations.md#archives-of-months). `make growth` writes this page: it fills a MariaDB of its
own by `fill_tables` (of the orders 60 % are paid, 2 % wait, the others expire, are cancelled or are declined;
most have two lines or three), with as many coupons as orders, and reads the bytes of each table from
`information_schema`. Then it archives the whole journal and all movements as those of a finished month.
"""

REST = """The rest is what the laws read for all time: orders and their lines, payments, the ledger, sagas and
coupons. Coupons of closed campaigns have [an archive of their own](operations.md#the-archive-of-coupons),
which takes them out of the way of new ones, and leaves them in the database.
Entries of [sales](operations.md#a-sale-with-a-waiting-room) stay for good as well, one for each account that
joined a waiting room: they say which order used which admission.
"""


def render(measured: Mapping[str, Any]) -> str:
    """The page's text."""
    orders, tables = measured["orders"], [_with_bytes(one) for one in measured["tables"]]
    grown = [table for table in tables if table["name"] not in NOT_OF_SALES]
    parts = [
        HEAD,
        f"Measured with ORDERS={orders}, two cores that did other work too, {measured['date']}.\n",
        "## An order and a coupon\n",
        _each_table(grown, orders),
        "## A year\n",
        f"Orders a day with as many coupons, for {DAYS} days, in GiB. With archives the journal and the\n"
        f"movements keep {KEPT_DAYS} days: a month goes once it ended 90 days ago. Idempotency keys are\n"
        "those of one day in each.\n",
        _year(grown, measured["events"], orders),
        REST,
    ]
    return "\n".join(parts)


def _with_bytes(table: Mapping[str, Any]) -> dict[str, Any]:
    return {**table, "bytes": table["data"] + table["indexes"]}


def _each_table(tables: Sequence[Mapping[str, Any]], orders: int) -> str:
    lines = [
        "| table | rows for an order and a coupon | bytes a row | of them indexes | in a file, bytes a row |",
        "| --- | --- | --- | --- | --- |",
    ]
    for table in tables:
        packed = f"{table['file'] / table['archived_rows']:.1f}" if table.get("file") else "-"
        lines.append(
            f"| `{table['name']}` | {table['rows'] / orders:.2f} | {table['bytes'] / table['rows']:,.0f} "
            f"| {table['indexes'] / table['rows']:,.0f} | {packed} |"
        )
    total = sum(table["bytes"] for table in tables) / orders
    lines.append(f"| all of these, for an order and a coupon | | {total:,.0f} | | |")
    return "\n".join(lines) + "\n"


def _year(tables: Sequence[Mapping[str, Any]], events: Mapping[str, Any], orders: int) -> str:
    """`events` are the orders whose archived event stays countable: a row of an order that was paid."""
    lines = [
        "| orders a day | after a year, without archives | with archives | each further year adds, without "
        "| with archives | files of a year |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for number in A_DAY:
        year = [_bytes_of(table, orders, number, DAYS) for table in tables]
        grows = {table["name"]: bytes for table, bytes in zip(tables, year, strict=True)}
        a_day = sum(grows.pop(name, 0) for name in OF_A_DAY) / DAYS
        archived = [table for table in tables if table.get("file")]
        moved = sum(grows[table["name"]] for table in archived)
        left = _bytes_of(_with_bytes(events), orders, number, DAYS)
        without, further = sum(grows.values()), sum(grows.values()) - moved + left
        kept = further - left * KEPT_DAYS / DAYS + moved * KEPT_DAYS / DAYS
        files = sum(
            table["file"] / table["archived_rows"] * table["rows"] / orders * number * DAYS
            for table in archived
        )
        sizes = (without + a_day, kept + a_day, without, further, files)
        cells = " | ".join(f"{size / GIB:,.1f}" for size in sizes)
        lines.append(f"| {number:,} | {cells} |")
    return "\n".join(lines) + "\n"


def _bytes_of(table: Mapping[str, Any], orders: int, a_day: int, days: int) -> float:
    return float(table["bytes"] / orders * a_day * days)
