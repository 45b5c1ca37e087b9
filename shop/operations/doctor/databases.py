"""Checks of the database: whether commits are durable, and whether transactions are isolated as expected."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from django.conf import settings
from django.db import Error, connection

from shop.db import secondary
from shop.operations.backups import dumping
from shop.operations.doctor.findings import Finding, judge

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


def examine() -> Iterator[Finding]:
    try:
        if connection.vendor != "mysql":
            yield from _sqlite()
            return
        variables = _variables()
        yield from of_server(variables)
        is_half = dumping.is_restore_incomplete(connection)
        half = f"the restore into {connection.settings_dict['NAME']} was interrupted"
        yield judge("restore", half if is_half else "none was interrupted", is_half)
        [[index_bytes]] = _ask(
            "SELECT COALESCE(SUM(index_length), 0) FROM information_schema.tables"
            " WHERE table_schema = DATABASE()"
        )
        yield buffer_pool(variables, int(index_bytes))
        yield collation(variables)
        yield from reader()
    except Error as error:
        yield judge("database", f"can't be reached: {error}", is_wrong=True)


def of_server(variables: Variables) -> list[Finding]:
    version = variables["version"]
    oldest = OLDEST_MARIADB if "mariadb" in version.lower() else OLDEST_MYSQL
    # (10, 11) of 10.11.6-MariaDB-0+deb12u1.
    is_old = tuple(int(part) for part in version.split("-")[0].split(".")[:2] if part.isdigit()) < oldest
    isolation = variables.get("transaction_isolation") or variables.get("tx_isolation", "unknown")
    flush, mode = variables["innodb_flush_log_at_trx_commit"], variables["sql_mode"]
    binlog = variables.get("sync_binlog", "0") if variables.get("log_bin") == "ON" else ""
    checked, engine = variables.get("check_constraint_checks", "ON"), variables["default_storage_engine"]
    constraints = f"check_constraint_checks={checked}, engine {engine}"
    # Every web thread holds a connection: with too few, requests are refused under load.
    allowed = int(variables["max_connections"])
    allowed = min(allowed, int(variables.get("max_user_connections", "0")) or allowed)
    needed = settings.WEB_WORKERS * settings.WEB_THREADS + BACKGROUND_CONNECTIONS
    found = f"{allowed} for {settings.WEB_WORKERS} × {settings.WEB_THREADS} web threads and the rest"
    return [
        judge("database version", version, is_old, oldest=".".join(map(str, oldest))),
        judge("isolation level", isolation, isolation != "READ-COMMITTED"),
        judge("innodb_flush_log_at_trx_commit", flush, flush != "1"),
        judge("sync_binlog", binlog or "no binary log is kept", binlog not in ("", "1")),
        judge("sql_mode", mode or "empty", not STRICT_MODES & set(mode.split(","))),
        judge("constraints", constraints, (checked, engine) != ("ON", "InnoDB")),
        judge("max_connections", found, allowed < needed, needed=needed),
    ]


def buffer_pool(variables: Variables, index_bytes: int) -> Finding:
    """Codes, accounts and keys are inserted at random places of their indexes, which should fit in memory."""
    pool = int(variables["innodb_buffer_pool_size"])
    found = f"{pool // 2**20} MiB for {index_bytes // 2**20} MiB of indexes"
    return judge("innodb_buffer_pool_size", found, pool < index_bytes)


def collation(variables: Variables) -> Finding:
    """Whether names with different four-byte characters differ."""
    columns = _ask(
        "SELECT table_name, column_name, column_type, is_nullable, collation_name"
        " FROM information_schema.columns WHERE table_schema = DATABASE() AND collation_name IS NOT NULL"
    )
    wanted = COLLATIONS["mariadb" in variables["version"].lower()]
    statements = {
        table: f"ALTER TABLE {table} MODIFY {column} {kind} COLLATE {wanted}"
        f" {'NULL' if is_nullable == 'YES' else 'NOT NULL'}"
        for table, column, kind, is_nullable, name in columns
        if NAMES.get(table) == column and _ask(f"SELECT %s COLLATE {name} = %s", ["🎁", "🐳"])[0][0]
    }
    if not statements:
        return judge("collation", "tells four-byte characters apart", is_wrong=False)
    of_database = f"ALTER DATABASE {connection.settings_dict['NAME']} COLLATE {wanted}"
    found = f"takes all four-byte characters, such as emoji, for one in {', '.join(statements)}"
    return judge("collation", found, True, statements="; ".join([of_database, *statements.values()]))


def reader() -> list[Finding]:
    if not secondary.is_configured():
        return []
    try:
        is_behind = not secondary.has_caught_up()
    except Error as error:
        return [judge("secondary", f"can't be read: {error}", True, "unreadable secondary")]
    return [judge("secondary", f"has {'not ' * is_behind}applied what the primary has", is_behind)]


def _sqlite() -> list[Finding]:
    journal, synchronous = (str(_ask(f"PRAGMA {name}")[0][0]) for name in ("journal_mode", "synchronous"))
    synchronous = SYNCHRONOUS.get(synchronous, "unknown")
    mode = settings.DATABASES["default"]["OPTIONS"].get("transaction_mode", "DEFERRED")
    return [
        judge("SQLite journal", journal, journal != "wal"),
        judge("SQLite synchronous", synchronous, synchronous not in {"FULL", "EXTRA"}),
        judge("SQLite transactions", mode, mode != "IMMEDIATE"),
    ]


def _variables() -> Variables:
    marks = ", ".join(["%s"] * len(VARIABLE_NAMES))
    rows = _ask(f"SHOW VARIABLES WHERE Variable_name IN ({marks})", VARIABLE_NAMES)
    return {str(name): str(value) for name, value in rows}


def _ask(statement: str, parameters: Sequence[str] = ()) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
