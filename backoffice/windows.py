"""Reading large tables by short statements, and sending what that takes a while to read."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.template.loader import render_to_string

from shop.db import secondary, transactions
from shop.http.pages import csv_format, large_responses

T = TypeVar("T")

ROWS = 5_000
"""Of a window, besides those of its last instant."""


def respond(request: HttpRequest, template: str, read: Callable[[], dict[str, Any]]) -> HttpResponseBase:
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
    model: type[Model], column: str, since: datetime, until: datetime, *, rows: int = ROWS
) -> Iterator[dict[str, datetime]]:
    """The conditions of the windows from `since` to before `until`, in order; `column` needs an index.

    Rows of one instant are in one window: a transaction gives the same instant to all rows of its batch.
    """
    of_period: Any = model._base_manager.filter(**{f"{column}__lt": until}).order_by(column)
    instants, start = of_period.values_list(column, flat=True), since
    while True:
        behind = fetch(instants.filter(**{f"{column}__gte": start})[rows : rows + 1])
        if behind == [start]:
            behind = fetch(instants.filter(**{f"{column}__gt": start})[:1])
        end = behind[0] if behind else until
        yield {f"{column}__gte": start, f"{column}__lt": end}
        if end == until:
            return
        start = end


def fetch(rows: "QuerySet[Any, Any]") -> list[Any]:
    """The rows, by one statement outside a transaction."""
    found: list[Any] = read_elsewhere(lambda database: list(rows.using(database)))
    return found


def read_elsewhere(work: Callable[[str], T]) -> T:
    """`work` with the alias of the database that reports and exports are read from."""
    return transactions.read(partial(secondary.read, work))
