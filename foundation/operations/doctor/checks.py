"""The doctor's checks: how the processes are started, the database, Redis, the broker, and the laws' audits.

Processes use the database's clock, and refuse to start if the host's differs too much. Redis only
accelerates, but must not evict some keys; the broker should keep tasks, and deliver each to one worker at a
time.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from celery import current_app
from django.conf import settings
from django.db import Error, connection
from kombu import Connection
from redis import Redis
from redis.exceptions import RedisError

from foundation import clock, key_strength
from foundation.db import bulk_sql, secondary
from foundation.models import AuditState, LawStatus
from foundation.operations import system_state
from foundation.operations.audits.checks import is_ahead
from foundation.operations.doctor.findings import Finding, judge
from foundation.redis import redis_client

Variables = Mapping[str, str]
Findings = Iterator[Finding]
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
OLDEST_MARIADB = (10, 11)
OLDEST_MYSQL = (8, 4)
# A worker's threads, beat, threads that check readiness or run tasks while the broker is unavailable,
# commands.
BACKGROUND_CONNECTIONS = 80
CONNECT_TIMEOUT_SECONDS = 2.0
OLDEST_REDIS = (7, 2)  # Of Valkey too
UNKNOWN = "unknown: CONFIG GET is refused"
SHORTEST_LATENESS = timedelta(minutes=10)


def examine() -> Findings:
    """All findings, good and bad; a system that can't be reached is a finding too. May end with `Error`."""
    for system in (start, database, redis, broker, audits):
        yield from system()


def start() -> Findings:
    debug = settings.DEBUG
    hosts = settings.ALLOWED_HOSTS
    proxies = settings.TRUSTED_PROXIES
    private = settings.WEBHOOK_PRIVATE_ADDRESSES
    of_events = settings.EVENT_SECRET
    webhook = f"WEBHOOK_SECRET_{settings.PAYMENT_GATEWAY.upper()}"
    of_webhooks = getattr(settings, webhook)
    is_sent = bool(settings.DATA_PLATFORM_URL)
    yield from [
        judge("DEBUG", _on(debug), debug),
        *_keys(),
        judge("EVENT_SECRET", "set" if of_events else "empty", is_sent and not (of_events or debug)),
        judge(webhook, "set" if of_webhooks else "empty", not of_webhooks, "webhook secret"),
        judge("ALLOWED_HOSTS", ", ".join(hosts), "*" in hosts),
        judge("TRUSTED_PROXIES", proxies, settings.HTTPS and proxies < 1),
        judge("DEMO", _on(settings.DEMO), settings.DEMO and not settings.IS_MAKE_RUN),
        judge("LAB", _on(settings.LAB), settings.LAB),
        judge("WEBHOOK_PRIVATE_ADDRESSES", _on(private), private and not (debug or settings.IS_MAKE_RUN)),
        migrations(),
        *clocks(),
    ]


def _keys() -> Findings:
    """Whether the keys can be guessed; which key signs tokens, and which others are valid."""
    key = settings.SECRET_KEY
    former = len(settings.SECRET_KEY_FALLBACKS)
    weakness = key_strength.weakness(key)
    found = f"{len(key)} characters" + f", and {former} former valid too" * bool(former)
    yield judge("SECRET_KEY", weakness or found, bool(weakness))
    name = "TOKEN_SIGNING_KEYS"
    signing = settings.TOKEN_SIGNING_KEYS
    fewest = key_strength.FEWEST_DISTINCT_CHARACTERS
    if weak := [key_id for key_id, key in signing if key_id and len(set(key)) < fewest]:
        yield judge(name, f"guessable: {', '.join(weak)}", True, "guessable token key")
        return
    first, *others = (key_id or "SECRET_KEY" for key_id, _ in signing)
    found = f"{first} signs" + (f"; also valid: {', '.join(others)}" if others else "")
    yield judge(name, found, first == "SECRET_KEY")


def migrations() -> Finding:
    try:
        pending = system_state.pending_migrations()
    except Error as error:
        return judge("migrations", f"can't be read: {error}", True, "unreadable migrations")
    found = f"{len(pending)} pending: {', '.join(pending[:5])}" if pending else "all applied"
    return judge("migrations", found, bool(pending))


def _on(value: bool) -> str:
    return "on" if value else "off"


def clocks() -> Findings:
    """How far servers' clocks differ from the host's; one that can't be reached has its own findings."""
    if connection.vendor == "mysql":
        with suppress(Error):
            # The measurement that the processes themselves use.
            yield clock_finding("database clock", -clock.measure().host_offset_seconds)
    with suppress(RedisError):
        _redis_seconds()  # connects
        started_at = time.time()
        theirs = _redis_seconds()
        # Redis read its clock half a round trip before the reply.
        yield clock_finding("Redis clock", theirs - (started_at + time.time()) / 2)


