"""The data platform simulator: takes events, keeps each id once, and fails or refuses as it is told to.

python -m scripts.simulators.data_platform --port 8002 --book var/data_platform.sqlite3 --failure-rate 0
"""

import os
import random
from collections.abc import Collection, Sequence
from typing import Annotated, Any

import orjson
from pydantic import Field
from starlette.requests import Request

from scripts.simulators import books, http, process, signatures
from scripts.simulators.books import Book, Row, now, transaction
from scripts.simulators.http import Answer, Instant, Refused, Routes, Text, application

MOST_EVENTS = 500
LARGEST_BODY = 8 * 1024 * 1024
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    type TEXT NOT NULL,
    occurred_at TEXT NOT NULL,
    order_id TEXT,
    data BLOB NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0,
    received_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_order ON events (order_id);
CREATE INDEX IF NOT EXISTS events_of_type ON events (type);
"""


class Event(http.Body):
    """What happened, as it was sent."""

    id: Text
    type: Text
    occurred_at: Instant
    data: dict[str, Any]

    @property
    def order(self) -> str | None:
        """The order that it tells of."""
        order = self.data.get("order")
        return None if order is None else str(order)


class Batch(http.Body):
    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)]


class DataPlatform:
    """The open book, who may send, the share of requests that meet an HTTP 500, and what is never taken."""

    def __init__(self, book: Book, *, secret: str, failure_rate: float, refused_types: Collection[str]):
        self.book = book
        self.secret = secret
        self.failure_rate = failure_rate
        self.refused_types = refused_types

    def routes(self) -> Routes:
        """Every path and method of the data platform."""
        return {
            "/events": {"GET": self.list_events, "POST": self.accept},
            "/summary": {"GET": self.summary},
        }

    async def accept(self, request: Request) -> Answer:
        """Store one event, or a batch in its order; where anything is wrong nothing is stored.

        `accepted` counts the events that are new, `repeated` those that came before.
        """
        await self._require_signature(request)
        fields = await http.read_object(request)
        sent = http.checked(fields, Batch).events if "events" in fields else [http.checked(fields, Event)]
        for event in sent:
            if event.type in self.refused_types:
                detail = f"Event {event.id} is of the type {event.type}, which is not taken here."
                raise Refused(422, "type_refused", detail, event=event.id)
        if random.random() < self.failure_rate:
            raise Refused(500, "data_platform_error", "The data platform failed; send it again.")
        repeated = store(self.book, sent)
        return Answer(202, {"accepted": len(sent) - repeated, "repeated": repeated})

    async def _require_signature(self, request: Request) -> None:
        text = request.headers.get(signatures.HEADER, "")
        if self.secret and not signatures.is_valid(self.secret, await request.body(), text):
            raise Refused(401, "signature_invalid", f"{signatures.HEADER} is missing, wrong, or too old.")

    async def list_events(self, request: Request) -> Answer:
        """The events of an order, of a type, or all."""
        filters = {"order": "order_id", "type": "type"}
        return books.listed(self.book, request, table="events", filters=filters, as_json=as_json)

    async def summary(self, request: Request) -> Answer:
        """How many events are stored, and how many came again."""
        row = self.book.execute("SELECT count(*), coalesce(sum(repeats), 0) FROM events").fetchone()
        return Answer(200, {"events": row[0], "repeated": row[1]})


def store(book: Book, events: Sequence[Event]) -> int:
    """Store them all in this order, or count repeats; return how many came before. Their first data stays."""
    with transaction(book):
        return sum(_store(book, event) for event in events)


def _store(book: Book, event: Event) -> bool:
    stored = book.execute(
        "INSERT INTO events (id, type, occurred_at, order_id, data, received_at)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (id) DO UPDATE SET repeats = repeats + 1 RETURNING repeats",
        [event.id, event.type, event.occurred_at, event.order, orjson.dumps(event.data), now()],
    ).fetchall()
    return bool(stored[0]["repeats"])


def as_json(row: Row) -> dict[str, Any]:
    """The event as it was sent, and when it came."""
    fields = {name: row[name] for name in ("id", "type", "occurred_at")}
    return {**fields, "data": orjson.loads(row["data"]), "received_at": row["received_at"]}


def main() -> None:
    """Run the data platform until it is told to end."""
    parser = process.arguments("data_platform", default_port=8002)
    variable, means = "DATA_PLATFORM_FAILURE_RATE", "the share of requests that meet an HTTP 500"
    process.add_number(parser, "--failure-rate", variable, "0", most=1, means=means)
    parser.add_argument(
        "--refuse-type",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type of event that is refused for good with an HTTP 422; may be given several times",
    )
    asked = parser.parse_args()
    book = process.open_book("data_platform", asked.book, SCHEMA)
    platform = DataPlatform(
        book,
        secret=os.environ.get("EVENT_SECRET", ""),
        failure_rate=asked.failure_rate,
        refused_types=asked.refuse_type,
    )
    app = application(platform.routes(), largest_body=LARGEST_BODY)
    process.serve(app, name="data_platform", asked=asked, book=book)


if __name__ == "__main__":
    main()
