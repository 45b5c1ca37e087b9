"""Reading large tables by short statements, and sending what that takes a while to read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from foundation.admin_base.display import Context
from foundation.db import secondary, transactions
from foundation.db.rows import present
from foundation.http.pages import csv_format, large_responses

T = TypeVar("T")

Window = dict[str, Any]
"""The conditions of a window, for `filter`."""
ROWS = 5_000
"""Of a window, besides those of its last instant."""


def respond(request: HttpRequest, template: str, read: Callable[[], Context]) -> HttpResponseBase:
    """Read the context, and render the part of a page that its script (`late.js`) waits for."""

    def parts() -> Iterator[str]:
        yield render_to_string(template, read(), request)

    return large_responses.respond(parts(), account_id=int(request.user.pk or 0), content_type="text/html")


def respond_csv(
    request: HttpRequest,
    header: Sequence[str],
    pages: Iterable[Iterable[Sequence[Any]]],
    *,
    filename: str,
    note: Callable[[], Any],
) -> HttpResponseBase:
    """The rows as a file, which `note` records in the journal before any row is sent."""
    return large_responses.respond(
        csv_format.generate_parts(header, pages),
        account_id=int(request.user.pk or 0),
        content_type=csv_format.CONTENT_TYPE,
        filename=filename,
        before_parts=partial(transactions.run, note, transactions.ONCE),
    )


def between(
    table: "QuerySet[Any]", column: str, since: Any = None, until: Any = None, *, rows: int = ROWS
) -> Iterator[Window]:
    """The conditions of the windows from `since` to before `until`, or to the table's end, in the order of
    the column, which needs an index.

    Rows of one instant are in one window: a transaction gives the same instant to all rows of its batch.
    """
    before = present(**{f"{column}__lt": until})
    values = table.filter(**before).order_by(column).values_list(column, flat=True)
    begin = present(**{f"{column}__gte": since})
    while True:
        behind = fetch(values.filter(**begin)[rows : rows + 1])
        if behind and behind == [*begin.values()]:
            behind = fetch(values.filter(**{f"{column}__gt": behind[0]})[:1])
        yield begin | ({f"{column}__lt": behind[0]} if behind else before)
        if not behind:
            return
        begin = {f"{column}__gte": behind[0]}


def fetch(rows: "QuerySet[Any, Any]") -> list[Any]:
    """The rows, by one statement outside a transaction."""
    found: list[Any] = read_elsewhere(lambda database: list(rows.using(database)))
    return found


def aggregate(rows: "QuerySet[Any]", **sums: Any) -> dict[str, int]:
    """The sums of the rows, by one statement outside a transaction."""
    return read_elsewhere(lambda database: rows.using(database).aggregate(**sums))


def read_elsewhere(work: Callable[[str], T]) -> T:
    """`work` with the alias of the database that reports and exports are read from."""
    return transactions.read(partial(secondary.read, work))
