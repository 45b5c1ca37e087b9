"""The partner simulator: registers codes by key, refuses some, and answers some late or never.

python -m scripts.simulators.partner --port 8003 --book var/partner.sqlite3 --failure-rate 0.1
"""

import argparse
import asyncio
import os
import random
from dataclasses import dataclass

from scripts.simulators import inputs, lists, process, registrations
from scripts.simulators.asgi import NO_REPLY, Answer, Request, Routes, application, health
from scripts.simulators.books import Book

ANSWERS = {"registered": 201, "refused": 409, "cancelled": 410}
"""The status of POST /registrations for what became of the key."""
LONGEST_SECONDS = 60.0


@dataclass(frozen=True, kw_only=True)
class Manners:
    """The shares of registrations that are refused, answered late, or never: done, or not done."""

    failure_rate: float
    late_rate: float
    late_seconds: float
    silent_rate: float
    lost_rate: float


class Partner:
    """The open book, and how the partner behaves."""

    def __init__(self, book: Book, manners: Manners):
        self.book = book
        self.manners = manners

    def routes(self) -> Routes:
        """Every path and method of the partner."""
        return {
            "/registrations": {"GET": self.list_registrations, "POST": self.register},
            "/registrations/cancel": {"POST": self.cancel},
            "/summary": {"GET": self.summary},
            "/healthz": {"GET": health},
        }

    async def register(self, request: Request) -> Answer:
        """Register a code once per key; a repeated key hears the first outcome."""
        fields = inputs.body(request)
        key, code = inputs.text(fields, "key"), inputs.text(fields, "code")
        if _happens(self.manners.lost_rate):
            return NO_REPLY
        row = registrations.register(self.book, key=key, code=code, failure_rate=self.manners.failure_rate)
        if _happens(self.manners.silent_rate):
            return NO_REPLY
        if _happens(self.manners.late_rate):
            await asyncio.sleep(self.manners.late_seconds)
        return Answer(ANSWERS[row["status"]], registrations.as_json(row))

    async def cancel(self, request: Request) -> Answer:
        """See to it that nothing is registered under the key, now or later."""
        key = inputs.text(inputs.body(request), "key")
        return Answer(200, registrations.as_json(registrations.cancel(self.book, key=key)))

    async def list_registrations(self, request: Request) -> Answer:
        """The registration of a key, those of a code or of a status, or all."""
        filters = {"key": "key", "code": "code", "status": "status"}
        return lists.answer(
            self.book, request, table="registrations", filters=filters, as_json=registrations.as_json
        )

    async def summary(self, request: Request) -> Answer:
        """How many keys are registered, refused and cancelled."""
        return Answer(200, registrations.totals(self.book))


def _happens(rate: float) -> bool:
    return random.random() < rate


def share(text: str) -> float:
    """A part of 1, from the command line or the environment."""
    part = float(text)
    if not 0 <= part <= 1:
        raise argparse.ArgumentTypeError(f"{text} is no share: choose from 0 to 1")
    return part


def seconds(text: str) -> float:
    """A while, from the command line or the environment."""
    while_ = float(text)
    if not 0 <= while_ <= LONGEST_SECONDS:
        raise argparse.ArgumentTypeError(f"{text} is too long: choose from 0 to {LONGEST_SECONDS:g} s")
    return while_


OPTIONS = {
    "failure_rate": (share, "0.1", "the share of registrations that are refused"),
    "late_rate": (share, "0.005", "the share that is answered only after --late-seconds"),
    "late_seconds": (seconds, "2", "how late that is: longer than the shop waits"),
    "silent_rate": (share, "0.003", "the share that is done and never answered"),
    "lost_rate": (share, "0.002", "the share that is neither done nor answered"),
}
"""How each is read, its default, and what it means; each may be set in the environment as PARTNER_…"""


def main() -> None:
    """Run the partner until it is told to end."""
    parser = process.arguments("partner", default_port=8003)
    for name, (read, default, means) in OPTIONS.items():
        variable = f"PARTNER_{name.upper()}"
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            type=read,
            default=os.environ.get(variable, default),
            help=f"{means} ({variable}, else {default})",
        )
    asked = parser.parse_args()
    manners = Manners(**{name: getattr(asked, name) for name in OPTIONS})
    book = process.open_book("partner", asked.book, registrations.SCHEMA)
    partner = Partner(book, manners)
    process.serve(
        application(partner.routes()),
        name="partner",
        host=asked.host,
        port=asked.port,
        book=book,
        on_start=lambda: None,
    )


if __name__ == "__main__":
    main()
