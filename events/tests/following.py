"""Readers of the event feed, for tests: they follow cursors, as a program does."""

from typing import Any
from uuid import UUID

import orjson
from django.contrib.auth.models import User
from uuid_utils.compat import uuid7

from accounts.tests.clients import client_of
from events.feed import recording, sequencing
from events.feed.reading import READ_EVENTS
from events.feed.recording import NewEvent
from foundation import clock
from foundation.db import transactions
from foundation.tests.factories import staff_member


def reader() -> User:
    """An account of staff that may read events."""
    return staff_member(READ_EVENTS)


def record(*names: str, type="order.paid", order_id: UUID | None = None):
    """Record an event for each of these names, of the order if there is one, in a transaction."""
    data = [orjson.dumps({"name": name}).decode() for name in names]
    made = [NewEvent(uuid7(), type, order_id, clock.now(), one) for one in data]
    transactions.run(lambda: recording.record_all(made), transactions.ONCE)


def publish(*names: str, type="order.paid"):
    """Record them, and give all that is recorded its position in the feed."""
    record(*names, type=type)
    sequencing.sequence()


def names_of(body: dict[str, Any]) -> list[str]:
    return [event["data"]["name"] for event in body["results"]]


class Follower:
    """Follows the feed by HTTP: keeps the names of all events that it got, in order, and its cursor."""

    def __init__(self, account, *, limit=200):
        self._api, self._limit = client_of(account), limit
        self.cursor, self.names = "", list[str]()

    def read(self) -> int:
        """Read one page; how many events it had."""
        answer = self._api.get(f"/events?limit={self._limit}&after={self.cursor}")
        assert answer.status_code == 200, answer.json()
        body = answer.json()
        self.names += names_of(body)
        self.cursor = body["next"]
        return len(body["results"])

    def read_all(self) -> list[str]:
        """Read until a page is empty."""
        while self.read():
            pass
        return self.names
