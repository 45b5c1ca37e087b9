"""Lists over HTTP: a table of the book, filtered, oldest first; whole, or in pages for who asks for them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from scripts.simulators import books, inputs
from scripts.simulators.asgi import Answer, Request
from scripts.simulators.books import Book, Row
from scripts.simulators.inputs import invalid

LONGEST_PAGE = 10_000
ALL = -1
"""What SQLite takes for no limit."""
PERIOD = {"created_from": "created_at >= ?", "created_to": "created_at < ?"}


def answer(
    book: Book,
    request: Request,
    *,
    table: str,
    filters: Mapping[str, str],
    as_json: Callable[[Row], dict[str, Any]],
    has_period: bool = False,
) -> Answer:
    """The rows of the table; with `limit` one page of them, and in `next` the id to ask on `after`, or null.

    `filters` names the column of each query parameter; with `has_period` there are `created_from` (the first
    instant of it) and `created_to` (the first after it) as well. Raises Refused for a parameter that is not
    known: if it were ignored, a misspelt filter would list everything.
    """
    period = PERIOD if has_period else {}
    _refuse_unknown(request, {*filters, *period, "limit", "after"})
    wanted: dict[str, str | int] = {
        f"{filters[name]} = ?": request.query[name] for name in filters if name in request.query
    }
    wanted |= {
        condition: books.written(inputs.moment(request.query[name], name))
        for name, condition in period.items()
        if name in request.query
    }
    wanted["number > ?"] = _number(book, table, request)
    if "limit" not in request.query:
        rows = _rows(book, table=table, wanted=wanted, limit=ALL)
        return Answer(200, {"results": [as_json(row) for row in rows]})
    limit = _limit(request)
    rows = _rows(book, table=table, wanted=wanted, limit=limit + 1)
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
    found = _rows(book, table=table, wanted={"id = ?": request.query["after"]}, limit=1)
    if not found:
        raise invalid("after", "an id of the list")
    number: int = found[0]["number"]
    return number


def _rows(book: Book, *, table: str, wanted: Mapping[str, str | int], limit: int) -> list[Row]:
    """The rows that meet every condition. Their words and the table's are ours, never a client's."""
    conditions = " AND ".join(wanted)
    statement = " ".join(["SELECT * FROM", table, "WHERE", conditions, "ORDER BY number LIMIT ?"])
    return book.execute(statement, [*wanted.values(), limit]).fetchall()
