"""Lists of operators' pages: searches by indexes, filters that choose rows at first, and related rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.checks import InlineModelAdminChecks
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from unfold.admin import TabularInline
from unfold.decorators import display

from shop.admin_site import ReadOnlyMixin
from shop.http.keyset_pages import KeysetPaginator

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise


def parse_uuid(term: str) -> UUID | None:
    """The UUID that an operator searches for, if it is one."""
    try:
        return UUID(term.strip())
    except ValueError:
        return None


class SearchMixin:
    """A list with a search of its own: Django's looks for parts of words, which no index finds."""

    def get_search_results(
        self, request: HttpRequest, rows: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """As Django wants it; no row is found twice."""
        term = search_term.strip()
        return (self.search(rows, term) if term else rows), False

    def search(self, rows: "QuerySet[Any]", term: str) -> "QuerySet[Any]":
        """Those of the rows that the term finds, which is not empty."""
        raise NotImplementedError


class ExactSearchMixin(SearchMixin):
    """A list that is searched by exact values, as indexes find no others: a UUID, or else a word.

    The rows are those of the first field that has the value at all, so that the database uses this field's
    index. By several fields at once, or by a column of a joined table, it would read the whole list.
    """

    uuid_fields: Sequence[str] = ()
    word_fields: Sequence[str] = ()

    def search(self, rows: "QuerySet[Any]", term: str) -> "QuerySet[Any]":
        id = parse_uuid(term)
        for name in self.word_fields if id is None else self.uuid_fields:
            condition = _having(rows.model, name, term if id is None else id)
            if condition is not None and rows.model._default_manager.filter(**condition).exists():
                return rows.filter(**condition)
        return rows.none()


def _having(model: type[Model], name: str, value: object) -> dict[str, Any] | None:
    """The lookup of rows with that value; of another table's column by the key there, None if it has none."""
    own, _, of_related = name.partition("__")
    if not of_related:
        return {name: value}
    related: Any = model._meta.get_field(own).related_model
    key = related._default_manager.filter(**{of_related: value}).values_list("pk", flat=True).first()
    return None if key is None else {own: key}


class ChoiceFilter(admin.SimpleListFilter):
    """A filter with a condition for each choice, or a function that returns it; others filter nothing."""

    options: Mapping[str, tuple["StrOrPromise", Q | Callable[[], Q]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(value, str(title)) for value, (title, _) in self.options.items()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        if (option := self.options.get(self.value() or "")) is None:
            return queryset
        condition = option[1]
        return queryset.filter(condition if isinstance(condition, Q) else condition())


class PreselectingFilter(admin.SimpleListFilter):
    """A filter that selects some rows as the list is opened, and all once a search or other filter is used.

    A subclass has a choice for each of the two, and none of Django's own.
    """

    everything: str

    def __init__(self, request: HttpRequest, *arguments: Any) -> None:
        # Paging and sorting are not a search.
        is_opened = not request.GET.keys() - {"p", "o"}
        self.default = self.initial_choice() if is_opened else self.everything
        super().__init__(request, *arguments)

    def initial_choice(self) -> str:
        """The choice with which the list is opened."""
        raise NotImplementedError

    def value(self) -> str:
        return super().value() or self.default

    def choices(self, changelist: Any) -> Any:
        """The choices of `lookups`, without Django's own "All"."""
        for lookup, title in self.lookup_choices:
            query = changelist.get_query_string({self.parameter_name: lookup})
            yield {"selected": self.value() == lookup, "query_string": query, "display": title}


class ReadOnlyInline(ReadOnlyMixin, TabularInline):
    """Rows of another model on a row's page, which operators can't add, change or delete."""

    checks_class = InlineModelAdminChecks  # type: ignore[assignment]


def key_column(name: str, description: "StrOrPromise") -> Callable[[Any, Any], Any]:
    """A column with the key of another row: Django doesn't translate the name of the column itself."""

    @display(description=description, ordering=name)
    def key(pages: Any, row: Any) -> Any:
        return getattr(row, name)

    return key


class KeysetMixin:
    """A long list, whose pages have no total, only links: counting millions of rows takes seconds."""

    paginator: Any = KeysetPaginator
    show_full_result_count = False


class PrefetchedListMixin(KeysetMixin):
    """A long list whose related rows are read by queries of their own.

    Joined, the database may start from the smaller table, and then it reads and sorts the whole long one.
    """

    # Not False: Django would join what the list displays.
    list_select_related: Sequence[str] = ()
    list_prefetch_related: Sequence[str] = ()

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: QuerySet[Any] = super().get_queryset(request)  # type: ignore[misc]
        return rows.prefetch_related(*self.list_prefetch_related)
