"""The state of the systems beside a process: the database, Redis, and the broker with its queues."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from celery import current_app
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from kombu import Connection
from kombu.exceptions import OperationalError

from foundation.db import server_state
from foundation.observability import gauges
from foundation.observability.gauges import Source, Value
from foundation.redis import redis_client

CONNECT_SECONDS = 1.0
REDIS_PROBE = "firstcome:probe"
PROBE_SECONDS = 10


def register_gauges() -> None:
    gauges.register(
        "firstcome_database_up", "Whether the database answers: 1 or 0.", server_state.is_up, otherwise=0
    )
    gauges.register_group(
        "redis",
        {
            "firstcome_redis_up": "Whether Redis answers and takes writes: 1 or 0.",
            "firstcome_redis_ping_seconds": "How long Redis took to answer a ping.",
        },
        redis_state,
        source=Source.REDIS,
        otherwise={"firstcome_redis_up": 0},
    )
    gauges.register(
        "firstcome_broker_up",
        "Whether the broker accepts connections: 1 or 0.",
        is_broker_up,
        source=Source.BROKER,
        otherwise=0,
    )
    gauges.register(
        "firstcome_broker_queue_messages",
        "Messages that wait in a queue of the broker for a worker.",
        queue_depths,
        label="queue",
        source=Source.BROKER,
    )


def pending_migrations() -> list[str]:
    executor = MigrationExecutor(connection)
    return [str(migration) for migration, _ in executor.migration_plan(executor.loader.graph.leaf_nodes())]


def is_redis_up() -> bool:
    """True if Redis takes writes: a full one, or a replica, answers each ping. Raises redis-py's errors."""
    return bool(redis_client.client().set(REDIS_PROBE, "", ex=PROBE_SECONDS))


def redis_state() -> Mapping[str, Value]:
    began_at = time.perf_counter()
    redis_client.client().ping()
    seconds = time.perf_counter() - began_at
    return {"firstcome_redis_up": int(is_redis_up()), "firstcome_redis_ping_seconds": seconds}


@contextmanager
def connected_to_broker(*, within_seconds: float = CONNECT_SECONDS) -> Iterator[Connection]:
    """A connection to the first node that answers; each gets an equal share of the time.

    Raises kombu's `OperationalError` when none does. kombu would spend all of the time on a node that is
    frozen.
    """
    urls = str(current_app.conf.broker_write_url).split(";")
    share = within_seconds / len(urls)
    deadline = time.monotonic() + within_seconds
    for position, url in enumerate(urls, 1):
        with current_app.connection_for_write(url=url, connect_timeout=share) as broker:
            try:
                broker.ensure_connection(max_retries=0, timeout=share)
            except (OperationalError, OSError):
                if position == len(urls) or time.monotonic() > deadline:
                    raise
                continue
            yield broker
            return


def is_broker_up() -> bool:
    with connected_to_broker():
        return True


def queue_depths() -> Mapping[str, float]:
    """How many messages wait in each queue; 0 if no worker has created it yet, or Redis has dropped it."""
    depths = dict.fromkeys(current_app.amqp.queues, 0)
    with connected_to_broker() as broker:
        for queue in depths:
            with broker.channel() as channel, suppress(*broker.channel_errors):
                depths[queue] = int(channel.queue_declare(queue, passive=True).message_count)
    return depths
