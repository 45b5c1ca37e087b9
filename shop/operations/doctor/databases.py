"""Checks of the database: whether commits are durable, and whether transactions are isolated as expected."""

from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import Error, connection

from shop.db import secondary
from shop.operations.backups import dumping
from shop.operations.doctor.findings import Finding, danger, judge, judge_all, ok, warning

Variables = Mapping[str, str]
VARIABLE_NAMES = (
    "version",
    "tx_isolation",
    "transaction_isolation",
    "innodb_flush_log_at_trx_commit",
    "log_bin",
    "sync_binlog",
    "sql_mode",
    "check_constraint_checks",
    "default_storage_engine",
    "max_connections",
    "max_user_connections",
    "innodb_buffer_pool_size",
)
COLLATIONS = {True: "utf8mb4_uca1400_ai_ci", False: "utf8mb4_0900_ai_ci"}
"""Of MariaDB, and of MySQL."""
NAMES = {
    "auth_group": "name",
    "auth_user": "username",
    "coupons_campaign": "name",
    "inventory_product": "name",
    "sales_sale": "name",
}
"""Tables with the column that people search or that is unique, of text in any language."""
STRICT_MODES = {"STRICT_ALL_TABLES", "STRICT_TRANS_TABLES", "TRADITIONAL"}
OLDEST_MARIADB, OLDEST_MYSQL = (10, 11), (8, 4)
# A worker's threads, beat, threads that check readiness or run tasks while the broker is unavailable,
# commands.
BACKGROUND_CONNECTIONS = 80
SYNCHRONOUS = {"0": "OFF", "1": "NORMAL", "2": "FULL", "3": "EXTRA"}


def examine() -> list[Finding]:
    try:
        if connection.vendor != "mysql":
            return _sqlite()
        variables = _variables()
        return [
            *_mysql(variables),
            restored(),
            buffer_pool(variables, _index_bytes()),
            collation(variables),
            *reader(),
        ]
    except Error as error:
        return [danger("database", f"can't be reached: {error}", "Start it, or correct DATABASE_URL.")]


def _mysql(variables: Variables) -> list[Finding]:
    version = variables["version"]
    oldest = OLDEST_MARIADB if "mariadb" in version.lower() else OLDEST_MYSQL
    isolation = variables.get("transaction_isolation") or variables.get("tx_isolation", "unknown")
    flush, mode = variables["innodb_flush_log_at_trx_commit"], variables["sql_mode"]
    binlog = variables.get("sync_binlog", "0") if variables.get("log_bin") == "ON" else ""
    checked, engine = variables.get("check_constraint_checks", "ON"), variables["default_storage_engine"]
    configure = "and put it into the server's configuration."
    rows = judge_all(
        [
            (
                "database version",
                version,
                _version_numbers(version) < oldest,
                "warning",
                f"It is not tested with one this old; use {'.'.join(map(str, oldest))} or later.",
            ),
            (
                "isolation level",
                isolation,
                isolation != "READ-COMMITTED",
                "danger",
                "Updates may be lost: leave isolation_level out of DATABASE_URL; READ COMMITTED is set then.",
            ),
            (
                "innodb_flush_log_at_trx_commit",
                flush,
                flush != "1",
                "danger",
                "A crash would lose acknowledged writes: SET GLOBAL innodb_flush_log_at_trx_commit=1, "
                + configure,
            ),
            (
                "sync_binlog",
                binlog or "no binary log is kept",
                binlog not in ("", "1"),
                "danger",
                f"A restore would lack what was acknowledged: SET GLOBAL sync_binlog=1, {configure}",
            ),
            (
                "sql_mode",
                mode or "empty",
                not STRICT_MODES & set(mode.split(",")),
                "danger",
                "Values that don't fit would be truncated: leave sql_mode out of DATABASE_URL.",
            ),
            (
                "constraints",
                f"check_constraint_checks={checked}, engine {engine}",
                (checked, engine) != ("ON", "InnoDB"),
                "danger",
                "The laws are constraints of InnoDB tables: set check_constraint_checks=ON and that engine.",
            ),
        ]
    )
    return [*rows, connections(variables)]


def restored() -> Finding:
    if dumping.is_restore_incomplete(connection):
        return danger(
            "restore",
            f"the restore into {connection.settings_dict['NAME']} was interrupted",
            "Rows are missing, or ids may come again: drop the database, and restore again.",
        )
    return ok("restore", "none was interrupted")


def connections(variables: Variables) -> Finding:
    """Every web thread holds a connection: with too few, requests are refused under load."""
    allowed = int(variables["max_connections"])
    allowed = min(allowed, int(variables.get("max_user_connections", "0")) or allowed)
    needed = settings.WEB_WORKERS * settings.WEB_THREADS + BACKGROUND_CONNECTIONS
    found = f"{allowed} for {settings.WEB_WORKERS} × {settings.WEB_THREADS} web threads and the rest"
    advice = f"SET GLOBAL max_connections={needed} or more, or lower WEB_THREADS."
    return judge("max_connections", found, allowed < needed, "danger", advice)


