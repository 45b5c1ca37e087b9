"""Causes in the database: rows that are changed by hand, locks, connections, a table that is away."""

import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

from lab.alerts.stage import Stage, wait_until
from scripts.stack import SetupError, database

SHARE_OF_CONNECTIONS = 0.85
LAW_TABLE, LAW_TABLE_AWAY = "shop_lawstatus", "shop_lawstatus_away"
ATTEMPTS = 5
PUT_BACK = "UPDATE orders_order SET expires_at = UTC_TIMESTAMP(6) - INTERVAL 5 MINUTE WHERE id = %s"

INSERT_FORCED = """
INSERT INTO shop_journalline
(at, actor, actor_name, request_id, what, subject, after, detail, reference, is_internal)
VALUES (UTC_TIMESTAMP(6), 'staff', 'alerts', '', 'saga.forced', 'purchase alerts',
    '{"step": "charge_card"}', '', '', 1)
"""
INSERT_GRANTS = """
INSERT INTO payments_grantsofday (operator_id, day, amount, approved_amount)
VALUES (0, UTC_DATE(), 1, 2000000)
"""
INSERT_ENDPOINT = """
INSERT INTO events_webhookendpoint
(id, kind, url, events, description, secret, owner_id, position, created_at, failures, disabled_by,
    lease_token)
SELECT %s, 'program', 'http://127.0.0.1:9/', '["*"]', 'alerts', 'whsec_YWxlcnRzYWxlcnRzYWxlcnRz',
    (SELECT MIN(id) FROM auth_user WHERE is_superuser), last_position, UTC_TIMESTAMP(6), 0, '', ''
FROM events_feedstate
"""
FAILING = "SELECT COUNT(*) FROM events_webhookendpoint WHERE id = %s AND failing_since IS NOT NULL"
RAISE_AGE_OF_DELIVERIES = """
UPDATE events_webhookdelivery SET created_at = created_at - INTERVAL 2 HOUR WHERE endpoint_id = %s
"""
RAISE_AGE_OF_FAILURES = """
UPDATE events_webhookendpoint SET failing_since = failing_since - INTERVAL 4 DAY WHERE id = %s
"""
UNSEQUENCED = "SELECT COUNT(*) FROM events_feedevent WHERE position IS NULL"
RAISE_AGE_OF_EVENTS = """
UPDATE events_feedevent SET at = at - INTERVAL 10 MINUTE WHERE position IS NULL
"""
NOTICED_SECONDS = 30


def stock_over_reserved(stage: Stage) -> AbstractContextManager[None]:
    return stage.changed(
        "UPDATE inventory_product SET reserved = on_hand + 1 WHERE id = %s",
        "UPDATE inventory_product SET reserved = 0 WHERE id = %s",
        stage.product(),
    )


def campaign_over_issued(stage: Stage) -> AbstractContextManager[None]:
    return stage.changed(
        "UPDATE coupons_campaign SET issued = quantity + 1 WHERE id = %s",
        "UPDATE coupons_campaign SET issued = 0 WHERE id = %s",
        stage.campaign(),
    )


def forced_step(stage: Stage) -> AbstractContextManager[None]:
    return stage.changed(INSERT_FORCED, "DELETE FROM shop_journalline WHERE subject = 'purchase alerts'")


def many_grants(stage: Stage) -> AbstractContextManager[None]:
    return stage.changed(INSERT_GRANTS, "DELETE FROM payments_grantsofday WHERE operator_id = 0")


@contextmanager
def many_connections(stage: Stage) -> Iterator[None]:
    """Open as many as are missing to the share, whatever the shop needs itself."""
    [[most]] = stage.query("SELECT @@global.max_connections")
    [[_, connected]] = stage.query("SHOW GLOBAL STATUS LIKE 'Threads_connected'")
    with ExitStack() as opened:
        for _ in range(int(most * SHARE_OF_CONNECTIONS) - int(connected)):
            opened.enter_context(database.connected(stage.instance))
        yield


def law_table_renamed(stage: Stage) -> AbstractContextManager[None]:
    return stage.changed(
        f"RENAME TABLE {LAW_TABLE} TO {LAW_TABLE_AWAY}", f"RENAME TABLE {LAW_TABLE_AWAY} TO {LAW_TABLE}"
    )


@contextmanager
def webhook_not_taken(stage: Stage) -> Iterator[None]:
    with _failing_endpoint(stage) as endpoint:
        stage.execute(RAISE_AGE_OF_DELIVERIES, endpoint)
        yield


@contextmanager
def webhook_endpoint_failing(stage: Stage) -> Iterator[None]:
    with _failing_endpoint(stage) as endpoint:
        stage.execute(RAISE_AGE_OF_FAILURES, endpoint)
        yield


@contextmanager
def _failing_endpoint(stage: Stage) -> Iterator[str]:
    """Its address is the host's own, which is refused, and an event is to be sent to it."""
    endpoint = str(uuid.uuid4())
    stage.execute(INSERT_ENDPOINT, endpoint)
    try:
        stage.product()
        wait_until(
            lambda: stage.query(FAILING, endpoint)[0][0] == 1,
            what="a worker tries the webhook endpoint",
            within_seconds=NOTICED_SECONDS,
        )
        yield endpoint
    finally:
        stage.execute("DELETE FROM events_webhookdelivery WHERE endpoint_id = %s", endpoint)
        stage.execute("DELETE FROM events_webhookendpoint WHERE id = %s", endpoint)


@contextmanager
def locked_feed(stage: Stage) -> Iterator[None]:
    """Sequencers leave at once while the row is locked."""
    with stage.locked("SELECT id FROM events_feedstate FOR UPDATE"):
        stage.product()
        stage.execute(RAISE_AGE_OF_EVENTS)
        yield
    wait_until(
        lambda: stage.query(UNSEQUENCED)[0][0] == 0,
        what="all events have their positions once the row is unlocked",
        within_seconds=NOTICED_SECONDS,
    )


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
