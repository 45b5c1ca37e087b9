"""Infrastructure: the shop's processes, their threads and batches, and the servers that they need."""

from scripts.monitoring.expressions import (
    highest,
    mean,
    observations,
    quantile,
    rate,
    select,
    state,
    state_counter,
    total,
    worst,
)
from scripts.monitoring.panels import GREEN, RED, YELLOW, Dashboard, Panel, Query, Row, Stat

HEALTH = {0.0: RED, 1.0: GREEN}
LAG, AUDIT_LAG = {10.0: YELLOW, 30.0: RED}, {1800.0: YELLOW, 3600.0: RED}
"""Seconds of silence: of a process that ticks every few, and of the audit."""


def dashboard() -> Dashboard:
    return Dashboard(
        name="infrastructure",
        title="Infrastructure",
        about="Processes, the database, Redis and the broker: what is busy, waits or is away.",
        rows=(
            _now(),
            _processes(),
            _threads(),
            _batches(),
            _database(),
            _database_server(),
            _redis(),
            _broker(),
        ),
    )


def _now() -> Row:
    laws = Stat(
        title="Laws that hold",
        about="Whether each law of the audit held at the last check: 1 or 0.",
        queries=[Query(f"min({worst('firstcome_law_holds')})", "laws")],
        thresholds=HEALTH,
        width=3,
    )
    processes = Stat(
        title="Web processes",
        about="Processes that answer requests, in all containers.",
        queries=[Query(total("firstcome_processes", where={"job": "web"}), "processes")],
        width=3,
    )
    checked = f"max({state('firstcome_law_checked_age_seconds')})"
    beat, issuer = state("firstcome_beat_last_tick_seconds"), state("firstcome_issuer_last_pass_seconds")
    return Row(
        "Now",
        (
            laws,
            _age("Oldest answer of the audit", "the law checked longest ago was checked", checked, AUDIT_LAG),
            processes,
            _health("Database"),
            _health("Redis"),
            _health("Broker"),
            _age("Beat's last tick", "beat last looked at its schedule", beat, LAG),
            _age("Issuer's last pass", "an issuer last looked for queues", issuer, LAG),
        ),
    )


def _health(server: str) -> Stat:
    return Stat(
        title=server,
        about=f"Whether the {server} of the shop answers: 1 or 0.",
        queries=[Query(worst(f"firstcome_{server.lower()}_up"), "up")],
        thresholds=HEALTH,
        width=3,
    )


def _age(title: str, what: str, expression: str, thresholds: dict[float, str]) -> Stat:
    return Stat(
        title=title,
        about=f"How long ago {what}.",
        queries=[Query(expression, "age")],
        unit="s",
        thresholds=thresholds,
        width=3,
    )


def _processes() -> Row:
    return Row(
        "Processes",
        (
            Panel(
                title="Targets",
                about="How many targets of each job answer Prometheus.",
                queries=[Query(total("up", "job"), "{{job}}")],
            ),
            Panel(
                title="Processor",
                about="Processors that the processes of each job use.",
                queries=[Query(rate("firstcome_processor_seconds_total", "job"), "{{job}}")],
                is_stacked=True,
            ),
            Panel(
                title="Memory",
                about="Resident memory of the processes of each job.",
                queries=[Query(total("firstcome_resident_bytes", "job"), "{{job}}")],
                unit="bytes",
                is_stacked=True,
            ),
            *_garbage_collections(),
            Panel(
                title="Open connections",
                about="Connections of clients to the web processes.",
                queries=[Query(total("firstcome_connections_open"), "connections")],
            ),
            Panel(
                title="Clock against the database's",
                about="How far the clock of each process is ahead of the database's, forward or back.",
                queries=[
                    Query(
                        highest("firstcome_clock_offset_seconds", "job", "instance"), "{{job}} {{instance}}"
                    )
                ],
                unit="s",
                least=None,
                thresholds={1: YELLOW, 2: RED},
            ),
        ),
    )


