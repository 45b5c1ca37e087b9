"""State gauges of the systems beside the database: Redis, and the broker with its queues."""

import time
from collections.abc import Mapping

from kombu import Connection

from shop.celery import app
from shop.observability import gauges
from shop.observability.gauges import Source, Value
from shop.operations import broker_connections
from shop.redis import redis_client

CONNECT_SECONDS = 1.0


def register_gauges() -> None:
    gauges.register_group(
        "redis",
        {
            "firstcome_redis_up": "Whether Redis answers: 1 or 0.",
            "firstcome_redis_ping_seconds": "How long Redis took to answer a ping.",
        },
        redis_state,
        source=Source.REDIS,
        otherwise={"firstcome_redis_up": 0},
    )
    gauges.register(
        "firstcome_broker_up",
        help="Whether the broker accepts connections: 1 or 0.",
        read=broker_is_up,
        source=Source.BROKER,
        otherwise=0,
    )
    gauges.register(
        "firstcome_broker_queue_messages",
        help="Messages that wait in a queue of the broker for a worker.",
        read=queue_depths,
        label="queue",
        source=Source.BROKER,
    )


def redis_state() -> Mapping[str, Value]:
    began_at = time.perf_counter()
    redis_client.client().ping()
    return {"firstcome_redis_up": 1, "firstcome_redis_ping_seconds": time.perf_counter() - began_at}


def broker_is_up() -> float:
    with broker_connections.connected(within_seconds=CONNECT_SECONDS):
        return 1


def queue_depths() -> Mapping[str, float]:
    with broker_connections.connected(within_seconds=CONNECT_SECONDS) as broker:
        return {queue: _depth(broker, queue) for queue in app.amqp.queues}


def _depth(broker: Connection, queue: str) -> int:
    """How many messages wait in the queue; 0 if no worker has created it yet, or Redis has dropped it."""
    with broker.channel() as channel:
        try:
            return int(channel.queue_declare(queue, passive=True).message_count)
        except broker.channel_errors:
            return 0
