"""A bridge: publishes each event of a shop to RabbitMQ, at least once.

    SHOP=https://shop.example KEY=fc_key_… BROKER=amqp://… python bridge.py cursor.sqlite3

The key has the scope `events:read`. The cursor is written after the broker has confirmed the messages. A
crash in between publishes them again, with the same message ids, by which consumers drop repeats. One process
runs at a time, so that messages come in the shop's order.
"""

import os
import sqlite3
import sys
import time
from contextlib import closing

from kombu import Connection, Exchange, Producer, Queue
from kombu.exceptions import KombuError

from firstcome_client import ApiKey, NoAnswerError, ProblemError, Shop
from firstcome_client.generated.models import FeedEventBody

EXCHANGE = Exchange("firstcome", type="topic", durable=True)
# A message that no queue takes is lost: this one takes all, until consumers have queues of their own.
QUEUE = Queue(
    "firstcome.events", EXCHANGE, routing_key="#", durable=True, queue_arguments={"x-queue-type": "quorum"}
)
CONFIRM_SECONDS = 30
PAUSE_SECONDS = 5


class Cursor:
    """Where the bridge is in the shop's events. Any database of DB-API 2 does: change the connection."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path, timeout=60)
        with self._database:
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS bridge_cursor (id INTEGER PRIMARY KEY, value TEXT NOT NULL)"
            )
            self._database.execute("INSERT OR IGNORE INTO bridge_cursor VALUES (1, '')")

    def read(self) -> str:
        [[value]] = self._database.execute("SELECT value FROM bridge_cursor WHERE id = 1")
        return str(value)

    def write(self, value: str) -> None:
        with self._database:
            self._database.execute("UPDATE bridge_cursor SET value = ? WHERE id = 1", [value])

    def close(self) -> None:
        self._database.close()


def run(shop: Shop, broker_url: str, cursor: Cursor) -> None:
    """Publish without end; a broker or a shop that is away is tried again."""
    while True:
        # With confirms `publish` returns when the message is safe, and raises when the broker refuses it.
        broker = Connection(broker_url, connect_timeout=5, transport_options={"confirm_publish": True})
        try:
            with broker:
                forward(shop, broker, cursor)
        except ProblemError as refused:
            is_of_cursor = any(error.field == "after" for error in refused.errors)
            if is_of_cursor or refused.code == "cursor_expired":
                begin_again(refused, cursor)
            elif refused.status < 500 and refused.status != 429:
                raise
            else:
                say(refused)
        except (KombuError, NoAnswerError, *broker.recoverable_connection_errors) as error:
            say(error)


def forward(shop: Shop, broker: Connection, cursor: Cursor) -> None:
    producer = broker.Producer(exchange=EXCHANGE)
    for page in shop.follow_events(after=cursor.read()):
        for event in page.results:
            publish(producer, event)
        cursor.write(page.next_)


def publish(producer: Producer, event: FeedEventBody) -> None:
    """Return once the broker has the message on its disk."""
    # Kafka: produce(topic, key=the order's id, …) with acks=all, and flush() before the cursor is written.
    producer.publish(
        event.to_dict(),
        routing_key=event.type_,
        delivery_mode="persistent",
        message_id=str(event.id),
        type=event.type_,
        timestamp=int(event.at.timestamp()),
        declare=[QUEUE],
        confirm_timeout=CONFIRM_SECONDS,
    )


def begin_again(refused: ProblemError, cursor: Cursor) -> None:
    """The shop can't go on from the cursor: consumers get what it still has, and know most of it."""
    if restored_at := refused.body.get("restored_at"):
        why = f"the shop was restored from a backup at {restored_at}, and has forgotten its last events"
    elif refused.status == 400:
        why = f"the shop does not know the cursor {cursor.read()!r}"
    else:
        why = "the shop has deleted events after the cursor, which are lost here"
    print(f"bridge: {why}. Compare your copies with the shop. Beginning with its oldest event.", flush=True)
    cursor.write("")


def say(error: Exception) -> None:
    print(f"bridge: {error!r}; trying again in {PAUSE_SECONDS} s", flush=True)
    time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    with (
        closing(Cursor(sys.argv[1])) as saved,
        Shop(os.environ["SHOP"], ApiKey(os.environ["KEY"])) as followed,
    ):
        run(followed, os.environ["BROKER"], saved)
