"""The partner simulator: registers codes by key, refuses some, and answers some late or never.

python -m scripts.simulators.partner --port 8003 --book var/partner.sqlite3 --failure-rate 0.1

In its book each key is decided once, and a code is registered under one key.
"""

import asyncio
import os
import random
from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request

from scripts.simulators import books, process
from scripts.simulators.books import Book, Row, new_id, now, transaction
from scripts.simulators.process import Answer, NoReply, Refused, Routes, Text

ANSWERS = {"registered": 201, "refused": 409, "cancelled": 410}
"""The status of POST /registrations for what became of the key."""
LONGEST_SECONDS = 60.0
SCHEMA = """
CREATE TABLE IF NOT EXISTS registrations (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE, code TEXT,
    status TEXT NOT NULL CHECK (status IN ('registered', 'refused', 'cancelled')),
    asked INTEGER NOT NULL DEFAULT 1, created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS registrations_of_code ON registrations (code) WHERE status = 'registered';
"""
TABLE = "registrations"
RATES = {
    "--failure-rate": (1.0, "the share of registrations that are refused"),
    "--late-rate": (0.05, "the share that is answered only after --late-seconds"),
    "--silent-rate": (0.03, "the share that is done and never answered"),
    "--lost-rate": (0.02, "the share that is neither done nor answered"),
}
"""The default as a part of PARTNER_FAILURE_RATE, which is 0.1 unless it is set, and the meaning."""


class Cancellation(process.Body):
    key: Text


class Registration(Cancellation):
    code: Text


class Partner:
    """The open book, and the options that say how the partner behaves."""

    def __init__(self, book: Book, options: Namespace):
        self.book, self.options = book, options

    def routes(self) -> Routes:
        """Every path and method of the partner."""
        filters = {"key": "key = ?", "code": "code = ?", "status": "status = ?"}
        list_registrations = books.listing(self.book, TABLE, filters, as_json)
        return {
            "GET /registrations": list_registrations,
            "POST /registrations": self.register,
            "POST /registrations/cancel": self.cancel,
            "GET /summary": self.summary,
        }

    async def register(self, request: Request) -> Answer:
        """Register a code once per key; a repeated key gets the first outcome."""
        asked = await process.read(request, Registration)
        if _happens(self.options.lost_rate):
            return NoReply()
        with transaction(self.book):
            self.book.execute("UPDATE registrations SET asked = asked + 1 WHERE key = ?", [asked.key])
            row = books.find(self.book, TABLE, key=asked.key) or self._decide(asked)
        if row["code"] not in (asked.code, None):
            raise Refused(422, "key_reused", "This key came before with another code.")
        if _happens(self.options.silent_rate):
            return NoReply()
        if _happens(self.options.late_rate):
            await asyncio.sleep(self.options.late_seconds)
        return Answer(ANSWERS[row["status"]], as_json(row))

    async def cancel(self, request: Request) -> Answer:
        """Register nothing under the key, now or later; a refused one stays refused."""
        key = (await process.read(request, Cancellation)).key
        statement = "UPDATE registrations SET status = 'cancelled' WHERE key = ? AND status = 'registered'"
        with transaction(self.book):
            self.book.execute(statement, [key])
            row = books.find(self.book, TABLE, key=key) or self._insert(
                key=key, code=None, status="cancelled"
            )
        return Answer(200, as_json(row))

    async def summary(self, request: Request) -> Answer:
        """How many keys are registered, refused and cancelled."""
        rows = self.book.execute("SELECT status, count(*) FROM registrations GROUP BY status").fetchall()
        return Answer(200, dict.fromkeys(ANSWERS, 0) | {row[0]: row[1] for row in rows})

    def _decide(self, asked: Registration) -> Row:
        statement = "SELECT 1 FROM registrations WHERE code = ? AND status = 'registered'"
        is_taken = self.book.execute(statement, [asked.code]).fetchone() is not None
        is_refused = is_taken or _happens(self.options.failure_rate)
        return self._insert(key=asked.key, code=asked.code, status="refused" if is_refused else "registered")

    def _insert(self, **fields: str | None) -> Row:
        return books.insert(self.book, TABLE, id=new_id("reg"), created_at=now(), **fields)


def as_json(row: Row) -> dict[str, Any]:
    """The registration as clients see it; `asked` is how often it was asked for."""
    return {name: row[name] for name in ("id", "key", "code", "status", "asked", "created_at")}


def _happens(rate: float) -> bool:
    return random.random() < rate


def build(words: Sequence[str] | None = None) -> tuple[process.Server, Namespace]:
    """The server that these words of the command line ask for, and they themselves."""
    parser = process.arguments("partner", default_port=8003)
    usual = float(os.environ.get("PARTNER_FAILURE_RATE", "0.1"))
    for option, (part, means) in RATES.items():
        share, means = f"{part * usual:g}", f"{means} (%(default)s)"
        parser.add_argument(option, type=process.number(most=1), default=share, help=means)
    means = "how late a late answer is: longer than the shop waits (%(default)s)"
    most = process.number(most=LONGEST_SECONDS)
    parser.add_argument("--late-seconds", type=most, default="2", help=means)
    asked = parser.parse_args(words)
    book = books.open_book("partner", asked.book, SCHEMA)
    return process.Server("partner", Partner(book, asked).routes(), book), asked


if __name__ == "__main__":
    process.main(build)