def buffer_pool(variables: Variables, index_bytes: int) -> Finding:
    """Codes, accounts and keys are inserted at random places of their indexes, which should fit in memory."""
    pool = int(variables["innodb_buffer_pool_size"])
    found = f"{pool // 2**20} MiB for {index_bytes // 2**20} MiB of indexes"
    advice = (
        "Writes slow down to the disk's pace as tables grow: SET GLOBAL innodb_buffer_pool_size to more "
        "than the indexes, best to most of the server's memory, and put it into its configuration."
    )
    return judge("innodb_buffer_pool_size", found, pool < index_bytes, "warning", advice)


def collation(variables: Variables) -> Finding:
    """Whether names with different four-byte characters differ."""
    columns = _names_with_one_emoji()
    wanted = COLLATIONS["mariadb" in variables["version"].lower()]
    if not columns:
        return ok("collation", "tells four-byte characters apart")
    statements = [
        f"ALTER DATABASE {connection.settings_dict['NAME']} COLLATE {wanted}",
        *(
            f"ALTER TABLE {table} MODIFY {definition.replace('COLLATE', f'COLLATE {wanted}')}"
            for table, definition in columns.items()
        ),
    ]
    return warning(
        "collation",
        f"takes all four-byte characters, such as emoji, for one in {', '.join(columns)}",
        "Searches find other names, and names are taken that aren't. In a quiet hour, after a backup: "
        + "; ".join(statements)
        + ".",
    )


def reader() -> list[Finding]:
    """The finding about the secondary, where there is one."""
    if not secondary.is_configured():
        return []
    try:
        has_caught_up = secondary.has_caught_up()
    except Error as error:
        advice = "The primary answers instead: start it, or correct DATABASE_READ_URL."
        return [warning("secondary", f"can't be read: {error}", advice)]
    if has_caught_up:
        return [ok("secondary", "has applied what the primary has")]
    advice = (
        "Lists of staff, exports and reports are read from the primary meanwhile. The primary needs a "
        "binary log with GTIDs, and the secondary has to replicate it; see docs/reads.md."
    )
    return [warning("secondary", "has not applied what the primary has", advice)]


def _names_with_one_emoji() -> dict[str, str]:
    """Those of `NAMES` whose collation takes one emoji for another: by table, the definition to be given."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT table_name, column_name, column_type, is_nullable, collation_name"
            " FROM information_schema.columns WHERE table_schema = DATABASE() AND collation_name IS NOT NULL"
        )
        found = [row for row in cursor.fetchall() if NAMES.get(row[0]) == row[1]]
        coarse = {name for *_, name in found if _takes_emoji_for_one(cursor, name)}
    return {
        table: f"{column} {kind} COLLATE {'NULL' if is_nullable == 'YES' else 'NOT NULL'}"
        for table, column, kind, is_nullable, name in found
        if name in coarse
    }


def _takes_emoji_for_one(cursor: Any, collation: str) -> bool:
    cursor.execute(f"SELECT %s COLLATE {collation} = %s", ["🎁", "🐳"])
    return bool(cursor.fetchone()[0])


def _sqlite() -> list[Finding]:
    journal, synchronous = _pragma("journal_mode"), SYNCHRONOUS.get(_pragma("synchronous"), "unknown")
    mode = settings.DATABASES["default"]["OPTIONS"].get("transaction_mode", "DEFERRED")
    return judge_all(
        [
            (
                "SQLite journal",
                journal,
                journal != "wal",
                "danger",
                "Readers and the writer would block each other: use WAL.",
            ),
            (
                "SQLite synchronous",
                synchronous,
                synchronous not in {"FULL", "EXTRA"},
                "danger",
                "A power failure would lose commits: use FULL.",
            ),
            (
                "SQLite transactions",
                mode,
                mode != "IMMEDIATE",
                "danger",
                "Concurrent transactions that read and then write would fail: use IMMEDIATE.",
            ),
        ]
    )


def _variables() -> Variables:
    """The server's variables in the shop's connections."""
    marks = ", ".join(["%s"] * len(VARIABLE_NAMES))
    with connection.cursor() as cursor:
        cursor.execute(f"SHOW VARIABLES WHERE Variable_name IN ({marks})", VARIABLE_NAMES)
        return {str(name): str(value) for name, value in cursor.fetchall()}


def _index_bytes() -> int:
    """The size of this database's secondary indexes."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT COALESCE(SUM(index_length), 0) FROM information_schema.tables"
            " WHERE table_schema = DATABASE()"
        )
        return int(cursor.fetchone()[0])


def _pragma(name: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {name}")
        return str(cursor.fetchone()[0])


def _version_numbers(found: str) -> tuple[int, ...]:
    """The major and minor version: (10, 11) for 10.11.6-MariaDB-0+deb12u1."""
    parts = found.split("-")[0].split(".")
    return tuple(int(part) for part in parts[:2] if part.isdigit())
