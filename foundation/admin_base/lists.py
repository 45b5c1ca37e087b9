"""Lists of operators' pages: searches by indexes, filters that choose rows at first, and related rows."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.checks import InlineModelAdminChecks
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.db.models import Case, Q, QuerySet, When
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext, gettext_lazy as _
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import RangeDateFilter, TextFilter
from unfold.decorators import display

from foundation import clock
from foundation.admin_base.classes import SEARCHED_ROWS, ListMixin, ReadOnlyMixin
from foundation.admin_base.display import Context, status_label
from foundation.admin_base.status_words import plain_text, status_word_lazy
from foundation.http.keyset_pages import KeysetPaginator
from foundation.lazy_texts import Text
from foundation.normalization import spellings

Narrow = Callable[["QuerySet[Any]"], "QuerySet[Any]"]
EVERYTHING = "everything"
"""The choice of all rows, of a filter that chooses some as the list is opened."""


def parse_uuid(term: str) -> UUID | None:
    """The UUID that an operator searches for, if it is one."""
    try:
        return UUID(term.strip())
    except ValueError:
        return None


def newest_rows(rows: "QuerySet[Any]") -> "QuerySet[Any]":
    """As many of the newest rows as may be read by their key for a condition without an index."""
    keys = rows.model._base_manager.order_by("-pk").values_list("pk", flat=True)
    oldest = list(keys[SEARCHED_ROWS - 1 : SEARCHED_ROWS])
    return rows.filter(pk__gte=oldest[0]) if oldest else rows


def find_named(rows: "QuerySet[Any]", term: str, *by: str) -> "QuerySet[Any]":
    """Those of the newest rows that have the term in one of these columns, whole ones first.

    No index finds a part of a name.
    """
    texts = dict.fromkeys([*spellings(term), term.upper()])

    def has(lookup: str) -> Q:
        return reduce(or_, (Q(**{f"{name}__{lookup}": text}) for name in by for text in texts))

    return (
        newest_rows(rows)
        .filter(has("icontains"))
        .order_by(Case(When(has("iexact"), then=0), default=1), "-pk")
    )


class SearchMixin:
    """A list that is searched by exact values, as indexes find no others: Django looks for parts of words.

    The rows are those of the first search field that has the value at all, so that the database uses this
    field's index. By several fields at once, or by a column of a joined table, it would read the whole list.
    """

    def get_search_results(
        self, request: HttpRequest, rows: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """As Django wants it; no row is found twice."""
        term = search_term.strip()
        return (self.search(rows, term) if term else rows), False

    def search(self, rows: "QuerySet[Any]", term: str) -> "QuerySet[Any]":
        """Those of the rows that the term finds, which is not empty."""
        for name in self.search_fields:  # type: ignore[attr-defined]
            own, _, of_related = name.partition("__")
            field: Any = rows.model._meta.get_field(own)
            try:
                if of_related:
                    related = field.related_model._default_manager.filter(**{of_related: term})
                    value = related.values_list("pk", flat=True).first()
                else:
                    value = (field.target_field if field.is_relation else field).to_python(term)
            except ValidationError:  # a word is no id
                continue
            if value is not None and rows.model._default_manager.filter(**{own: value}).exists():
                return rows.filter(**{own: value})
        return rows.none()


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with a condition for each choice, or a function that narrows the rows; others are refused.

    With `opened_with` the list opens with this choice, and has all rows once a search or filter is used.
    """

    options: Mapping[str, tuple[Text, Q | Narrow]]
    opened_with: Callable[[], str] | None = None

    def __init__(self, request: HttpRequest, *arguments: Any) -> None:
        # Paging and sorting are not a search.
        is_opened = not request.GET.keys() - {"p", "o"}
        self.default = self.opened_with and (self.opened_with() if is_opened else EVERYTHING)
        super().__init__(request, *arguments)

    def value(self) -> str | None:
        return super().value() or self.default

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(title)) for value, (title, _) in self.options.items()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        if (option := self.options.get(value := self.value() or "")) is None:
            if value not in ("", EVERYTHING):
                messages.error(request, gettext("The list has no filter %(names)s.") % {"names": self.title})
                raise IncorrectLookupParameters
            return queryset
        return queryset.filter(option[1]) if isinstance(option[1], Q) else option[1](queryset)

    def choices(self, changelist: Any) -> Any:
        """Without Django's own "All" where the options have one."""
        found = super().choices(changelist)
        return list(found)[1:] if self.opened_with else found


