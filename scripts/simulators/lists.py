"""Lists over HTTP: a table of the book, filtered, oldest first; whole, or in pages for who asks for them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from scripts.simulators.asgi import Answer, Request
from scripts.simulators.books import Book, Row
from scripts.simulators.inputs import invalid

LONGEST_PAGE = 10_000
ALL = -1
"""What SQLite takes for no limit."""


def answer(
    book: Book,
    request: Request,
    *,
    table: str,
    filters: Mapping[str, str],
    as_json: Callable[[Row], dict[str, Any]],
) -> Answer:
    """The rows of the table; with `limit` one page of them, and in `next` the id to ask on `after`, or null.

    `filters` names the column of each query parameter. Raises Refused for a parameter that is not known:
    if it were ignored, a misspelt filter would list everything.
    """
    _refuse_unknown(request, {*filters, "limit", "after"})
    equal = {column: request.query[name] for name, column in filters.items() if name in request.query}
    number = _number(book, table, request)
    if "limit" not in request.query:
        rows = _rows(book, table=table, equal=equal, number=number, limit=ALL)
        return Answer(200, {"results": [as_json(row) for row in rows]})
    limit = _limit(request)
    rows = _rows(book, table=table, equal=equal, number=number, limit=limit + 1)
    following = rows[limit - 1]["id"] if len(rows) > limit else None
    return Answer(200, {"results": [as_json(row) for row in rows[:limit]], "next": following})


def _refuse_unknown(request: Request, known: set[str]) -> None:
    for name in request.query:
        if name not in known:
            raise invalid(name, f"one of the parameters {', '.join(sorted(known))}")


def _limit(request: Request) -> int:
    asked = request.query["limit"]
    if not re.fullmatch(r"[0-9]{1,5}", asked) or not 0 < int(asked) <= LONGEST_PAGE:
        raise invalid("limit", f"an integer from 1 to {LONGEST_PAGE}")
    return int(asked)


def _number(book: Book, table: str, request: Request) -> int:
    """The place in the table to go on after; 0 is before its first row."""
    if "after" not in request.query:
        return 0
    found = _rows(book, table=table, equal={"id": request.query["after"]}, number=0, limit=1)
    if not found:
        raise invalid("after", "an id of the list")
    number: int = found[0]["number"]
    return number


def _rows(book: Book, *, table: str, equal: Mapping[str, str], number: int, limit: int) -> list[Row]:
    """The rows after this number. Names of tables and columns are written by us, never by a client."""
    conditions = " AND ".join(["number > :number", *(f"{column} = :{column}" for column in equal)])
    statement = " ".join(["SELECT * FROM", table, "WHERE", conditions, "ORDER BY number LIMIT :limit"])
    return book.execute(statement, {**equal, "number": number, "limit": limit}).fetchall()
