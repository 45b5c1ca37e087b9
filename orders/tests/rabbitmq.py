"""The queue of tasks as its broker, a RabbitMQ, sees it."""

from contextlib import contextmanager

import amqp
from kombu import Connection

QUEUE = "celery"


def has_worker(url: str) -> bool:
    """Whether a worker takes messages from the queue of the RabbitMQ at this address."""
    try:
        with channel_of(url) as channel:
            return int(channel.queue_declare(QUEUE, passive=True).consumer_count) > 0
    except (amqp.NotFound, OSError):
        return False


@contextmanager
def channel_of(url: str):
    """A channel of AMQP to the broker at this address. Raises OSError."""
    with Connection(url, connect_timeout=2) as connection, connection.channel() as channel:
        yield channel