def _garbage_collections() -> tuple[Panel, ...]:
    return (
        Panel(
            title="Pauses of the garbage collector",
            about="The longest pauses: 99 % of the collections are over within this time.",
            queries=[
                Query(
                    quantile(0.99, "firstcome_gc_pause_seconds", "job", "generation"),
                    "{{job}} generation {{generation}}",
                )
            ],
            unit="s",
            thresholds={0.1: YELLOW, 0.5: RED},
        ),
        Panel(
            title="Share of time in the garbage collector",
            about="Seconds of pauses in each second, of all processes of a job together.",
            queries=[Query(_gc_share(), "{{job}}")],
            unit="percentunit",
        ),
    )


def _threads() -> Row:
    return Row(
        "Threads",
        (
            Panel(
                title="Busy threads",
                about="Threads of each pool that run something.",
                queries=[Query(total("firstcome_pool_busy", "job", "pool"), "{{job}}: {{pool}}")],
            ),
            Panel(
                title="Share of busy threads",
                about="Busy threads against the size of their pool: at 1 the next job waits.",
                queries=[Query(_busy_share(), "{{job}}: {{pool}}")],
                unit="percentunit",
                thresholds={0.8: YELLOW, 0.9: RED},
            ),
            Panel(
                title="Waiting jobs",
                about="Jobs that wait for a thread of their pool.",
                queries=[Query(total("firstcome_pool_waiting", "job", "pool"), "{{job}}: {{pool}}")],
            ),
        ),
    )


def _batches() -> Row:
    return Row(
        "Batches",
        (
            Panel(
                title="Requests in a batch",
                about="How many requests share a transaction, on average.",
                queries=[Query(mean("firstcome_batch_requests", "batcher"), "{{batcher}}")],
                width=6,
            ),
            Panel(
                title="Batches per second",
                about="Transactions of each batcher.",
                queries=[Query(observations("firstcome_batch_requests", "batcher"), "{{batcher}}")],
                unit="ops",
                width=6,
            ),
            Panel(
                title="Wait for a batch",
                about="95 % of the batches begin within this time after their first request came.",
                queries=[Query(quantile(0.95, "firstcome_batch_wait_seconds", "batcher"), "{{batcher}}")],
                unit="s",
                width=6,
            ),
            Panel(
                title="Time of a batch",
                about="95 % of the batches are decided and committed within this time.",
                queries=[Query(quantile(0.95, "firstcome_batch_seconds", "batcher"), "{{batcher}}")],
                unit="s",
                width=6,
            ),
        ),
    )


def _database() -> Row:
    return Row(
        "Database, as the shop sees it",
        (
            Panel(
                title="Connections",
                about="Threads of the server that are connected, those that run a statement, and the limit.",
                queries=[
                    Query(state("firstcome_database_threads_connected"), "connected"),
                    Query(state("firstcome_database_threads_running"), "running"),
                    Query(state("firstcome_database_max_connections"), "limit"),
                ],
            ),
            Panel(
                title="Buffer pool",
                about="The share of reads that memory answers, and of pages that wait for the disk.",
                queries=[
                    Query(state("firstcome_database_buffer_pool_hit_ratio"), "hits"),
                    Query(state("firstcome_database_buffer_pool_dirty_ratio"), "dirty"),
                ],
                unit="percentunit",
                most=1,
            ),
            *_row_locks(),
            Panel(
                title="Retried transactions",
                about="Transactions that were run again, by reason, and commits whose answer was lost.",
                queries=[
                    Query(rate("firstcome_transactions_retried_total", "reason"), "{{reason}}"),
                    Query(rate("firstcome_commits_unknown_total"), "commit unknown"),
                ],
                unit="ops",
            ),
            Panel(
                title="Blocked requests",
                about="Requests refused because another transaction kept a row of theirs locked.",
                queries=[Query(rate("firstcome_requests_blocked_total"), "blocked")],
                unit="reqps",
            ),
        ),
    )


