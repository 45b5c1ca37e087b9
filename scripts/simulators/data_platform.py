"""The data platform simulator: takes events, keeps each id once, and fails or refuses as its options say.

python -m scripts.simulators.data_platform --port 8002 --book var/data_platform.sqlite3 --failure-rate 0
"""

import os
import random
from argparse import Namespace
from collections.abc import Sequence
from typing import Annotated, Any

import orjson
from pydantic import Field
from starlette.requests import Request

from scripts.simulators import books, process, signatures
from scripts.simulators.books import Book, Row, now, transaction
from scripts.simulators.process import Answer, Instant, Refused, Routes, Text

MOST_EVENTS = 500
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    occurred_at TEXT NOT NULL, order_id TEXT, data BLOB NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0, received_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_order ON events (order_id);
CREATE INDEX IF NOT EXISTS events_of_type ON events (type);
"""


class Event(process.Body):
    """An event as it was sent."""

    id: Text
    type: Text
    occurred_at: Instant
    data: dict[str, Any]


class Batch(process.Body):
    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)]


def routes(book: Book, options: Namespace, *, secret: str) -> Routes:
    """Every path and method of the data platform, with the senders' secret, if they have one."""

    async def accept(request: Request) -> Answer:
        """Store one event, or a batch in its order; where anything is wrong nothing is stored.

        `accepted` counts the events that are new, `repeated` those that came before.
        """
        body = await request.body()
        signature = request.headers.get(signatures.HEADER, "")
        if secret and not signatures.is_valid(secret, body, signature):
            raise Refused(401, "signature_invalid", f"{signatures.HEADER} is missing, wrong, or too old.")
        fields = process.parsed(body)
        is_batch = isinstance(fields, dict) and "events" in fields
        sent = process.checked(fields, Batch).events if is_batch else [process.checked(fields, Event)]
        for event in sent:
            if event.type in options.refuse_type:
                detail = f"Event {event.id} is of the type {event.type}, which is not taken here."
                raise Refused(422, "type_refused", detail, event=event.id)
        if random.random() < options.failure_rate:
            raise Refused(500, "data_platform_error", "The data platform failed; send it again.")
        with transaction(book):
            repeated = sum(_store(book, event) for event in sent)
        return Answer(202, {"accepted": len(sent) - repeated, "repeated": repeated})

    async def summary(request: Request) -> Answer:
        """How many events are stored, and how many came again."""
        statement = "SELECT count(*) AS events, coalesce(sum(repeats), 0) AS repeated FROM events"
        return Answer(200, dict(book.execute(statement).fetchone()))

    list_events = books.listing(book, "events", {"order": "order_id = ?", "type": "type = ?"}, as_json)
    return {"GET /events": list_events, "POST /events": accept, "GET /summary": summary}


def _store(book: Book, event: Event) -> bool:
    """Store the event, or count a repeat, which changes nothing of the first; whether it came before."""
    order = None if event.data.get("order") is None else str(event.data["order"])
    stored = book.execute(
        "INSERT INTO events (id, type, occurred_at, order_id, data, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET repeats = repeats + 1 RETURNING repeats",
        [event.id, event.type, event.occurred_at, order, orjson.dumps(event.data), now()],
    ).fetchall()
    return bool(stored[0]["repeats"])


def as_json(row: Row) -> dict[str, Any]:
    """The event as it was sent, and when it came."""
    fields = {name: row[name] for name in ("id", "type", "occurred_at")}
    return {**fields, "data": orjson.loads(row["data"]), "received_at": row["received_at"]}


def build(words: Sequence[str] | None = None) -> tuple[process.Server, Namespace]:
    """The server that these words of the command line ask for, and they themselves."""
    parser = process.arguments("data_platform", default_port=8002)
    means = "the share of requests that meet an HTTP 500 (DATA_PLATFORM_FAILURE_RATE, else 0)"
    usual = os.environ.get("DATA_PLATFORM_FAILURE_RATE", "0")
    parser.add_argument("--failure-rate", type=process.number(most=1), default=usual, help=means)
    means = "a type of event that is refused for good with an HTTP 422; may be given several times"
    parser.add_argument("--refuse-type", action="append", default=[], metavar="TYPE", help=means)
    asked = parser.parse_args(words)
    book = books.open_book("data_platform", asked.book, SCHEMA)
    paths = routes(book, asked, secret=os.environ.get("EVENT_SECRET", ""))
    return process.Server("data_platform", paths, book), asked


if __name__ == "__main__":
    process.main(build)
