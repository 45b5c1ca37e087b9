"""A simulator's durable memory: one SQLite file that survives kill -9, and lists of its rows over HTTP."""

import sqlite3
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from starlette.requests import Request

from scripts.simulators.process import Answer, Handler, Json, invalid, moment

Book = sqlite3.Connection
Row = sqlite3.Row
LONGEST_PAGE = 10_000
# The filters of a list's period: its first instant, and the first one after it.
PERIOD = {"created_from": "created_at >= ?", "created_to": "created_at < ?"}


def open_book(path: Path, schema: str) -> Book:
    """The book. Write inside of `with book:`, which commits everything, or nothing when it raises, and never
    await there: the connection is shared."""
    path.parent.mkdir(parents=True, exist_ok=True)
    book = sqlite3.connect(path, isolation_level="IMMEDIATE")
    book.row_factory = sqlite3.Row
    # What was committed survives the end of the process; a power cut may lose the last moments.
    book.executescript("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON")
    book.executescript(schema)
    return book


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
    [row] = book.execute(statement, [*cells.values()]).fetchall()
    return cast(Row, row)


def rows(book: Book, table: str, wanted: Mapping[str, str | int], *, limit: int = -1) -> list[Row]:
    """The rows that meet every condition, oldest first."""
    statement = " ".join(["SELECT * FROM", table, "WHERE", " AND ".join(wanted), "ORDER BY number LIMIT ?"])
    return book.execute(statement, [*wanted.values(), limit]).fetchall()


def find(book: Book, table: str, **cells: str) -> Row | None:
    found = rows(book, table, {f"{name} = ?": value for name, value in cells.items()}, limit=1)
    if found:
        return found[0]
    return None


def listing(book: Book, table: str, filters: Mapping[str, str], as_json: Callable[[Row], Json]) -> Handler:
    """Answers with the rows of the table; with `limit` one page of them, and in `next` the id for `after`.

    `filters` has the condition of each query parameter. A parameter that is not known is refused: if it were
    ignored, a misspelt filter would list everything.
    """
    known = ", ".join([*filters, f"limit (1 to {LONGEST_PAGE})", "after (an id of the list)"])

    async def answer(request: Request) -> Answer:
        wanted = dict[str, str | int]({"number > ?": 0})
        limit = 0
        for name, value in filter(all, request.query_params.items()):  # an empty one is none
            if name == "after" and (row := find(book, table, id=value)):
                wanted["number > ?"] = row["number"]
            elif name == "limit" and value.isdecimal() and 0 < int(value) <= LONGEST_PAGE:
                limit = int(value)
            elif name in filters:
                wanted[filters[name]] = _instant(name, value) if name in PERIOD else value
            else:
                raise invalid(name, f"the parameters are {known}")
        found = rows(book, table, wanted, limit=limit + 1 if limit else -1)
        page = {"results": [as_json(row) for row in found[: limit or None]]}
        if not limit:
            return Answer(200, page)
        return Answer(200, page | {"next": found[limit - 1]["id"] if len(found) > limit else None})

    return answer


def _instant(name: str, text: str) -> str:
    try:
        return written(moment(text))
    except (ValueError, OverflowError) as error:
        raise invalid(name, str(error)) from error
