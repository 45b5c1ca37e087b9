"""What may not happen early: triggers in a campaign's database write its instant, by the database's clock."""

from collections import Counter
from collections.abc import Iterator, Sequence

from scripts.stack import database
from scripts.stack.instance import Instance

RETENTION_SECONDS = 86_400
"""Of idempotency keys, in the stacks that are watched."""
TOLERANCE_SECONDS = 1.0
"""A process knows the database's time but for its round trip to it, which a busy machine makes long."""
TABLE = "campaign_instant"
EXPIRED = "NEW.status = 'expired' AND OLD.status <> 'expired'"
GIVEN_UP = "NEW.failure_code = 'gave_up' AND OLD.failure_code <> 'gave_up'"
LEASED = "NEW.lease_token <> '' AND NEW.lease_token <> OLD.lease_token"
RETRIED = f"{LEASED} AND OLD.lease_token = '' AND OLD.open_call <> '' AND NEW.open_call = OLD.open_call"
"""A worker leases it for the call that it had opened before."""
CHANGES = {
    "order expired": ("orders_order", EXPIRED, "OLD.expires_at"),
    "payment given up": ("orders_saga", GIVEN_UP, "OLD.deadline_at"),
    "saga retried": ("orders_saga", RETRIED, "OLD.next_attempt_at"),
    "lease of a saga taken over": ("orders_saga", f"{LEASED} AND OLD.lease_token <> ''", "OLD.leased_until"),
}
"""Of each kind the table, the update that it is, and the instant before which it may not be."""
EXPIRIES = {
    "shop_idempotencykey": "created_at + INTERVAL 1 DAY",
    "shop_committedtransaction": "at + INTERVAL 1 DAY",
    "accounts_revokedtoken": "expires_at",
    "payments_reconciliation": "started_at + INTERVAL 30 DAY",
    "payments_webhookevent": "received_at + INTERVAL 90 DAY",
}
"""Of each table the end of a row's time, before which it may not be deleted: the retentions of the shop's
modules, and that of keys is `RETENTION_SECONDS`."""


def watch(instance: Instance) -> None:
    """Write from now on when each of these happens."""
    columns = (
        "id BIGINT AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(40), subject VARCHAR(64), due_at DATETIME(6)"
    )
    database.rows(instance, f"CREATE TABLE {TABLE} ({columns}, at DATETIME(6)) ENGINE=InnoDB")
    deletions = {f"{table} swept": (table, "", f"OLD.{expiry}") for table, expiry in EXPIRIES.items()}
    for number, (kind, (table, change, due)) in enumerate((CHANGES | deletions).items()):
        event = f"campaign_{number} AFTER {'UPDATE' if change else 'DELETE'} ON {table} FOR EACH ROW"
        values = f"'{kind}', OLD.id, {due}, UTC_TIMESTAMP(6)"
        insert = f"INSERT INTO {TABLE} (kind, subject, due_at, at) VALUES ({values});"  # noqa: S608 - ours
        action = f"IF {change} THEN {insert} END IF;" if change else insert
        database.rows(instance, f"CREATE TRIGGER {event} BEGIN {action} END")


def findings(instance: Instance, seen: Sequence[str] = ()) -> Iterator[str]:
    """Each that happened earlier than it may, and each of these kinds that has not happened at all."""
    kinds = [kind for (kind,) in database.rows(instance, f"SELECT kind FROM {TABLE}")]  # noqa: S608
    print(", ".join(f"{count} x {kind}" for kind, count in Counter(kinds).items()), flush=True)
    yield from (f"nothing shows whether it is early: {kind}" for kind in seen if kind not in kinds)
    late = f"SELECT kind, subject, due_at, at FROM {TABLE} WHERE at < due_at - INTERVAL %s SECOND"  # noqa: S608
    for kind, subject, due_at, at in database.rows(instance, late, TOLERANCE_SECONDS):
        yield f"early: {kind}: {subject} at {at}, due at {due_at}"