def choice_filter(
    title: Text,
    parameter_name: str,
    options: Mapping[str, tuple[Text, Q | Narrow]],
    *,
    opened_with: Callable[[], str] | None = None,
) -> type[ChoiceFilter]:
    """A `ChoiceFilter`, by the name of its parameter in addresses."""
    attributes = {"title": title, "parameter_name": parameter_name, "options": options}
    first = opened_with and staticmethod(opened_with)
    return type("ChoiceFilter", (ChoiceFilter,), attributes | {"opened_with": first})


def code_filter(title: Text, column: str, codes: Iterable[str]) -> type[ChoiceFilter]:
    """A filter by these codes of a column, for which Django's own would read the table."""
    options = {code: (status_word_lazy(code), Q(**{column: code})) for code in sorted(codes)}
    return choice_filter(title, column, options)


class WordFilter(TextFilter):
    """A filter by a text that operators type, whose label is its title."""

    def choices(self, changelist: Any) -> Iterator[Context]:
        name = self.parameter_name
        yield {"form": self.form_class(name=name, label=self.title, data={name: self.value()})}

    def queryset(self, request: HttpRequest, rows: "QuerySet[Any]") -> "QuerySet[Any]":
        word = (self.value() or "").strip()
        return self.narrow(request, rows, word) if word else rows

    def refuse(self, request: HttpRequest, rows: "QuerySet[Any]", text: str) -> "QuerySet[Any]":
        """No rows, and why: the text says it of the word."""
        messages.warning(request, text % {"word": str(self.value())[:50]})
        return rows.none()

    def narrow(self, request: HttpRequest, rows: "QuerySet[Any]", word: str) -> "QuerySet[Any]":
        """The rows that match the word, which is not empty."""
        raise NotImplementedError


class DaysFilter(RangeDateFilter):
    """From one day to another, both of them included, in the zone in which the page shows its instants.

    A list that is searched in parts is so within these days.
    """

    is_period = True

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        bounds = {}
        for end, lookup, days in (("from", "gte", 0), ("to", "lt", 1)):
            if day := self.used_parameters.get(f"{self.field_path}_{end}"):
                try:
                    start = date.fromisoformat(str(day)) + timedelta(days=days)
                    at = timezone.make_aware(datetime.combine(start, time.min))
                except (ValueError, OverflowError):
                    text = gettext("“%(word)s” is not a day. Write it as 2026-11-21.")
                    messages.error(request, text % {"word": str(day)[:50]})
                    raise IncorrectLookupParameters from None
                bounds[f"{self.field_path}__{lookup}"] = at
        return queryset.filter(**bounds)


class ReadOnlyInline(ReadOnlyMixin, TabularInline):
    """Rows of another model on a row's page, which operators can't add, change or delete."""

    checks_class = InlineModelAdminChecks  # type: ignore[assignment]
    # A formset takes names alone.
    get_fieldsets = ListMixin.get_fieldsets


def column(
    description: Text, read: Callable[[Any], Any], *, ordering: str | None = None
) -> Callable[[Any, Any], Any]:
    """A column of what `read` returns for a row."""

    @display(description=description, ordering=ordering)
    def value(pages: Any, row: Any) -> Any:
        return read(row)

    return value


def status_of(row: Any) -> str:
    """The code of the row's status now."""
    return str(row.status_at(clock.now()) if hasattr(row, "status_at") else row.status)


def plain_column(name: str, description: Text) -> Callable[[Any, Any], Any]:
    """A column of a text of programs, as people read it."""
    return column(description, lambda row: plain_text(str(getattr(row, name) or "")))


def key_column(name: str, description: Text) -> Callable[[Any, Any], Any]:
    """A column with the key of another row: Django doesn't translate the name of the column itself."""
    return column(description, lambda row: getattr(row, name), ordering=name)


class KeysetMixin:
    """A long list, whose pages have no total, only links: counting millions of rows takes seconds.

    Related rows are read by queries of their own. Joined, the database may start from the smaller table, and
    then it reads and sorts the whole long one.
    """

    paginator: Any = KeysetPaginator
    show_full_result_count = False
    sortable_by: Any = ()
    # Not False: Django would join what the list displays.
    list_select_related: Any = ()
    list_prefetch_related: Sequence[str] = ()

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        return rows.prefetch_related(*self.list_prefetch_related)


class RecordsAdmin(SearchMixin, KeysetMixin, ReadOnlyMixin, ModelAdmin):
    """A long list of rows that operators read and search, the newest first."""

    ordering = ["-id"]

    shown_status = column(_("status"), lambda row: status_label(status_of(row)))
