"""Lists: cursor pages of `DEFAULT_PAGE` rows, or as many as `?limit=` says: `LARGEST_PAGE` at most."""

from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from foundation.db import secondary
from foundation.errors import invalid_field
from foundation.http import keyset_pages
from foundation.http.json_format import JsonObject
from foundation.http.keyset_pages import AFTER, BEFORE, InvalidPosition, Walk
from foundation.http.messages import Request
from foundation.lazy_texts import mark

DEFAULT_PAGE = 50
LARGEST_PAGE = 200
ROWS_AT_ONCE = 20_000
"""Rows that one page looks at, in a list whose condition no index supports."""
Body = Callable[[Any], JsonObject]


def paginate(
    request: Request,
    rows: "QuerySet[Any]",
    body: Body,
    *,
    ordering: Sequence[str] = ("-id",),
    is_bounded: bool = False,
    among: "QuerySet[Any] | None" = None,
    parts: Sequence[Q] = (),
    walk: Walk | None = None,
) -> Response:
    """Return one page of `rows`; `ordering` must be unique and unchanging.

    A page that is bounded looks at `ROWS_AT_ONCE` rows at most, and goes on in the next one: so it may have
    fewer rows than it might, or none, and yet a neighbour. `among`, `parts` and `walk` are those of
    `keyset_pages.read_page`.
    """
    cursor = request.query_params.get("cursor", "")
    size = _limit(request)
    try:
        if cursor and not cursor.startswith((AFTER, BEFORE)):
            raise InvalidPosition(cursor)
        window = ROWS_AT_ONCE if is_bounded else None
        page = keyset_pages.read_page(
            rows, cursor, ordering=ordering, size=size, window=window, among=among, parts=parts, walk=walk
        )
    except InvalidPosition:
        raise invalid_field("cursor", "invalid", mark("The cursor does not belong to this list.")) from None
    address = request.build_absolute_uri()

    def link(position: str | None) -> str | None:
        return replace_query_param(address, "cursor", position) if position else None

    return Response(
        {
            "results": [body(row) for row in page.rows],
            "next": link(page.next),
            "previous": link(page.previous),
        }
    )


def paginate_for_staff(request: Request, rows: "QuerySet[Any]", body: Body, **options: Any) -> Response:
    """`paginate` for rows of all accounts, which a secondary of the database may read."""
    return secondary.read(lambda database: paginate(request, rows.using(database), body, **options))


def _limit(request: Request) -> int:
    text = request.query_params.get("limit")
    if text is None:
        return DEFAULT_PAGE
    # Python reads no number of thousands of digits.
    is_number = text.isascii() and text.isdigit() and len(text) < 10
    if not (is_number and 1 <= int(text) <= LARGEST_PAGE):
        invalid = mark("The limit must be a number from 1 to {largest}.", largest=LARGEST_PAGE)
        raise invalid_field("limit", "invalid", invalid)
    return int(text)
