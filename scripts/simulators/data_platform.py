"""The data platform simulator: takes events, keeps each id once, and fails or refuses as its options say.

It is also a receiver of webhooks to develop with: `POST /hooks` keeps the last requests as they came, and
`GET /hooks` lists them.

python -m scripts.simulators.data_platform --port 8002 --book var/data_platform.sqlite3 --failure-rate 0
"""

import os
import random
from collections import deque
from collections.abc import Sequence
from typing import Annotated

import orjson
from pydantic import Field
from starlette.requests import Request

from scripts.simulators import books, process, webhooks
from scripts.simulators.books import Row, now
from scripts.simulators.process import Answer, Instant, Json, Refused, Served, Text

MOST_EVENTS = 500
MOST_HOOKS = 200
SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    occurred_at TEXT NOT NULL, order_id TEXT, data BLOB NOT NULL,
    repeats INTEGER NOT NULL DEFAULT 0, received_at TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS events_of_order ON events (order_id);
CREATE INDEX IF NOT EXISTS events_of_type ON events (type);
"""
# Of an event that came before, nothing but the count changes.
STORE = """
INSERT INTO events (id, type, occurred_at, order_id, data, received_at) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET repeats = repeats + 1 RETURNING repeats > 0
"""


class Event(process.Body):
    id: Text
    type: Text
    occurred_at: Instant
    data: Json


class Batch(process.Body):
    events: Annotated[list[Event], Field(min_length=1, max_length=MOST_EVENTS)]


def as_json(row: Row) -> Json:
    fields = {name: row[name] for name in ("id", "type", "occurred_at")}
    return {**fields, "data": orjson.loads(row["data"]), "received_at": row["received_at"]}


def build(words: Sequence[str] | None = None) -> Served:
    """The application that these words of the command line ask for, and they themselves."""
    parser = process.arguments("data_platform", 8002)
    means = "the share of requests that meet an HTTP 500"
    usual = os.environ.get("DATA_PLATFORM_FAILURE_RATE", "0")
    parser.add_argument("--failure-rate", type=float, default=usual, help=means)
    means = "a type of event that is refused for good with an HTTP 422; may be given several times"
    parser.add_argument("--refuse-type", action="append", default=[], help=means)
    options = parser.parse_args(words)
    book = books.open_book(options.book, SCHEMA)
    secret = os.environ.get("EVENT_SECRET", "")

    async def accept(request: Request) -> Answer:
        """Store the events in their order, or none; count those that are new, and those that came before."""
        if secret and not webhooks.is_valid(
            secret, await request.body(), request.headers.get(webhooks.HEADER, "")
        ):
            raise Refused(401, "signature_invalid", f"{webhooks.HEADER} is missing, wrong, or too old.")
        sent = (await process.read(request, Batch)).events
        for event in sent:
            if event.type in options.refuse_type:
                raise Refused(422, "type_refused", f"{event.type} is not taken here.", event=event.id)
        if random.random() < options.failure_rate:
            raise Refused(500, "data_platform_error", "The data platform failed; send it again.")
        repeated = 0
        with book:
            for event in sent:
                order = None if event.data.get("order") is None else str(event.data["order"])
                cells = [event.id, event.type, event.occurred_at, order, orjson.dumps(event.data), now()]
                repeated += book.execute(STORE, cells).fetchall()[0][0]
        return Answer(202, {"accepted": len(sent) - repeated, "repeated": repeated})

    async def summary(request: Request) -> Answer:
        statement = "SELECT count(*) AS events, coalesce(sum(repeats), 0) AS repeated FROM events"
        return Answer(200, dict(book.execute(statement).fetchone()))

    hooks: deque[Json] = deque(maxlen=MOST_HOOKS)

    async def keep_hook(request: Request) -> Answer:
        """Keep the request without judging it: whoever develops a receiver checks the signature."""
        body = await request.body()
        hooks.append({"headers": dict(request.headers), "body": body.decode(errors="replace")})
        return Answer(202, {})

    async def list_hooks(request: Request) -> Answer:
        return Answer(200, {"results": [*hooks]})

    list_events = books.listing(book, "events", {"order": "order_id = ?", "type": "type = ?"}, as_json)
    routes: process.Routes = {
        "GET /events": list_events,
        "POST /events": accept,
        "GET /summary": summary,
        "GET /hooks": list_hooks,
        "POST /hooks": keep_hook,
    }
    return process.application(routes, book), options


if __name__ == "__main__":
    process.main(build)
