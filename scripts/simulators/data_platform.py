"""The data platform simulator: takes events, keeps each id once, and fails as often as it is told to.

python -m scripts.simulators.data_platform --port 8002 --book var/data_platform.sqlite3 --failure-rate 0
"""

import argparse
import os
import random

from scripts.simulators import events, inputs, lists, process
from scripts.simulators.asgi import Answer, Refused, Request, Routes, application, health
from scripts.simulators.books import Book


class DataPlatform:
    """The open book, and the share of events that meet an HTTP 500."""

    def __init__(self, book: Book, *, failure_rate: float):
        self.book = book
        self.failure_rate = failure_rate

    def routes(self) -> Routes:
        """Every path and method of the data platform."""
        return {
            "/events": {"GET": self.list_events, "POST": self.accept},
            "/summary": {"GET": self.summary},
            "/healthz": {"GET": health},
        }

    async def accept(self, request: Request) -> Answer:
        """Store an event, or fail before anything is stored."""
        fields = inputs.body(request)
        event_id, event_type = inputs.text(fields, "id"), inputs.text(fields, "type")
        occurred_at, data = inputs.instant(fields, "occurred_at"), inputs.record(fields, "data")
        if random.random() < self.failure_rate:
            raise Refused(500, "data_platform_error", "The data platform failed; send the event again.")
        repeated = events.accept(
            self.book, event_id=event_id, event_type=event_type, occurred_at=occurred_at, data=data
        )
        return Answer(202, {"accepted": True, "repeated": repeated})

    async def list_events(self, request: Request) -> Answer:
        """The events of an order, of a type, or all."""
        filters = {"order": "order_id", "type": "type"}
        return lists.answer(self.book, request, table="events", filters=filters, as_json=events.as_json)

    async def summary(self, request: Request) -> Answer:
        """How many events are stored, and how many came again."""
        stored, repeated = events.total(self.book)
        return Answer(200, {"events": stored, "repeated": repeated})


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
        help="the share of events that meet an HTTP 500 (DATA_PLATFORM_FAILURE_RATE, else 0)",
    )
    asked = parser.parse_args()
    book = process.open_book("data_platform", asked.book, events.SCHEMA)
    platform = DataPlatform(book, failure_rate=asked.failure_rate)
    process.serve(
        application(platform.routes()),
        name="data_platform",
        port=asked.port,
        book=book,
        on_start=lambda: None,
    )


if __name__ == "__main__":
    main()
