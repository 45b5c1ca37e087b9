"""What may not happen early: triggers in a campaign's database write its instant, by the database's clock."""

from collections import Counter
from collections.abc import Iterator, Mapping

from scripts.stack import database
from scripts.stack.instance import Instance

TOLERANCE_SECONDS = 1.0
"""A process knows the database's time but for its round trip to it, which a busy machine makes long."""
TABLE = "campaign_instant"
GAVE_UP = "gave_up"
"""The saga's failure code. (`orders.saga.definitions` has it; the scripts run without Django's settings.)"""
CHANGES = {
    "order expired": ("orders_order", "NEW.status = 'expired' AND OLD.status <> 'expired'", "OLD.expires_at"),
    "payment given up": (
        "orders_saga",
        f"NEW.failure_code = '{GAVE_UP}' AND OLD.failure_code <> '{GAVE_UP}'",
        "OLD.deadline_at",
    ),
    "saga retried": (
        "orders_saga",
        # A worker leases it for the call that it had opened before.
        "OLD.lease_token = '' AND NEW.lease_token <> '' AND OLD.open_call <> '' "
        "AND NEW.open_call = OLD.open_call",
        "OLD.next_attempt_at",
    ),
    "lease of a saga taken over": (
        "orders_saga",
        "OLD.lease_token <> '' AND NEW.lease_token <> '' AND NEW.lease_token <> OLD.lease_token",
        "OLD.leased_until",
    ),
}
"""Of each kind the table, the update, and the instant before which it may not be."""
DELETIONS = {
    "idempotency key swept": ("shop_idempotencykey", "OLD.created_at + INTERVAL {retention} SECOND"),
    "mark of a transaction swept": ("shop_committedtransaction", "OLD.at + INTERVAL 1 DAY"),
    "refresh token swept": ("accounts_revokedtoken", "OLD.expires_at"),
    "webhook event swept": ("payments_webhookevent", "OLD.received_at + INTERVAL 90 DAY"),
    "reconciliation swept": ("payments_reconciliation", "OLD.started_at + INTERVAL 30 DAY"),
}
"""Of each kind the table, and the instant before which a row may not be deleted."""
SHORTENED_KEYS = """
INSERT INTO shop_idempotencykey (account_id, key_hash, fingerprint, status, body, location, created_at)
SELECT {account}, SHA2(CONCAT('campaign ', seq), 256), REPEAT('0', 64), 201, '{{}}', '',
    UTC_TIMESTAMP(6) - INTERVAL {retention} SECOND + INTERVAL seq SECOND
FROM seq_1_to_{last}_step_{step}
"""


def watch(instance: Instance, *, retention_seconds: int) -> None:
    """Write from now on when each of these happens. `retention_seconds` is that of idempotency keys."""
    database.rows(
        instance,
        f"CREATE TABLE {TABLE} (id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(40), subject VARCHAR(64), "
        "due_at DATETIME(6), at DATETIME(6)) ENGINE=InnoDB",
    )
    for number, (kind, (table, condition, due)) in enumerate(CHANGES.items()):
        event = f"campaign_change_{number} AFTER UPDATE ON {table}"
        _write(instance, event, kind, due, f"IF {condition} THEN", "END IF;")
    for number, (kind, (table, due)) in enumerate(DELETIONS.items()):
        event = f"campaign_deletion_{number} AFTER DELETE ON {table}"
        _write(instance, event, kind, due.format(retention=retention_seconds))


def _write(instance: Instance, event: str, kind: str, due: str, before: str = "", after: str = "") -> None:
    values = f"('{kind}', OLD.id, {due}, UTC_TIMESTAMP(6))"
    insertion = f"INSERT INTO {TABLE} (kind, subject, due_at, at) VALUES {values};"  # noqa: S608 - ours
    database.rows(instance, f"CREATE TRIGGER {event} FOR EACH ROW BEGIN {before} {insertion} {after} END")


def insert_old_keys(
    instance: Instance, *, account_id: int, retention_seconds: int, within_seconds: int, step: int = 5
) -> None:
    """Insert idempotency keys whose retention ends one by one, every `step` seconds, within so many."""
    statement = SHORTENED_KEYS.format(
        account=account_id, retention=retention_seconds, last=within_seconds, step=step
    )
    database.rows(instance, statement)


def counts(instance: Instance) -> Mapping[str, int]:
    """How often each happened."""
    return Counter(
        dict(database.rows(instance, f"SELECT kind, COUNT(*) FROM {TABLE} GROUP BY kind"))  # noqa: S608
    )


def findings(instance: Instance) -> Iterator[str]:
    """Each that happened earlier than it may."""
    early = database.rows(
        instance,
        f"SELECT kind, subject, due_at, at FROM {TABLE} "  # noqa: S608 - a name of ours
        "WHERE at < due_at - INTERVAL %s SECOND ORDER BY id",
        TOLERANCE_SECONDS,
    )
    for kind, subject, due_at, at in early:
        yield f"early: {kind}: {subject} at {at}, due at {due_at}"
