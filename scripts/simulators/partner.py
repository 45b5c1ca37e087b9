"""The partner simulator: registers codes by key, refuses some, and answers some late or never.

python -m scripts.simulators.partner --port 8003 --book var/partner.sqlite3 --failure-rate 0.1

In its book each key is decided once, and a code is registered under one key.
"""

import asyncio
import os
import random
from collections.abc import Sequence

from starlette.requests import Request

from scripts.simulators import books, process
from scripts.simulators.books import Row, find, insert, new_id, now
from scripts.simulators.process import Answer, Cancellation, Json, Refused, Served, Text, no_reply

# The status of POST /registrations for what became of the key.
ANSWERS = {"registered": 201, "refused": 409, "cancelled": 410}
SCHEMA = """
CREATE TABLE IF NOT EXISTS registrations (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, key TEXT NOT NULL UNIQUE, code TEXT,
    status TEXT NOT NULL CHECK (status IN ('registered', 'refused', 'cancelled')),
    asked INTEGER NOT NULL DEFAULT 1, created_at TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS registrations_of_code ON registrations (code) WHERE status = 'registered';
"""
TABLE = "registrations"
# The default as a part of PARTNER_FAILURE_RATE, which is 0.1 unless it is set, and the meaning.
RATES = {
    "--failure-rate": (1.0, "the share of registrations that are refused"),
    "--late-rate": (0.05, "the share that is answered only after --late-seconds"),
    "--silent-rate": (0.03, "the share that is done and never answered"),
    "--lost-rate": (0.02, "the share that is neither done nor answered"),
}


class Registration(Cancellation):
    code: Text


def as_json(row: Row) -> Json:
    """The registration as clients see it; `asked` is how often it was asked for."""
    return {name: row[name] for name in ("id", "key", "code", "status", "asked", "created_at")}


def build(words: Sequence[str] | None = None) -> Served:
    """The application that these words of the command line ask for, and they themselves."""
    parser = process.arguments("partner", 8003)
    usual = float(os.environ.get("PARTNER_FAILURE_RATE", "0.1"))
    for option, (part, means) in RATES.items():
        parser.add_argument(option, type=float, default=part * usual, help=means)
    parser.add_argument("--late-seconds", type=float, default=2, help="longer than the shop waits")
    options = parser.parse_args(words)
    book = books.open_book(options.book, SCHEMA)

    def new_row(key: str, status: str, **cells: str) -> Row:
        return insert(book, TABLE, key=key, status=status, id=new_id("reg"), created_at=now(), **cells)

    async def register(request: Request) -> Answer:
        """Register a code once per key; a repeated key gets the first outcome."""
        asked = await process.read(request, Registration)
        if random.random() < options.lost_rate:
            return await no_reply()
        with book:
            book.execute("UPDATE registrations SET asked = asked + 1 WHERE key = ?", [asked.key])
            row = find(book, TABLE, key=asked.key)
            if row is None:
                is_taken = find(book, TABLE, code=asked.code, status="registered") is not None
                is_refused = is_taken or random.random() < options.failure_rate
                row = new_row(asked.key, "refused" if is_refused else "registered", code=asked.code)
        if row["code"] not in (asked.code, None):
            raise Refused(422, "key_reused", "This key came before with another code.")
        if random.random() < options.silent_rate:
            return await no_reply()
        if random.random() < options.late_rate:
            await asyncio.sleep(options.late_seconds)
        return Answer(ANSWERS[row["status"]], as_json(row))

    async def cancel(request: Request) -> Answer:
        """Register nothing under the key, now or later; a refused one stays refused."""
        key = (await process.read(request, Cancellation)).key
        statement = "UPDATE registrations SET status = 'cancelled' WHERE key = ? AND status = 'registered'"
        with book:
            book.execute(statement, [key])
            row = find(book, TABLE, key=key) or new_row(key, "cancelled")
        return Answer(200, as_json(row))

    filters = {"key": "key = ?", "code": "code = ?", "status": "status = ?"}
    routes: process.Routes = {
        "GET /registrations": books.listing(book, TABLE, filters, as_json),
        "POST /registrations": register,
        "POST /registrations/cancel": cancel,
    }
    return process.application(routes, book), options


if __name__ == "__main__":
    process.main(build)
