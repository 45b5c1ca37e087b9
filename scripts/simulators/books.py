"""A simulator's durable memory: one SQLite file that survives kill -9, and lists of its rows over HTTP."""

import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from starlette.requests import Request

from scripts.simulators.process import Answer, Handler, invalid, moment

Book = sqlite3.Connection
Row = sqlite3.Row
LONGEST_PAGE = 10_000
ALL = -1
"""What SQLite takes for no limit."""
PERIOD = {"created_from": "created_at >= ?", "created_to": "created_at < ?"}
"""The filters of a list's period: its first instant, and the first one after it."""


def open_book(path: Path, schema: str) -> Book:
    path.parent.mkdir(parents=True, exist_ok=True)
    book = sqlite3.connect(path, isolation_level=None)
    book.row_factory = sqlite3.Row
    # What was committed survives the end of the process; a power cut may lose the last moments.
    book.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")
    book.executescript(schema)
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
    return written(datetime.now(UTC))


def written(instant: datetime) -> str:
    """RFC 3339 in UTC to the microsecond: the later instant is the greater text."""
    return instant.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def age_seconds(row: Row) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(row["created_at"])).total_seconds()


def new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"


# The names of tables and columns, and the words of conditions, are ours, never a client's.


def insert(book: Book, table: str, **cells: str | int | bytes | None) -> Row:
    marks = ", ".join("?" * len(cells))
    statement = " ".join(["INSERT INTO", table, f"({', '.join(cells)}) VALUES ({marks}) RETURNING *"])
    row: Row = book.execute(statement, [*cells.values()]).fetchall()[0]
    return row


def rows(book: Book, table: str, wanted: Mapping[str, str | int], *, limit: int = ALL) -> list[Row]:
    """The rows that meet every condition, oldest first."""
    conditions = " AND ".join(wanted)
    statement = " ".join(["SELECT * FROM", table, "WHERE", conditions, "ORDER BY number LIMIT ?"])
    return book.execute(statement, [*wanted.values(), limit]).fetchall()


def find(book: Book, table: str, **cells: str) -> Row | None:
    found = rows(book, table, {f"{name} = ?": value for name, value in cells.items()}, limit=1)
    return found[0] if found else None


def listing(
    book: Book, table: str, filters: Mapping[str, str], as_json: Callable[[Row], dict[str, Any]]
) -> Handler:
    """Answers with the rows of the table; with `limit` one page of them, and in `next` the id for `after`.

    `filters` has the condition of each query parameter. A parameter that is not known is refused: if it were
    ignored, a misspelt filter would list everything.
    """

    async def answer(request: Request) -> Answer:
        wanted: dict[str, str | int] = {"number > ?": 0}
        asked = {name: value for name, value in request.query_params.items() if value}
        limit = 0
        for name, value in asked.items():
            if name == "after" and (row := find(book, table, id=value)):
                wanted["number > ?"] = row["number"]
            elif name == "limit" and value.isdecimal() and 0 < int(value) <= LONGEST_PAGE:
                limit = int(value)
            elif name in PERIOD and name in filters:
                wanted[filters[name]] = _instant(name, value)
            elif name in filters:
                wanted[filters[name]] = value
            else:
                known = ", ".join([*filters, f"limit (1 to {LONGEST_PAGE})", "after (an id of the list)"])
                raise invalid(name, f"the parameters are {known}")
        found = rows(book, table, wanted, limit=limit + 1 if limit else ALL)
        if not limit:
            return Answer(200, {"results": [as_json(row) for row in found]})
        page = found[:limit]
        following = page[-1]["id"] if len(found) > len(page) else None
        return Answer(200, {"results": [as_json(row) for row in page], "next": following})

    return answer


def _instant(name: str, text: str) -> str:
    try:
        return written(moment(text))
    except (ValueError, OverflowError) as error:
        raise invalid(name, str(error)) from error
