"""Whether tables and Redis stay bounded: no row is there long after its time, and nothing grows each day."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redis import Redis

from scripts.stack import database, waiting
from scripts.stack.instance import Instance

LATE_SECONDS = 3600
"""A row may be there for so long after its time, by the database's clock: the clean-up follows each jump."""
WAIT_SECONDS = 15
EXPIRIES = {
    "shop_idempotencykey": "created_at + INTERVAL 1 DAY",
    "shop_committedtransaction": "at + INTERVAL 1 DAY",
    "accounts_revokedtoken": "expires_at",
    "django_session": "expire_date",
    "payments_reconciliation": "started_at + INTERVAL 30 DAY",
    "payments_webhookevent": "received_at + INTERVAL 90 DAY",
}
"""Of each table that is cleaned up, the end of a row's time. (The retentions are those of the shop's modules;
that of keys is the default of `IDEMPOTENCY_RETENTION_SECONDS`.)"""
SHORT = ("shop_idempotencykey", "shop_committedtransaction")
"""Tables whose rows are gone after a day, so that a day has as many as another."""
EARLY_DAYS, LATE_DAYS = slice(7, 12), slice(-5, None)
"""Around day 10, and up to the last: the days that are compared."""
MOST_GROWTH = 1.25
SPARE = {"Redis' memory": 4 * 2**20, "Redis' keys": 100}
"""What may come on top of that."""


@dataclass(frozen=True)
class Sizes:
    """The rows of each table, and the bytes and keys of Redis, in the evening of a day."""

    by_name: dict[str, int]

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in self.by_name.items())


def measure(instance: Instance) -> Sizes:
    """The sizes now."""
    counted = {
        table: int(database.rows(instance, f"SELECT COUNT(*) FROM {table}")[0][0])  # noqa: S608 - ours
        for table in EXPIRIES
    }
    with Redis(unix_socket_path=str(instance.redis_socket)) as redis:
        counted["Redis' memory"] = int(redis.info("memory")["used_memory"])
        counted["Redis' keys"] = int(redis.dbsize())
    return Sizes(counted)


def overdue(instance: Instance) -> list[str]:
    """Each table that has rows long after their time; waits for the clean-up until there is none."""
    return waiting.left(lambda: [*_overdue(instance)], within_seconds=WAIT_SECONDS, pause_seconds=0.5)


def _overdue(instance: Instance) -> Iterator[str]:
    for table, expiry in EXPIRIES.items():
        [(count, since)] = database.rows(
            instance,
            f"SELECT COUNT(*), MIN({expiry}) FROM {table} "  # noqa: S608 - names of ours
            f"WHERE {expiry} < UTC_TIMESTAMP(6) - INTERVAL %s SECOND",
            LATE_SECONDS,
        )
        if count:
            yield f"not bounded: {count} rows of {table} are there after their time, the first since {since}"


def growth(days: Sequence[Sizes]) -> Iterator[str]:
    """Each size of the last days that is more than around day 10; nothing where the run ended before that."""
    early, late = days[EARLY_DAYS], days[LATE_DAYS]
    if len(days) < EARLY_DAYS.stop - LATE_DAYS.start:
        return
    for name in (*SHORT, *SPARE):
        before, now = (max(one.by_name[name] for one in some) for some in (early, late))
        if now > MOST_GROWTH * before + SPARE.get(name, 0):
            yield f"not bounded: {name} grew from {before} around day 10 to {now}"
