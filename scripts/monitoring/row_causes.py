"""Causes in the database: rows that are changed by hand, locks, connections, a table that is away."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from scripts.monitoring.stage import Stage, wait_until
from scripts.stack import SetupError, database

SHARE_OF_CONNECTIONS = 0.85
LAW_TABLE, LAW_TABLE_AWAY = "shop_lawstatus", "shop_lawstatus_away"
ATTEMPTS = 5
PUT_BACK = "UPDATE orders_order SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 5 MINUTE WHERE id = %s"


@contextmanager
def stock_over_reserved(stage: Stage) -> Iterator[None]:
    product = stage.product()
    stage.execute("UPDATE inventory_product SET reserved = on_hand + 1 WHERE id = %s", product)
    try:
        yield
    finally:
        stage.execute("UPDATE inventory_product SET reserved = 0 WHERE id = %s", product)


@contextmanager
def campaign_over_issued(stage: Stage) -> Iterator[None]:
    campaign = stage.campaign()
    stage.execute("UPDATE coupons_campaign SET issued = quantity + 1 WHERE id = %s", campaign)
    try:
        yield
    finally:
        stage.execute("UPDATE coupons_campaign SET issued = 0 WHERE id = %s", campaign)


@contextmanager
def many_connections(stage: Stage) -> Iterator[None]:
    """Open as many as are missing to the share, whatever the shop needs itself."""
    [[most]] = stage.query("SELECT @@global.max_connections")
    [[_, connected]] = stage.query("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    with ExitStack() as opened:
        for _ in range(int(most * SHARE_OF_CONNECTIONS) - int(connected)):
            opened.enter_context(database.connected(stage.instance))
        yield


@contextmanager
def law_table_renamed(stage: Stage) -> Iterator[None]:
    stage.execute(f"RENAME TABLE {LAW_TABLE} TO {LAW_TABLE_AWAY}")
    try:
        yield
    finally:
        stage.execute(f"RENAME TABLE {LAW_TABLE_AWAY} TO {LAW_TABLE}")


@contextmanager
def locked_overdue_order(stage: Stage) -> Iterator[None]:
    """The order's time is put back, and it is locked before the next sweep comes."""
    product = stage.product()
    with ExitStack() as stack:
        for _ in range(ATTEMPTS):
            order = stage.require(stage.order_call(stage.buyers[0], product), status=201)["id"]
            stage.execute(PUT_BACK, order)
            stack.enter_context(stage.locked("SELECT id FROM orders_order WHERE id = %s FOR UPDATE", order))
            [[status]] = stage.query("SELECT status FROM orders_order WHERE id = %s", order)
            if status == "awaiting_payment":
                break
        else:
            raise SetupError("no overdue order could be locked before it expired")
        yield
    wait_until(
        lambda: stage.query("SELECT status FROM orders_order WHERE id = %s", order)[0][0] != status,
        what="the overdue order expires once it is unlocked",
        within_seconds=30,
    )
