"""Lists: cursor pages of `DEFAULT_PAGE` rows, or as many as `?limit=` says, up to `LARGEST_PAGE`."""

from collections.abc import Callable
from typing import Any, cast

from django.core.exceptions import ValidationError
from django.db.models import Model, QuerySet
from rest_framework.exceptions import NotFound
from rest_framework.pagination import Cursor, CursorPagination
from rest_framework.utils.urls import replace_query_param

from shop.db import secondary
from shop.errors import invalid_field
from shop.http.messages import Request, Response
from shop.lazy_texts import mark as _

DEFAULT_PAGE, LARGEST_PAGE = 50, 200
ROWS_AT_ONCE = 20_000
"""Rows that one page looks at, in a list whose condition no index supports."""


class ListPagination(CursorPagination):
    """Cursor pagination: it stays correct while rows are added, because the cursor is a position."""

    page_size = DEFAULT_PAGE
    max_page_size = LARGEST_PAGE
    page_size_query_param = "limit"
    position_field: Any

    def get_page_size(self, request: Any) -> int:
        text = request.query_params.get("limit")
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and text.strip("0")):
            raise invalid_field(
                "limit",
                "invalid",
                _("The limit must be a number from 1 to {largest}.", largest=LARGEST_PAGE),
            )
        # Python reads no number of thousands of digits.
        return min(int(text), self.max_page_size) if len(text) < 10 else self.max_page_size

    def decode_cursor(self, request: Any) -> Cursor | None:
        """Decode the cursor and validate its position, so that invalid values never reach the database.

        Base64 decoding ignores invalid characters, so `..` would mean the first page: a cursor is accepted
        only if encoding it again gives the same text.
        """
        cursor: Cursor | None = super().decode_cursor(request)
        if cursor is None:
            return None
        if cursor.position is not None:
            self.position_field.clean(cursor.position, None)
        text = request.query_params["cursor"]
        if self.encode_cursor(cursor) != replace_query_param(self.base_url or "", "cursor", text):
            raise NotFound(self.invalid_cursor_message)
        return cursor


class BoundedPagination(ListPagination):
    """Pages that look at `ROWS_AT_ONCE` rows at most, by their primary key, and go on in the next one.

    So a page may have fewer rows than it might, or none, and yet a neighbour. The ordering is the primary
    key, descending.
    """

    start: int | None = None
    """The key after which the page begins."""
    last_seen: int | None = None
    """The key of the last row that the page looks at, if there may be others beyond."""

    def paginate_queryset(self, queryset: Any, request: Any, view: Any = None) -> Any:
        self.base_url = request.build_absolute_uri()
        cursor = self.decode_cursor(request) or Cursor(offset=0, reverse=False, position=None)
        beyond, until, order = ("gt", "lte", "id") if cursor.reverse else ("lt", "gte", "-id")
        rows = queryset.model._base_manager.using(queryset.db).order_by(order).values_list("id", flat=True)
        if cursor.position is not None:
            self.start = int(cursor.position)
            rows = rows.filter(**{f"id__{beyond}": self.start})
        self.last_seen = next(iter(rows[ROWS_AT_ONCE - 1 : ROWS_AT_ONCE]), None)
        if self.last_seen is not None:
            queryset = queryset.filter(**{f"id__{until}": self.last_seen})
        return super().paginate_queryset(queryset, request, view)

    def get_next_link(self) -> str | None:
        return self._link_back(reverse=False) or super().get_next_link() or self._link_on(reverse=False)

    def get_previous_link(self) -> str | None:
        return self._link_back(reverse=True) or super().get_previous_link() or self._link_on(reverse=True)

    def _link_back(self, *, reverse: bool) -> str | None:
        """From a page without rows, the link to where it came from: the row before its first is the last."""
        if self.page or self.start is None or self._was_reverse() == reverse:
            return None
        before = self.start - 1 if reverse else self.start + 1
        return self.encode_cursor(Cursor(offset=0, reverse=reverse, position=before))

    def _link_on(self, *, reverse: bool) -> str | None:
        """The link to rows beyond the last one seen, if the page was read in this direction."""
        if self.last_seen is None or self._was_reverse() != reverse:
            return None
        return self.encode_cursor(Cursor(offset=0, reverse=reverse, position=self.last_seen))

    def _was_reverse(self) -> bool:
        return self.cursor is not None and self.cursor.reverse


def paginate(
    request: Request,
    rows: "QuerySet[Any]",
    body: Callable[[Any], dict[str, Any]],
    *,
    ordering: str | tuple[str, ...] = "-id",
    pagination: type[ListPagination] = ListPagination,
) -> Response:
    """Return one page of `rows`; `ordering` must be unique and unchanging."""
    pages = pagination()
    pages.ordering = (ordering,) if isinstance(ordering, str) else ordering
    pages.position_field = rows.model._meta.get_field(pages.ordering[0].lstrip("-"))
    try:
        found: list[Model] = pages.paginate_queryset(rows, cast(Any, request)) or []
    except (NotFound, ValidationError):
        raise invalid_field("cursor", "invalid", _("The cursor does not belong to this list.")) from None
    return Response(
        {
            "results": [body(row) for row in found],
            "next": pages.get_next_link(),
            "previous": pages.get_previous_link(),
        }
    )


def paginate_for_staff(
    request: Request,
    rows: "QuerySet[Any]",
    body: Callable[[Any], dict[str, Any]],
    *,
    ordering: str | tuple[str, ...] = "-id",
    pagination: type[ListPagination] = ListPagination,
) -> Response:
    """`paginate` for rows of all accounts, which a secondary of the database may read."""
    return secondary.read(
        lambda database: paginate(
            request, rows.using(database), body, ordering=ordering, pagination=pagination
        ),
    )
