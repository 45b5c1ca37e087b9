"""The partner simulator: registers codes by key, refuses some, and answers some late or never.

python -m scripts.simulators.partner --port 8003 --book var/partner.sqlite3 --failure-rate 0.1

In its book each key is decided once, and a code is registered under one key.
"""

import asyncio
import random
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from scripts.simulators import books, http, process
from scripts.simulators.books import Book, Row, must_have, new_id, now, transaction
from scripts.simulators.http import Answer, NoReply, Refused, Routes, Text, application

ANSWERS = {"registered": 201, "refused": 409, "cancelled": 410}
"""The status of POST /registrations for what became of the key."""
LONGEST_SECONDS = 60.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS registrations (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    key TEXT NOT NULL UNIQUE,
    code TEXT,
    status TEXT NOT NULL CHECK (status IN ('registered', 'refused', 'cancelled')),
    asked INTEGER NOT NULL DEFAULT 1,
    created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS registrations_of_code ON registrations (code) WHERE status = 'registered';
"""
TABLE = "registrations"


class Cancellation(http.Body):
    key: Text


class Registration(Cancellation):
    code: Text


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
        }

    async def register(self, request: Request) -> Answer:
        """Register a code once per key; a repeated key hears the first outcome."""
        asked = await http.read(request, Registration)
        if _happens(self.manners.lost_rate):
            return NoReply()
        row = register(self.book, key=asked.key, code=asked.code, failure_rate=self.manners.failure_rate)
        if _happens(self.manners.silent_rate):
            return NoReply()
        if _happens(self.manners.late_rate):
            await asyncio.sleep(self.manners.late_seconds)
        return Answer(ANSWERS[row["status"]], as_json(row))

    async def cancel(self, request: Request) -> Answer:
        """Register nothing under the key, now or later."""
        asked = await http.read(request, Cancellation)
        return Answer(200, as_json(cancel(self.book, key=asked.key)))

    async def list_registrations(self, request: Request) -> Answer:
        """The registration of a key, those of a code or of a status, or all."""
        filters = {"key": "key", "code": "code", "status": "status"}
        return books.listed(self.book, request, table=TABLE, filters=filters, as_json=as_json)

    async def summary(self, request: Request) -> Answer:
        """How many keys are registered, refused and cancelled."""
        rows = self.book.execute("SELECT status, count(*) FROM registrations GROUP BY status").fetchall()
        return Answer(200, dict.fromkeys(ANSWERS, 0) | {row[0]: row[1] for row in rows})


def register(book: Book, *, key: str, code: str, failure_rate: float) -> Row:
    """Register the code, refuse it, or find what the key has led to before.

    A code that another key has is refused. Raises `Refused` for a key that came with another code.
    """
    with transaction(book):
        book.execute("UPDATE registrations SET asked = asked + 1 WHERE key = ?", [key])
        if books.by_key(book, TABLE, key) is None:
            is_refused = _happens(failure_rate) or _is_taken(book, code)
            _write(book, key=key, code=code, status="refused" if is_refused else "registered")
        row = must_have(book, TABLE, key)
    if row["code"] not in (code, None):
        raise Refused(422, "key_reused", "This key came before with another code.")
    return row


def cancel(book: Book, *, key: str) -> Row:
    """Register nothing under the key, now or later; a refused one stays refused."""
    with transaction(book):
        book.execute(
            "UPDATE registrations SET status = 'cancelled' WHERE key = ? AND status = 'registered'", [key]
        )
        if books.by_key(book, TABLE, key) is None:
            _write(book, key=key, code=None, status="cancelled")
        return must_have(book, TABLE, key)


def as_json(row: Row) -> dict[str, Any]:
    """The registration as clients see it; `asked` is how often it was asked for."""
    return {name: row[name] for name in ("id", "key", "code", "status", "asked", "created_at")}


def _happens(rate: float) -> bool:
    return random.random() < rate


def _is_taken(book: Book, code: str) -> bool:
    found = book.execute("SELECT 1 FROM registrations WHERE code = ? AND status = 'registered'", [code])
    return found.fetchone() is not None


def _write(book: Book, *, key: str, code: str | None, status: str) -> None:
    books.insert(book, TABLE, id=new_id("reg"), key=key, code=code, status=status, created_at=now())


OPTIONS = {
    "failure_rate": (1.0, "0.1", "the share of registrations that are refused"),
    "late_rate": (1.0, "0.005", "the share that is answered only after --late-seconds"),
    "late_seconds": (LONGEST_SECONDS, "2", "how late that is: longer than the shop waits"),
    "silent_rate": (1.0, "0.003", "the share that is done and never answered"),
    "lost_rate": (1.0, "0.002", "the share that is neither done nor answered"),
}
"""The largest value, the default, and the meaning; each may be set in the environment as PARTNER_…"""


def main() -> None:
    """Run the partner until it is told to end."""
    parser = process.arguments("partner", default_port=8003)
    for name, (most, default, means) in OPTIONS.items():
        option, variable = f"--{name.replace('_', '-')}", f"PARTNER_{name.upper()}"
        process.add_number(parser, option, variable, default, most=most, means=means)
    asked = parser.parse_args()
    book = process.open_book("partner", asked.book, SCHEMA)
    partner = Partner(book, Manners(**{name: getattr(asked, name) for name in OPTIONS}))
    process.serve(application(partner.routes()), name="partner", asked=asked, book=book)


if __name__ == "__main__":
    main()
