"""The data platform simulator: takes events, keeps each id once, and fails or refuses as it is told to.

python -m scripts.simulators.data_platform --port 8002 --book var/data_platform.sqlite3 --failure-rate 0
"""

import argparse
import os
import random
from collections.abc import Collection
from typing import Any

from scripts.simulators import events, inputs, lists, process, signatures
from scripts.simulators.asgi import Answer, Refused, Request, Routes, application, health
from scripts.simulators.books import Book
from scripts.simulators.events import Event

MOST_EVENTS = 500
LARGEST_BODY = 8 * 1024 * 1024


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
            "/healthz": {"GET": health},
        }

    async def accept(self, request: Request) -> Answer:
        """Store one event, or a batch in its order; where anything is wrong nothing is stored.

        `accepted` counts the events that are new, `repeated` those that came before.
        """
        self._require_signature(request)
        sent = _read(inputs.body(request))
        self._refuse_types(sent)
        if random.random() < self.failure_rate:
            raise Refused(500, "data_platform_error", "The data platform failed; send it again.")
        repeated = events.accept(self.book, sent)
        return Answer(202, {"accepted": len(sent) - repeated, "repeated": repeated})

    def _require_signature(self, request: Request) -> None:
        text = request.headers.get(signatures.HEADER.lower(), "")
        if self.secret and not signatures.is_valid(self.secret, request.body, text):
            raise Refused(401, "signature_invalid", f"{signatures.HEADER} is missing, wrong, or too old.")

    def _refuse_types(self, sent: list[Event]) -> None:
        for event in sent:
            if event.type in self.refused_types:
                detail = f"Event {event.id} is of the type {event.type}, which is not taken here."
                raise Refused(422, "type_refused", detail, event=event.id)

    async def list_events(self, request: Request) -> Answer:
        """The events of an order, of a type, or all."""
        filters = {"order": "order_id", "type": "type"}
        return lists.answer(self.book, request, table="events", filters=filters, as_json=events.as_json)

    async def summary(self, request: Request) -> Answer:
        """How many events are stored, and how many came again."""
        stored, repeated = events.total(self.book)
        return Answer(200, {"events": stored, "repeated": repeated})


def _read(fields: dict[str, Any]) -> list[Event]:
    """The one event of a body, or the batch. Raises Refused naming what can't be read."""
    if "events" not in fields:
        return [_read_event(fields)]
    batch = fields["events"]
    if not isinstance(batch, list) or not 0 < len(batch) <= MOST_EVENTS:
        raise inputs.invalid("events", f"a list of 1-{MOST_EVENTS} events")
    return [_read_in_batch(one, number) for number, one in enumerate(batch)]


def _read_in_batch(fields: Any, number: int) -> Event:
    if not isinstance(fields, dict):
        raise inputs.invalid(f"events.{number}", "an object")
    try:
        return _read_event(fields)
    except Refused as refused:
        content = refused.answer.content
        field = f"events.{number}.{content['field']}"
        detail = f"Event {number} of the batch can't be read: {content['detail']}"
        raise Refused(400, "invalid", detail, field=field, event=fields.get("id")) from refused


def _read_event(fields: dict[str, Any]) -> Event:
    return Event(
        id=inputs.text(fields, "id"),
        type=inputs.text(fields, "type"),
        occurred_at=inputs.instant(fields, "occurred_at"),
        data=inputs.record(fields, "data"),
    )


def share(text: str) -> float:
    """A part of 1, from the command line or the environment."""
    part = float(text)
    if not 0 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: choose from 0 to 1")
    return part


def main() -> None:
    """Run the data platform until it is told to end."""
    parser = process.arguments("data_platform", default_port=8002)
    parser.add_argument(
        "--failure-rate",
        type=share,
        default=os.environ.get("DATA_PLATFORM_FAILURE_RATE", "0"),
        help="the share of requests that meet an HTTP 500 (DATA_PLATFORM_FAILURE_RATE, else 0)",
    )
    parser.add_argument(
        "--refuse-type",
        action="append",
        default=[],
        metavar="TYPE",
        help="a type of event that is refused for good with an HTTP 422; may be given several times",
    )
    asked = parser.parse_args()
    book = process.open_book("data_platform", asked.book, events.SCHEMA)
    platform = DataPlatform(
        book,
        secret=os.environ.get("EVENT_SECRET", ""),
        failure_rate=asked.failure_rate,
        refused_types=asked.refuse_type,
    )
    process.serve(
        application(platform.routes(), largest_body=LARGEST_BODY),
        name="data_platform",
        host=asked.host,
        port=asked.port,
        book=book,
        on_start=lambda: None,
    )


if __name__ == "__main__":
    main()
