"""Pages of long lists by key: a page begins after a row of the page before, found by the list's index."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice
from operator import itemgetter
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

AFTER = "after:"
BEFORE = "before:"
LAST = "last"
FIRST = "1"
"""As Django numbers the first page."""
LONGEST_POSITION = 200
_UNINDEXED = "firstcome.unindexed_filter"
Columns = list[tuple["Field[Any, Any]", bool]]
"""Of an ordering, each with whether it descends."""
Walk = Callable[..., Iterable[Any]]
"""What is beyond the values of a position, in order, or, with `is_backward`, in the opposite one; without
values all.
"""


class KeysetPaginator(InfinitePaginator):
    """Marks a list of the admin whose pages are read by `read_page`, and that counts no rows."""

    template_name = "admin_base/keyset_pagination.html"


def mark_unindexed(request: HttpRequest) -> None:
    """Note for this request that a filter has chosen a condition that no index supports."""
    request.META[_UNINDEXED] = True


def is_unindexed(request: HttpRequest) -> bool:
    return _UNINDEXED in request.META


class InvalidPosition(Exception):
    """A position that no page of this list has."""


class KeysetPage(NamedTuple):
    """Rows of a list, and the positions of the pages beside; None where there are no rows.

    `is_cut` says that the rows end with a window of the table, and that further ones were not looked at.
    """

    rows: list[Any]
    previous: str | None
    next: str | None
    is_cut: bool = False


def read_page(
    rows: "QuerySet[Any]",
    position: str,
    *,
    ordering: Sequence[str],
    size: int,
    window: int | None = None,
    among: "QuerySet[Any] | None" = None,
    parts: Sequence[Q] = (),
    walk: Walk | None = None,
) -> KeysetPage:
    """The page at the position, the first one if that is empty or "1". Raises InvalidPosition.

    `ordering` has names of columns that are never null; together they are unique. With a `window` the page
    looks at so many rows of the table at most, or of those that it looks `among`, whether they are among
    these rows or not. The rows are those of all `parts`, which have none in common: each is found in order by
    an index, and all together are not. If given, `walk` reads what the list has in place of the rows.
    """
    if rows.query.is_empty():
        return KeysetPage([], previous=None, next=None)
    columns = _columns(rows.model, ordering)
    is_backward = position == LAST or position.startswith(BEFORE)
    if is_backward:
        columns = [(field, not descends) for field, descends in columns]
    names = [f"{'-' if descends else ''}{field.name}" for field, descends in columns]
    table = rows.model._base_manager.using(rows.db) if among is None else among
    _, is_beyond, text = position.partition(":")
    if position.startswith((AFTER, BEFORE)):
        beyond = _beyond(columns, _values(columns, text))
        rows, table = rows.filter(beyond), table.filter(beyond)
    elif position not in ("", FIRST, LAST):
        raise InvalidPosition(position)
    end = _end_of_window(table.order_by(*names), columns, window) if window else None
    if end is not None:
        rows = rows.filter(_up_to(columns, end))
    # One row more says whether there is another page.
    if walk:
        values = _values(columns, text) if is_beyond else []
        found = list(islice(walk(*values, is_backward=is_backward), size + 1))
    else:
        found = _first(rows, parts, columns, names, size + 1)
    is_full = len(found) > size
    found = found[:size]
    is_cut = end is not None and not is_full
    onward = _text(_values_of(found[-1], columns) if is_full else end)
    back = _back(found, columns, text) if is_beyond else None
    before, after = (onward, back) if is_backward else (back, onward)
    return KeysetPage(
        found[::-1] if is_backward else found, before and BEFORE + before, after and AFTER + after, is_cut
    )


def _back(found: Sequence[Any], columns: Columns, text: str) -> str | None:
    """The position from which pages lead back over the row of the position that has this text."""
    if found:
        return _text(_values_of(found[0], columns))
    # From the number beside it.
    return str(int(text) + (-1 if columns[0][1] else 1)) if text.lstrip("-").isdigit() else None


def _end_of_window(table: "QuerySet[Any]", columns: Columns, window: int) -> Any:
    """The last row of the window; None if the table ends in it."""
    ends = list(table.values_list(*[field.name for field, _ in columns])[window - 1 : window + 1])
    return ends[0] if len(ends) > 1 else None


def _first(
    rows: "QuerySet[Any]", parts: Sequence[Q], columns: Columns, names: Sequence[str], number: int
) -> list[Any]:
    if len(parts) < 2:
        return list(rows.filter(*parts).order_by(*names)[:number])
    keys = ["pk", *(field.attname for field, _ in columns)]
    bare = rows.prefetch_related(None).order_by(*names).values_list(*keys)
    found = [key for part in parts for key in bare.filter(part)[:number]]
    for place, (_, descends) in reversed([*enumerate(columns, start=1)]):
        found.sort(key=itemgetter(place), reverse=descends)
    return list(rows.filter(pk__in=[pk for pk, *_ in found[:number]]).order_by(*names))


def _columns(model: type[Model], ordering: Sequence[str]) -> Columns:
    """The columns up to the first unique one: what follows it sorts nothing."""
    columns: Columns = []
    for name in ordering:
        plain = name.lstrip("-")
        field = model._meta.pk if plain == "pk" else model._meta.get_field(plain)
        assert isinstance(field, Field)
        columns.append((field, name.startswith("-")))
        if field.unique:
            break
    return columns


def _beyond(columns: Columns, values: Sequence[Any]) -> Q:
    condition = Q()
    equal = Q()
    for (field, descends), value in zip(columns, values, strict=True):
        condition |= equal & Q(**{f"{field.name}__{'lt' if descends else 'gt'}": value})
        equal &= Q(**{field.name: value})
    if len(columns) > 1:
        # What the alternatives have in common, by which an index is entered.
        field, descends = columns[0]
        condition &= Q(**{f"{field.name}__{'lte' if descends else 'gte'}": values[0]})
    return condition


def _up_to(columns: Columns, values: Sequence[Any]) -> Q:
    if len(columns) > 1:
        return ~_beyond(columns, values)
    [(field, descends)] = columns
    return Q(**{f"{field.name}__{'gte' if descends else 'lte'}": values[0]})


def _values_of(row: Model, columns: Columns) -> list[Any]:
    return [getattr(row, field.attname) for field, _ in columns]


def _text(values: Sequence[Any] | None) -> str | None:
    if values is None:
        return None
    return ",".join(value.isoformat() if isinstance(value, datetime) else str(value) for value in values)


def _values(columns: Columns, text: str) -> list[Any]:
    """The values of a position, which is as `_text` writes it. Raises InvalidPosition."""
    parts = text.split(",", len(columns) - 1)
    if len(parts) != len(columns) or len(text) > LONGEST_POSITION or not text.isprintable():
        raise InvalidPosition(text)
    try:
        values = [field.to_python(part) for (field, _), part in zip(columns, parts, strict=True)]
        values = [value.astimezone(UTC) if isinstance(value, datetime) else value for value in values]
    except (ValidationError, OverflowError):
        raise InvalidPosition(text) from None
    # A column takes many other texts, from NaN to instants of any zone: no row has them.
    if _text(values) != text:
        raise InvalidPosition(text)
    return values
