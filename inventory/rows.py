"""The rows of products and of what is counted of them.

- Reserving, releasing, selling and restocking lock products in the order of their ids, in one statement, and
  write their levels, then movements. Orders read stock as plain rows, because a batch reads hundreds of them.
- What is counted of a product on a day is added last, just before the commit, in the order of days and ids.
- Lost demand is inserted before it is counted.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import date

from foundation.db import bulk_sql, open_transaction, transactions
from foundation.db.mysql.patience import limited
from inventory.availability import COLUMNS, Change, Stock, Stocks
from inventory.models import LostDemand, Product, ProductDay, StockMovement
from inventory.product_counts import DayChange, Loss

READ = "SELECT {columns} FROM inventory_product WHERE id IN ({ids}) ORDER BY id{for_update}"
CHANGE = "UPDATE inventory_product SET {columns}, version = version + 1 WHERE id IN ({ids})"
COLUMN = "{name} = {name} + CASE{cases} ELSE 0 END"
# One case for all products with the same delta: the database searches a list by bisection, cases one by one.
CASE = " WHEN id IN ({ids}) THEN {delta:d}"
UNCHANGED = " AND version = {versions}"
# Where every delta differs, each row goes through the cases one by one, so the cost grows with the square.
ROWS_PER_STATEMENT = 1_000
LOSSES = bulk_sql.Table(LostDemand, Loss._fields)


def select_stock_for_update(product_ids: Iterable[int]) -> Stocks:
    """Lock as `lock` does, by the ORM, and return plain rows."""
    open_transaction.assert_inside()
    rows = Product.objects.select_for_update().filter(id__in=set(product_ids)).order_by("id")
    return {row[0]: Stock(*row) for row in rows.values_list(*COLUMNS)}


def lock_stock(product_ids: Iterable[int]) -> Stocks:
    """The same by SQL of its own, which takes no longer to write than the database to answer it."""
    open_transaction.assert_inside()
    return read_stock(product_ids, for_update=bulk_sql.for_update())


def read_stock(product_ids: Iterable[int], *, for_update: str = "") -> Stocks:
    """Plain rows without a lock: other transactions may change them, and `change` compares the versions."""
    ids = bulk_sql.integer_list(set(product_ids))
    if not ids:
        return {}
    statement = READ.format(columns=", ".join(COLUMNS), ids=ids, for_update=for_update)
    state = open_transaction.state
    # An earlier attempt whose COMMIT got no reply may hold the locks, and its end shows the outcome.
    if state.patience_seconds and not state.in_doubt:
        statement = limited(statement, seconds=state.patience_seconds)
    return {row[0]: Stock(*row) for row in bulk_sql.fetch(statement)}


def change_levels(
    ids: Sequence[int],
    stock: Mapping[int, Product | Stock],
    changes: Mapping[int, Change],
    *,
    is_locked: bool,
) -> None:
    """Add these changes to the rows of these products. With `is_locked` False, for `stock` from `read_stock`,
    raises `transactions.ChangedMeanwhile` when one of the rows was changed since.
    """
    columns: list[str] = []
    for name in ("on_hand", "reserved"):
        alike: dict[int, list[int]] = defaultdict(list)
        for id in ids:
            alike[getattr(changes[id], name)].append(id)
        alike.pop(0, None)
        cases = [CASE.format(ids=bulk_sql.integer_list(some), delta=delta) for delta, some in alike.items()]
        if cases:
            columns.append(COLUMN.format(name=name, cases="".join(cases)))
    statement = CHANGE.format(columns=", ".join(columns), ids=bulk_sql.integer_list(ids))
    if is_locked:
        bulk_sql.execute_deferred(statement)
        return
    versions = bulk_sql.SqlLiterals().case("id", {id: stock[id].version for id in ids})
    statement += UNCHANGED.format(versions=versions)
    if bulk_sql.execute(statement) != len(ids):
        raise transactions.ChangedMeanwhile("Another transaction changed the stock since it was read.")


def insert_movements(movements: Sequence[StockMovement]) -> None:
    if movements:
        bulk_sql.insert_objects(movements)


def insert_losses(losses: Iterable[Loss]) -> None:
    bulk_sql.insert(LOSSES, [(loss.day.isoformat(), *loss[1:]) for loss in losses])


def add_to_days(changes: Iterable[DayChange]) -> None:
    """Add these changes to the rows of products' days, by one statement just before the transaction commits:
    a popular product's row is locked no longer than that.
    """
    open_transaction.write_before_commit(_add_to_days, changes)


def add_up(changes: Iterable[DayChange]) -> dict[tuple[date, int], Counter[str]]:
    """The numbers of each day and product together, in their order."""
    totals: dict[tuple[date, int], Counter[str]] = defaultdict(Counter)
    for day, product_id, numbers in changes:
        totals[day, product_id].update(numbers)
    return dict(sorted(totals.items()))


def _add_to_days(changes: Iterable[DayChange]) -> None:
    totals = add_up(changes)
    columns = sorted({name for numbers in totals.values() for name in numbers})
    cells: list[list[bulk_sql.Value]] = [
        [day.isoformat(), product_id, *(numbers[name] for name in columns)]
        for (day, product_id), numbers in totals.items()
    ]
    bulk_sql.add_up(ProductDay, cells, key=("day", "product_id"), sums=columns)
