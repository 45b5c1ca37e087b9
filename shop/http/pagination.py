"""Lists: cursor pages of 50, `?limit=` up to 200."""

from collections.abc import Callable
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.utils.urls import replace_query_param

from shop.errors import invalid_field
from shop.http.views import Request, Response


class ListPagination(CursorPagination):
    """Pages that stay right while rows are added: the cursor is a position, not a count."""

    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"
    position_field: Any

    def get_page_size(self, request: Any) -> int:
        asked = request.query_params.get("limit")
        if asked is None:
            return self.page_size
        if not (asked.isascii() and asked.isdigit() and asked.strip("0")):
            raise invalid_field("limit", "invalid", "The limit must be a number from 1 to 200.")
        # Python reads no number of thousands of digits.
        return min(int(asked), self.max_page_size) if len(asked) < 10 else self.max_page_size

    def decode_cursor(self, request: Any) -> Cursor | None:
        """The cursor, its position held to the column: what a client made up never reaches the database.

        Base64 passes over what it can't read, so `..` would be the first page: only what would be written
        just so is a cursor.
        """
        cursor: Cursor | None = super().decode_cursor(request)
        if cursor is None:
            return None
        if cursor.position is not None:
            self.position_field.clean(cursor.position, None)
        asked = request.query_params["cursor"]
        if self.encode_cursor(cursor) != replace_query_param(self.base_url or "", "cursor", asked):
            raise NotFound(self.invalid_cursor_message)
        return cursor


def paginate(
    request: Request,
    rows: "QuerySet[Any]",
    body: Callable[[Any], dict[str, Any]],
    *,
    ordering: str | tuple[str, ...] = "-id",
) -> Response:
    """One page of `rows` as the contract's list; `ordering` must be unique and unchanging."""
    pages = ListPagination()
    pages.ordering = (ordering,) if isinstance(ordering, str) else ordering
    pages.position_field = rows.model._meta.get_field(pages.ordering[0].lstrip("-"))
    try:
        found: list[Model] = pages.paginate_queryset(rows, cast(Any, request)) or []
    except (NotFound, ValidationError):
        raise invalid_field("cursor", "invalid", "The cursor is not one of this list's.") from None
    return Response(
        {
            "results": [body(row) for row in found],
            "next": pages.get_next_link(),
            "previous": pages.get_previous_link(),
        }
    )
