"""Lists: cursor pages of `DEFAULT_PAGE` rows, or as many as `?limit=` says, up to `LARGEST_PAGE`."""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode

from django.db.models import QuerySet
from rest_framework.utils.urls import replace_query_param

from shop.db import secondary
from shop.errors import invalid_field
from shop.http import keyset_pages
from shop.http.keyset_pages import AFTER, BEFORE, InvalidPosition
from shop.http.messages import Request, Response
from shop.lazy_texts import mark as _

DEFAULT_PAGE, LARGEST_PAGE = 50, 200
ROWS_AT_ONCE = 20_000
"""Rows that one page looks at, in a list whose condition no index supports."""
Body = Callable[[Any], dict[str, Any]]


def paginate(
    request: Request,
    rows: "QuerySet[Any]",
    body: Body,
    *,
    ordering: str = "-id",
    is_bounded: bool = False,
) -> Response:
    """Return one page of `rows`; `ordering` must be unique and unchanging.

    A page that is bounded looks at `ROWS_AT_ONCE` rows at most, and goes on in the next one: so it may have
    fewer rows than it might, or none, and yet a neighbour.
    """
    window = ROWS_AT_ONCE if is_bounded else None
    try:
        position = _decode(request.query_params.get("cursor", ""))
        page = keyset_pages.read_page(
            rows, position, ordering=[ordering], size=_limit(request), window=window
        )
    except InvalidPosition:
        raise invalid_field("cursor", "invalid", _("The cursor does not belong to this list.")) from None
    address = request.build_absolute_uri()

    def link(position: str | None) -> str | None:
        return replace_query_param(address, "cursor", _encode(position)) if position else None

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
    if not (text.isascii() and text.isdigit() and text.strip("0")):
        invalid = _("The limit must be a number from 1 to {largest}.", largest=LARGEST_PAGE)
        raise invalid_field("limit", "invalid", invalid)
    # Python reads no number of thousands of digits.
    return min(int(text), LARGEST_PAGE) if len(text) < 10 else LARGEST_PAGE


def _encode(position: str) -> str:
    direction, _colon, values = position.partition(":")
    pairs = [("r", "1")] if f"{direction}:" == BEFORE else []
    return b64encode(urlencode([*pairs, ("p", values)]).encode()).decode()


def _decode(cursor: str) -> str:
    """The position in a cursor; encoding it again must give the same text. Raises `InvalidPosition`."""
    if not cursor:
        return ""
    try:
        pairs = dict(parse_qsl(b64decode(cursor.encode("ascii")).decode("ascii")))
    except (binascii.Error, ValueError):
        raise InvalidPosition(cursor) from None
    position = (BEFORE if "r" in pairs else AFTER) + pairs.get("p", "")
    if _encode(position) != cursor:
        raise InvalidPosition(cursor)
    return position