def _row_locks() -> tuple[Panel, ...]:
    return (
        Panel(
            title="Waits for row locks",
            about="How often a second a statement waits for a row, and deadlocks among them.",
            queries=[
                Query(state_counter("firstcome_database_row_lock_waits_total"), "waits"),
                Query(state_counter("firstcome_database_deadlocks_total"), "deadlocks"),
            ],
            unit="ops",
        ),
        Panel(
            title="Time in row locks",
            about="Seconds that statements waited for rows, in each second.",
            queries=[Query(state_counter("firstcome_database_row_lock_wait_seconds_total"), "waiting")],
        ),
    )


def _database_server() -> Row:
    return Row(
        "Database server, by its exporter",
        (
            Panel(
                title="Statements per second",
                about="What the server runs, statements of the exporter included.",
                queries=[Query(_server_rate("mysql_global_status_queries"), "{{instance}}")],
                unit="ops",
            ),
            Panel(
                title="Flushes per second",
                about="Calls of fsync: each commit or group of commits needs one.",
                queries=[Query(_server_rate("mysql_global_status_innodb_data_fsyncs"), "{{instance}}")],
                unit="ops",
            ),
            Panel(
                title="Redo log",
                about="What the server writes to its log.",
                queries=[Query(_server_rate("mysql_global_status_innodb_os_log_written"), "{{instance}}")],
                unit="Bps",
            ),
        ),
    )


def _redis() -> Row:
    return Row(
        "Redis",
        (
            Panel(
                title="Time of a ping",
                about="What a round trip to Redis takes.",
                queries=[Query(state("firstcome_redis_ping_seconds"), "ping")],
                unit="s",
                width=6,
            ),
            Panel(
                title="Memory",
                about="What Redis uses, and its limit, at which it refuses writes; 0 is no limit.",
                queries=[
                    Query(state("firstcome_redis_used_memory_bytes"), "used"),
                    Query(total("redis_memory_max_bytes", "instance"), "limit {{instance}}"),
                ],
                unit="bytes",
                width=6,
            ),
            Panel(
                title="Commands per second",
                about="What Redis runs, by its exporter.",
                queries=[Query(_server_rate("redis_commands_processed_total"), "{{instance}}")],
                unit="ops",
                width=6,
            ),
            Panel(
                title="Clients",
                about="Connections to Redis, and those that wait in a blocking command, by its exporter.",
                queries=[
                    Query(total("redis_connected_clients", "instance"), "connected {{instance}}"),
                    Query(total("redis_blocked_clients", "instance"), "blocked {{instance}}"),
                ],
                width=6,
            ),
        ),
    )


def _broker() -> Row:
    return Row(
        "Broker and sweeps",
        (
            Panel(
                title="Queued messages",
                about="Tasks in each queue of the broker that no worker has taken.",
                queries=[Query(state("firstcome_broker_queue_messages"), "{{queue}}")],
                thresholds={50: YELLOW, 100: RED},
                width=6,
            ),
            Panel(
                title="Silence of beat and issuer",
                about="How long ago beat last sent a task, and an issuer last looked at the queues.",
                queries=[
                    Query(state("firstcome_beat_last_tick_seconds"), "beat"),
                    Query(state("firstcome_issuer_last_pass_seconds"), "issuer"),
                ],
                unit="s",
                thresholds=LAG,
                width=6,
            ),
            Panel(
                title="Offenders of laws",
                about="Rows that break a law of the audit: always 0.",
                queries=[Query(state("firstcome_law_offenders"), "{{law}}")],
                thresholds={1: RED},
                width=6,
            ),
            Panel(
                title="Wrong stock",
                about="Products that hold less than nothing, or reserve more than is on hand: always 0.",
                queries=[Query(state("firstcome_stock_negative"), "products")],
                thresholds={1: RED},
                width=6,
            ),
        ),
    )


def _busy_share() -> str:
    busy, threads = (total(f"firstcome_pool_{what}", "job", "pool") for what in ("busy", "threads"))
    return f"{busy} / {threads}"


def _gc_share() -> str:
    selected = select("firstcome_gc_pause_seconds", "histogram", ("job",), suffix="_sum")
    return f"sum by (job) (rate({selected}[$__rate_interval]))"


def _server_rate(name: str) -> str:
    """A counter of an exporter."""
    return f"rate({select(name, 'counter')}[$__rate_interval])"