def clock_finding(check: str, ahead_seconds: float) -> Finding:
    """The finding for a server whose clock is this far ahead of the host's."""
    skew = abs(ahead_seconds)
    limit = settings.CLOCK_SKEW_SECONDS
    problem = "clock" if skew > limit else "clock, slightly"
    return judge(check, f"{ahead_seconds:+.3f} s from this machine's", skew > limit / 2, problem)


def _redis_seconds() -> float:
    seconds, microseconds = redis_client.client().time()
    return float(seconds) + float(microseconds) / 1_000_000


def database() -> Findings:
    try:
        if connection.vendor != "mysql":
            return
        variables = {str(name): str(value) for name, value in bulk_sql.fetch("SHOW VARIABLES")}
        yield from of_server(variables)
        [[index_bytes]] = bulk_sql.fetch(
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
    isolation = variables.get("transaction_isolation") or variables.get("tx_isolation", "unknown")
    flush = variables["innodb_flush_log_at_trx_commit"]
    mode = variables["sql_mode"]
    binlog = variables.get("sync_binlog", "0") if variables.get("log_bin") == "ON" else ""
    checked = variables.get("check_constraint_checks", "ON")
    engine = variables["default_storage_engine"]
    constraints = f"check_constraint_checks={checked}, engine {engine}"
    # Every web thread holds a connection: with too few, requests are refused under load.
    allowed = int(variables["max_connections"])
    allowed = min(allowed, int(variables.get("max_user_connections", "0")) or allowed)
    needed = settings.WEB_WORKERS * settings.WEB_THREADS + BACKGROUND_CONNECTIONS
    found = f"{allowed} for {settings.WEB_WORKERS} × {settings.WEB_THREADS} web threads and the rest"
    return [
        judge("database version", version, _release(version) < oldest, oldest=".".join(map(str, oldest))),
        judge("isolation level", isolation, isolation != "READ-COMMITTED"),
        judge("innodb_flush_log_at_trx_commit", flush, flush != "1"),
        judge("sync_binlog", binlog or "no binary log is kept", binlog not in ("", "1")),
        judge("sql_mode", mode or "empty", not STRICT_MODES & set(mode.split(","))),
        judge("constraints", constraints, (checked, engine) != ("ON", "InnoDB")),
        judge("max_connections", found, allowed < needed, needed=needed),
    ]


def _release(version: str) -> tuple[int, ...]:
    """(10, 11) of 10.11.6-MariaDB-0+deb12u1."""
    return tuple(map(int, version.split(".")[:2]))


def buffer_pool(variables: Variables, index_bytes: int) -> Finding:
    """Codes, accounts and keys are inserted at random places of their indexes, which should fit in memory."""
    pool = int(variables["innodb_buffer_pool_size"])
    found = f"{pool // 2**20} MiB for {index_bytes // 2**20} MiB of indexes"
    return judge("innodb_buffer_pool_size", found, pool < index_bytes)


def collation(variables: Variables) -> Finding:
    """Whether names with different four-byte characters differ."""
    columns = bulk_sql.fetch(
        "SELECT table_name, column_name, column_type, is_nullable, collation_name"
        " FROM information_schema.columns WHERE table_schema = DATABASE() AND collation_name IS NOT NULL"
    )
    wanted = COLLATIONS["mariadb" in variables["version"].lower()]
    statements = {
        table: f"ALTER TABLE {table} MODIFY {column} {kind} COLLATE {wanted}"
        f" {'NULL' if is_nullable == 'YES' else 'NOT NULL'}"
        for table, column, kind, is_nullable, name in columns
        if NAMES.get(table) == column and bulk_sql.fetch(f"SELECT %s COLLATE {name} = %s", ["🎁", "🐳"])[0][0]
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


def redis() -> Findings:
    """The findings about the Redis of locks, claims and limits."""
    try:
        client = redis_client.client()
        said = client.info("server")
        # Valkey calls itself a Redis 7.2.4 besides.
        version = str(said.get("valkey_version", said["redis_version"]))
        yield judge("Redis version", version, _release(version) < OLDEST_REDIS and not settings.DEBUG)
        yield _eviction(client, "Redis eviction")
    except RedisError as error:
        is_needed = settings.INVENTORY_STRATEGY == "redis_gate"
        yield judge("Redis", f"can't be reached: {error}", True, "Redis for orders" if is_needed else "")


def broker() -> Findings:
    url = str(settings.CELERY_BROKER_URL)
    try:
        with system_state.connected_to_broker(within_seconds=CONNECT_TIMEOUT_SECONDS) as opened:
            yield judge("broker", opened.transport.driver_type, is_wrong=False)
            if url.startswith("redis"):
                channel: Any = opened.default_channel
                yield _eviction(channel.client, "broker eviction")
                yield _persistence(channel.client)
            if opened.transport.driver_type == "amqp":
                kind = str(current_app.conf.get("task_default_queue_type") or "classic")
                refused = _refused_queues(opened) if kind == "quorum" else []
                are_confirmed = bool(settings.CELERY_BROKER_TRANSPORT_OPTIONS.get("confirm_publish"))
                yield from queues(
                    kind, nodes=len(url.split(";")), refused=refused, are_confirmed=are_confirmed
                )
    except Exception as error:
        # Each transport has its own errors, without a common base class in kombu.
        yield judge("broker", f"can't be reached: {error}", is_wrong=True)


def queues(kind: str, *, nodes: int, refused: Sequence[str], are_confirmed: bool) -> list[Finding]:
    """The findings about queues of RabbitMQ: `refused` are those of another type than `kind`.

    A broker of one node with classic queues has none. Most nodes have a message when it is confirmed.
    """
    check = "broker queues"
    found = f"{kind}, with {nodes} nodes in BROKER_URL"
    if kind != "quorum":
        return [judge(check, found, True, "classic queues")] if nodes > 1 else []
    confirmations = "awaited" if are_confirmed else "not awaited"
    of_type = judge(check, found, nodes < 3, "few nodes")
    if refused:
        of_type = judge(check, f"not quorum queues: {', '.join(refused)}", is_wrong=True)
    return [of_type, judge("broker confirmations", confirmations, not are_confirmed)]


def _refused_queues(opened: Connection) -> list[str]:
    """The queues that exist with other arguments than ours; declared as workers declare them."""
    refused = []
    for queue in current_app.amqp.queues.values():
        try:
            with opened.channel() as channel:
                queue(channel).queue_declare()
        except opened.channel_errors:
            refused.append(str(queue.name))
    return refused


def _eviction(client: Redis, check: str) -> Finding:
    """Whether a full Redis refuses writes, or evicts keys."""
    policy = _read_setting(client, "maxmemory-policy")
    return judge(check, policy, policy != "noeviction", "unknown eviction" if policy == UNKNOWN else "")


def _persistence(client: Redis) -> Finding:
    """Whether a restart loses queued tasks, whose work the sweeps find later."""
    check = "broker persistence"
    appended = _read_setting(client, "appendonly")
    saved = _read_setting(client, "save")
    if UNKNOWN in (appended, saved):
        return judge(check, UNKNOWN, True, "unknown persistence")
    found = "append-only file" if appended == "yes" else f"snapshots: {saved or 'none'}"
    return judge(check, found, appended != "yes" and not saved)


def _read_setting(client: Redis, name: str) -> str:
    """One setting of the server; `UNKNOWN` if CONFIG GET is refused."""
    try:
        values: dict[str, str] = client.config_get(name)  # type: ignore[assignment]
    except RedisError:
        return UNKNOWN
    value = values.get(name, UNKNOWN)
    return value.decode() if isinstance(value, bytes) else value


def audits() -> Findings:
    """Whether the laws hold, and whether their audits run."""
    statuses = list(LawStatus.objects.order_by("law"))
    broken = [status.law for status in statuses if not status.holds]
    unchecked = [f"{status.law} ({status.not_checked})" for status in statuses if status.not_checked]
    if broken:
        yield judge("laws", f"broken: {', '.join(broken)}", is_wrong=True)
    elif unchecked:
        yield judge("laws", f"not checked: {', '.join(unchecked)}", is_wrong=True, problem="unchecked laws")
    else:
        yield judge("laws", f"{len(statuses)} hold" if statuses else "not audited yet", is_wrong=False)
    yield _schedule(AuditState.objects.first() or AuditState())


def _schedule(state: AuditState) -> Finding:
    check = "scheduled audit"
    interval = settings.AUDIT_SECONDS
    now = clock.now()
    if not interval:
        return judge(check, "off", is_wrong=True, problem="no schedule")
    for name, at, longest in (
        # It may be late by a few intervals: the audit before it, or a worker that was replaced.
        ("audit", state.audited_at, max(SHORTEST_LATENESS, timedelta(seconds=3 * interval))),
        ("full audit", state.full_at, timedelta(hours=36)),
    ):
        if at is None or now - at > longest or is_ahead(at, now=now):
            found = "none has ended yet" if at is None else f"the last one began at {at:%Y-%m-%d %H:%M} UTC"
            return judge(check, f"{name}: {found}", is_wrong=True)
    return judge(check, f"every {interval:g} s", is_wrong=False)
