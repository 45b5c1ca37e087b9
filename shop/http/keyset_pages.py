"""Pages of long lists by key: a page begins after a row of the page before, found by the list's index."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Field, Model, Q, QuerySet
from django.http import HttpRequest
from unfold.paginator import InfinitePaginator

AFTER, BEFORE, LAST = "after:", "before:", "last"
FIRST = "1"
"""As Django numbers the first page."""
LONGEST_POSITION = 200
_UNINDEXED = "firstcome.unindexed_filter"


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


@dataclass(frozen=True, slots=True)
class KeysetPage:
    """Rows of a list, and the positions of the pages beside; None where there are no rows.

    `is_cut` says that the rows end with a window of the table, and that further ones were not looked at.
    """

    rows: list[Any]
    previous: str | None
    next: str | None
    is_cut: bool = False


def read_page(
    rows: "QuerySet[Any]", position: str, *, ordering: Sequence[str], size: int, window: int | None = None
) -> KeysetPage:
    """The page at the position, the first one if that is empty or "1". Raises InvalidPosition.

    `ordering` has names of columns that are never null; together they are unique. With a `window` the page
    looks at so many rows of the table at most, whether they are among these rows or not.
    """
    if rows.query.is_empty():
        return KeysetPage([], previous=None, next=None)
    names = _columns(rows.model, ordering)
    is_backward = position == LAST or position.startswith(BEFORE)
    direction = names
    if is_backward:
        direction = [name[1:] if name.startswith("-") else f"-{name}" for name in names]
    table = rows.model._base_manager.using(rows.db)
    if position.startswith((AFTER, BEFORE)):
        beyond = _beyond(direction, _values(rows.model, names, position.partition(":")[2]))
        rows, table = rows.filter(beyond), table.filter(beyond)
    elif position not in ("", FIRST, LAST):
        raise InvalidPosition(position)
    end = _end_of_window(table.order_by(*direction), direction, window) if window else None
    if end is not None:
        rows = rows.filter(_up_to(direction, end))
    # One row more says whether there is another page.
    found = list(rows.order_by(*direction)[: size + 1])
    is_full = len(found) > size
    found, is_cut = found[:size], end is not None and not is_full
    onward = _position_of(found[-1], names) if is_full else _position(end)
    back = _position_of(found[0], names) if found else _beside(position, names)
    if position in ("", FIRST, LAST):
        back = None
    if is_backward:
        return KeysetPage(found[::-1], _address(BEFORE, onward), _address(AFTER, back), is_cut)
    return KeysetPage(found, _address(BEFORE, back), _address(AFTER, onward), is_cut)


def _address(direction: str, position: str | None) -> str | None:
    return position and direction + position


def _end_of_window(table: "QuerySet[Any]", direction: Sequence[str], window: int) -> tuple[Any, ...] | None:
    """The values with which the window ends; None if the table ends in it."""
    columns = [name.lstrip("-") for name in direction]
    ends = list(table.values_list(*columns)[window - 1 : window + 1])
    return ends[0] if len(ends) > 1 else None


def _columns(model: type[Model], ordering: Sequence[str]) -> list[str]:
    """The columns with their signs, up to the first unique one: what follows it sorts nothing."""
    columns: list[str] = []
    for name in ordering:
        sign, plain = ("-", name[1:]) if name.startswith("-") else ("", name)
        field = model._meta.pk if plain == "pk" else _field(model, plain)
        columns.append(sign + field.name)
        if field.unique:
            break
    return columns


def _beyond(direction: Sequence[str], values: Sequence[Any]) -> Q:
    condition, equal = Q(), Q()
    for name, value in zip(direction, values, strict=True):
        plain = name.lstrip("-")
        condition |= equal & Q(**{f"{plain}__{'lt' if name.startswith('-') else 'gt'}": value})
        equal &= Q(**{plain: value})
    if len(direction) > 1:
        # What the alternatives have in common, by which an index is entered.
        plain, sign = direction[0].lstrip("-"), "lte" if direction[0].startswith("-") else "gte"
        condition &= Q(**{f"{plain}__{sign}": values[0]})
    return condition


def _up_to(direction: Sequence[str], values: Sequence[Any]) -> Q:
    if len(direction) > 1:
        return ~_beyond(direction, values)
    name = direction[0]
    return Q(**{f"{name.lstrip('-')}__{'gte' if name.startswith('-') else 'lte'}": values[0]})


def _beside(position: str, names: Sequence[str]) -> str | None:
    """The number beside that of a position, from which pages lead back over its row; None without one."""
    kind, _, text = position.partition(":")
    if not text.lstrip("-").isdigit():
        return None
    is_up = (f"{kind}:" == AFTER) != names[0].startswith("-")
    return str(int(text) + (1 if is_up else -1))


def _position_of(row: Model, names: Sequence[str]) -> str:
    return str(_position([getattr(row, _field(type(row), name).attname) for name in names]))


def _position(values: Sequence[Any] | None) -> str | None:
    if values is None:
        return None
    texts = (value.isoformat() if isinstance(value, datetime) else str(value) for value in values)
    return ",".join(texts)


def _field(model: type[Model], name: str) -> "Field[Any, Any]":
    field = model._meta.get_field(name.lstrip("-"))
    assert isinstance(field, Field)
    return field


def _values(model: type[Model], names: Sequence[str], text: str) -> list[Any]:
    """The values of a position, which is as `_position` writes it. Raises InvalidPosition."""
    parts = text.split(",", len(names) - 1)
    if len(parts) != len(names) or len(text) > LONGEST_POSITION or not text.isprintable():
        raise InvalidPosition(text)
    try:
        values = [_field(model, name).to_python(part) for name, part in zip(names, parts, strict=True)]
        values = [one.astimezone(UTC) if isinstance(one, datetime) else one for one in values]
    except (ValidationError, OverflowError):
        raise InvalidPosition(text) from None
    # A column takes many other texts, from NaN to instants of any zone: no row has them.
    if _position(values) != text:
        raise InvalidPosition(text)
    return values
