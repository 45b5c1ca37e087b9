"""A simulator's durable memory: one SQLite file that survives kill -9, and lists of its rows over HTTP."""

import re
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request

from scripts.simulators.process import Answer, Handler, fail, invalid, moment

Book = sqlite3.Connection
Row = sqlite3.Row
LONGEST_PAGE = 10_000
ALL = -1
"""What SQLite takes for no limit."""
PERIOD = {"created_from": "created_at >= ?", "created_to": "created_at < ?"}
"""The filters of a list's period: its first instant, and the first one after it."""


def open_book(name: str, path: Path, schema: str) -> Book:
    """Open the book, and make what is missing of its file, folders and tables."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        book = sqlite3.connect(path, isolation_level=None)
        book.row_factory = sqlite3.Row
        # What was committed survives the end of the process; a power cut may lose the last moments.
        book.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")
        book.executescript(schema)
    except (OSError, sqlite3.Error) as error:
        fail(name, f"can't open the book {path} ({error}); choose another --book")
    return book


@contextmanager
def transaction(book: Book) -> Iterator[None]:
    """Commit everything inside, or nothing when it raises. Never await inside: the connection is shared."""
    book.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        book.execute("ROLLBACK")
        raise
    book.execute("COMMIT")


def now() -> str:
    """The time as the book writes it."""
    return written(datetime.now(UTC))


def written(instant: datetime) -> str:
    """RFC 3339 in UTC to the microsecond: the later instant is the greater text."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def new_id(prefix: str) -> str:
    """An id whose prefix says what it names."""
    return f"{prefix}_{uuid.uuid4().hex}"


def insert(book: Book, table: str, **cells: str | int | bytes | None) -> Row:
    """Write one row and return it. The names of its columns and the table's are ours, never a client's."""
    marks = ", ".join("?" * len(cells))
    statement = " ".join(["INSERT INTO", table, f"({', '.join(cells)}) VALUES ({marks}) RETURNING *"])
    row: Row = book.execute(statement, [*cells.values()]).fetchall()[0]
    return row


def by_key(book: Book, table: str, key: str) -> Row | None:
    """The key's row of the table, if there is one."""
    rows = _rows(book, table=table, wanted={"key = ?": key}, limit=1)
    return rows[0] if rows else None


def listing(
    book: Book, table: str, filters: Mapping[str, str], as_json: Callable[[Row], dict[str, Any]]
) -> Handler:
    """Answers with the rows of the table; with `limit` one page of them, and in `next` the id for `after`.

    `filters` has the condition of each query parameter. A parameter that is not known is refused: if it were
    ignored, a misspelt filter would list everything.
    """

    async def answer(request: Request) -> Answer:
        asked = {name: value for name, value in request.query_params.items() if value}
        known = {*filters, "limit", "after"}
        for name in asked.keys() - known:
            raise invalid(name, f"the parameters are {', '.join(sorted(known))}")
        wanted: dict[str, str | int] = {
            filters[name]: _instant(value, name) if name in PERIOD else value
            for name, value in asked.items()
            if name in filters
        }
        wanted["number > ?"] = _number(book, table, asked["after"]) if "after" in asked else 0
        if "limit" not in asked:
            rows = _rows(book, table=table, wanted=wanted, limit=ALL)
            return Answer(200, {"results": [as_json(row) for row in rows]})
        limit = _limit(asked["limit"])
        rows = _rows(book, table=table, wanted=wanted, limit=limit + 1)
        following = rows[limit - 1]["id"] if len(rows) > limit else None
        return Answer(200, {"results": [as_json(row) for row in rows[:limit]], "next": following})

    return answer


def _instant(text: str, name: str) -> str:
    try:
        return written(moment(text))
    except ValueError as error:
        raise invalid(name, str(error)) from error


def _limit(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) <= LONGEST_PAGE:
        raise invalid("limit", f"it must be an integer from 1 to {LONGEST_PAGE}")
    return int(text)


def _number(book: Book, table: str, row_id: str) -> int:
    """The place in the table after which the page begins."""
    found = _rows(book, table=table, wanted={"id = ?": row_id}, limit=1)
    if not found:
        raise invalid("after", "it must be an id of the list")
    return int(found[0]["number"])


def _rows(book: Book, *, table: str, wanted: Mapping[str, str | int], limit: int) -> list[Row]:
    """The rows that meet every condition. Their words and the table's are ours, never a client's."""
    conditions = " AND ".join(wanted)
    statement = " ".join(["SELECT * FROM", table, "WHERE", conditions, "ORDER BY number LIMIT ?"])
    return book.execute(statement, [*wanted.values(), limit]).fetchall()
