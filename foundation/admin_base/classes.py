"""Bases of the admin pages: bounded lists, read-only rows and journaled changes."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import partial, reduce
from operator import or_
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.checks import ModelAdminChecks
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import flatten_fieldsets
from django.contrib.admin.views.main import ORDER_VAR, PAGE_VAR, SEARCH_VAR, ChangeListSearchForm
from django.core.exceptions import EmptyResultSet, ValidationError
from django.db import DEFAULT_DB_ALIAS, OperationalError, connections
from django.db.models import JSONField, Model, QuerySet, UUIDField
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import translation
from django.utils.decorators import method_decorator
from django.utils.functional import cached_property
from django.utils.text import capfirst
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.gzip import gzip_page
from unfold.views import ChangeList

from foundation import form_fields, journal
from foundation.admin_base.display import Context, admin_page, shown_column
from foundation.admin_base.history import in_parts, name_actors
from foundation.db import secondary
from foundation.db.mysql.patience import is_statement_ended, statement_limit
from foundation.errors import FirstcomeError, KeyReused, NeedsApproval, Unavailable
from foundation.http import keyset_pages, problems
from foundation.lazy_texts import Text
from foundation.models import JournalLine
from foundation.normalization import MOST_WORDS, spellings

LIST_SECONDS = 10
"""For a statement of a list's page; after it the server itself ends the statement."""
SEARCHED_ROWS = 20_000
"""Of a long list, for a page of a filter that no index supports: some 20 ms."""
LONGEST_SEARCH = 255
HISTORY_LINES = 100
REASON = "reason"
"""The name of the field in which forms ask for the reason of a change."""


def _require_few_words(term: str) -> None:
    if len(term.split()) > MOST_WORDS:
        raise ValidationError(gettext("A search has five words at most."))


class SearchForm(ChangeListSearchForm):
    """Of a list, with a longest term."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields = {SEARCH_VAR: forms.CharField(required=False, strip=False, max_length=LONGEST_SEARCH)}
        self.fields[SEARCH_VAR].validators.append(_require_few_words)


class OperatorsList(ChangeList):
    """A list that takes its own filters and links alone, and sorts by nothing but what it offers.

    Django's takes any lookup of any column: `token__startswith` reads a secret letter by letter, and a lookup
    or an order without an index reads the whole table.
    """

    search_form_class = SearchForm
    model_admin: Any
    root_queryset: "QuerySet[Any]"

    def get_queryset(self, request: HttpRequest, *args: Any, **kwargs: Any) -> "QuerySet[Any]":
        """As Django's, of the database that the request's list is read from."""
        self.root_queryset = self.root_queryset.using(getattr(request, "list_database", DEFAULT_DB_ALIAS))
        found: QuerySet[Any] = super().get_queryset(request, *args, **kwargs)
        try:
            with suppress(EmptyResultSet):
                str(found.query)
        except OverflowError:
            # A date of a filter is beyond the calendar in UTC.
            raise IncorrectLookupParameters from None
        return found

    def get_filters(self, request: HttpRequest) -> Any:
        found = super().get_filters(request)
        # The filters of the list have taken theirs out.
        if unknown := found[2].keys() - set(self.model_admin.linked_lookups):
            text = gettext("The list has no filter %(names)s.")
            messages.error(request, text % {"names": ", ".join(sorted(unknown))[:200]})
            raise IncorrectLookupParameters
        return found

    def url_for_result(self, result: Model) -> str:
        page = self.model_admin.row_page
        return reverse(page, args=[result.pk]) if page else super().url_for_result(result)

    def get_ordering(self, request: HttpRequest, queryset: "QuerySet[Any]") -> Any:
        """As Django's; of a list by key, which offers its own order alone, either way."""
        if self.model_admin.show_full_result_count:
            return super().get_ordering(request, queryset)
        asked = str(self.params.pop(ORDER_VAR, ""))
        ordering: list[str] = super().get_ordering(request, queryset)
        if asked:
            self.params[ORDER_VAR] = asked
        is_turned = bool(self.sortable_by and asked) and asked.startswith("-") != ordering[0].startswith("-")
        return (
            [name[1:] if name.startswith("-") else f"-{name}" for name in ordering] if is_turned else ordering
        )

    def get_ordering_field(self, field_name: Any) -> Any:
        return super().get_ordering_field(field_name) if field_name in self.sortable_by else None

    page_links: Sequence[tuple[str, str]] = ()
    """Of a list with pages by key: the words and the addresses of the pages beside; empty where is none."""
    page_note = ""
    full_result_count: int | None

    def get_results(self, request: HttpRequest) -> None:
        """As Django's, or the page by key. An export reads the rows by itself."""
        if getattr(request, "is_export", False):
            return
        if not issubclass(self.model_admin.paginator, keyset_pages.KeysetPaginator):
            super().get_results(request)
            return
        position = request.GET.get(PAGE_VAR, "")
        used = {text for name, value in request.GET.items() for text in (name, f"{name}={value}")}
        # Rows that a filter without an index finds may be far apart, or not there.
        chosen = [one for one in self.filter_specs if any(map(request.GET.get, one.expected_parameters()))]
        is_by_windows = keyset_pages.is_unindexed(request) or not (
            used.isdisjoint(self.model_admin.unindexed_filters)
            and (self.model_admin.are_filters_indexed_together or len(chosen) < 2)
        )
        periods = [one for one in chosen if getattr(one, "is_period", False)]
        try:
            page = keyset_pages.read_page(
                self.queryset,
                position,
                ordering=self.get_ordering(request, self.queryset),
                size=self.list_per_page,
                window=SEARCHED_ROWS if is_by_windows else None,
                among=periods[0].queryset(request, self.root_queryset) if periods else None,
            )
        except keyset_pages.InvalidPosition:
            messages.error(request, gettext("The list has no such page: begin at the first one."))
            raise IncorrectLookupParameters from None
        self.paginator = self.model_admin.get_paginator(request, self.queryset, self.list_per_page)
        self.result_list = page.rows
        # Nothing is counted. With two equal counts no template speaks of them, or offers to select all rows.
        self.result_count = self.full_result_count = len(page.rows)
        self.show_full_result_count = False
        self.show_admin_actions = True
        self.can_show_all = False
        self.multi_page = True
        if page.is_cut:
            cut = gettext("This page has the matches among {rows} rows. The next page goes on.")
            self.page_note = cut.format(rows=f"{SEARCHED_ROWS:,}")
        is_first = position in ("", keyset_pages.FIRST)
        # A window without rows has no row behind which the pages go back.
        has_last = page.next or (page.is_cut and position != keyset_pages.LAST)
        self.page_links = [
            (gettext("First page"), "" if is_first else self._address(keyset_pages.FIRST)),
            (gettext("Previous page"), self._address(page.previous)),
            (gettext("Next page"), self._address(page.next)),
            (gettext("Last page"), self._address(keyset_pages.LAST) if has_last else ""),
        ]

    def _address(self, position: str | None) -> str:
        return self.get_query_string({PAGE_VAR: position}) if position else ""


class ListMixin:
    """A list whose requests are bounded, in what they may look up and in how long the database works on them.

    Lists that count no rows are too large to be sorted: they come in their own order alone.
    """

    # The list has a button with its words.
    show_add_link = False
    # Unfold's look up the permissions of buttons in the database, which is empty before `migrate`.
    checks_class = ModelAdminChecks
    # Django's 100 rows took longer to render than to read.
    list_per_page = 50
    linked_lookups: Sequence[str] = ()
    """Lookups, beside those of its filters, that links of other pages use."""
    unindexed_filters: Collection[str] = ()
    """Filters without an index, by name or as `name=value`: a page looks at a part of the table alone."""

    are_filters_indexed_together = True
    """Whether an index serves two filters at once; else a page looks at a part of the table."""
    ordering_of_filters: Mapping[str, Sequence[str]] = {}
    """The order of the list while a filter is used: that of the filter's index, where it has one."""

    exported: Sequence[str] = ()
    """The columns of the list's export, where they are not those of the list."""
    row_page = ""
    """The name of the page that shows a row, where that is not Django's page of it."""

    @cached_property
    def _columns(self) -> list[Any]:
        return [shown_column(self.model, name) for name in self.list_display]  # type: ignore[attr-defined]

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """The columns as people read them: amounts and numbers with separators, instants by their age."""
        return self._columns

    technical: Collection[str] = ()
    """Fields for engineers, beside ids and JSON: they are folded below the others."""

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """As the class says, with what only engineers read in a fold at the end."""
        found = super().get_fieldsets(request, obj)  # type: ignore[misc]
        if obj is None:
            return found
        technical = {one.name for one in obj._meta.fields if isinstance(one, UUIDField | JSONField)}
        folded = [name for name in flatten_fieldsets(found) if name in technical.union(self.technical)]
        kept = [
            (title, options | {"fields": fields})
            for title, options in found
            if (fields := [name for name in options["fields"] if name not in folded])
        ]
        fold = (gettext("Technical details"), {"fields": folded, "classes": ["collapse", "fc-technical"]})
        return [*kept, fold] if folded else kept

    def add_context(self, request: HttpRequest, row: Any, context: Context) -> None:
        """Add to what the page of a row that is there shows."""

    def render_change_form(
        self, request: HttpRequest, context: Context, *args: Any, **named: Any
    ) -> HttpResponse:
        if row := named.get("obj"):
            if request.method == "POST":
                # A refused form has written what was typed into its row.
                row = context["adminform"].form.instance = self.get_object(request, str(row.pk))  # type: ignore[attr-defined]
                context |= {"original": row, "subtitle": str(row)}
            self.add_context(request, row, context)
        response: HttpResponse = super().render_change_form(request, context, *args, **named)  # type: ignore[misc]
        return response

    subject_key = "pk"

    @cached_property
    def subjects(self) -> Collection[str]:
        """What the journal calls a row, before its key."""
        return (self.opts.model_name,)  # type: ignore[attr-defined]

    def row_title(self, row: Any) -> str:
        """What the row is called where there are rows of all kinds."""
        return str(row)

    def journal_lines(self, row: Any) -> "QuerySet[JournalLine]":
        """The journal's lines of the row."""
        key = getattr(row, self.subject_key)
        return JournalLine.objects.filter(subject__in=[f"{kind} {key}" for kind in self.subjects])

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Context | None = None
    ) -> HttpResponse:
        """The journal of the row, for those who may view it; Django's own log has only part of that."""
        row = self.get_object(request, object_id)  # type: ignore[attr-defined]
        if row is None or not self.has_view_permission(request, row):  # type: ignore[attr-defined]
            response: HttpResponse = super().history_view(request, object_id, extra_context)  # type: ignore[misc]
            return response
        may_read = request.user.has_perm("shop.view_journalline")
        newest = self.journal_lines(row).order_by("-id")[:HISTORY_LINES]
        context = {
            "title": gettext("History of %(name)s") % {"name": self.row_title(row)},
            "opts": self.opts,  # type: ignore[attr-defined]
            "query": f"{next(iter(self.subjects), '')} {getattr(row, self.subject_key)}",
            "original": row,
            "parts": in_parts(name_actors(request, newest)) if may_read else None,
        }
        return admin_page(request, "admin_base/history.html", context)

    def get_ordering(self, request: HttpRequest) -> Any:
        used = (ordering for name, ordering in self.ordering_of_filters.items() if request.GET.get(name))
        return next(used, None) or super().get_ordering(request)  # type: ignore[misc]

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> "tuple[QuerySet[Any], bool]":
        """As Django's, for each spelling of the term."""
        search = super().get_search_results  # type: ignore[misc]
        found = [search(request, queryset, spelling) for spelling in spellings(search_term)]
        return reduce(or_, (rows for rows, _ in found)), any(is_repeated for _, is_repeated in found)

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Without the buttons that do nothing for the row as it is."""
        found: list[Any] = super().get_actions_detail(request, object_id)  # type: ignore[misc]
        conditions = [(one, getattr(one.method, "is_useful", None)) for one in found]
        if not any(is_useful for _, is_useful in conditions):
            return found
        row = self.get_object(request, object_id)  # type: ignore[attr-defined]
        return [one for one, is_useful in conditions if row and (not is_useful or is_useful(request, row))]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return OperatorsList

    # A quarter of a megabyte otherwise. Django's adds a random length against BREACH.
    @method_decorator(gzip_page)
    def changelist_view(self, request: HttpRequest, extra_context: Context | None = None) -> Any:
        """As Django's, rendered while the limit of its statements holds, or 503 if one took longer."""
        is_action = request.method == "POST" and request.POST.get("action") in self.get_actions(request)  # type: ignore[attr-defined]
        if request.method == "POST" and ACTION_CHECKBOX_NAME in request.POST:
            self._leave_out_what_is_no_key(request)
        render = partial(self._render_list, request, extra_context)
        try:
            if is_action:
                # An action may take longer: it has a limit for what it changes.
                return super().changelist_view(request, extra_context)  # type: ignore[misc]
            return secondary.read(render) if request.method == "GET" else render(DEFAULT_DB_ALIAS)
        except OperationalError as error:
            if not is_statement_ended(error):
                raise
            too_long = gettext(
                "The list took longer than %(seconds)s seconds. Use the search, or another filter."
            )
            return problems.from_error(Unavailable(too_long % {"seconds": LIST_SECONDS})).to_django()

    def _leave_out_what_is_no_key(self, request: HttpRequest) -> None:
        """Drop selected values that can't be a row's key: Django raises for them."""
        keys = []
        for value in request.POST.getlist(ACTION_CHECKBOX_NAME):
            with suppress(ValidationError):
                self.model._meta.pk.to_python(value)  # type: ignore[attr-defined]
                keys.append(value)
        data = request.POST.copy()
        data.setlist(ACTION_CHECKBOX_NAME, keys)
        request.POST = data  # type: ignore[assignment]  # the setter takes any

    def list_title(self, request: HttpRequest) -> Text:
        """What the window with the list is called."""
        return capfirst(self.model._meta.verbose_name_plural)  # type: ignore[attr-defined]

    def _render_list(self, request: HttpRequest, extra_context: Context | None, database: str) -> Any:
        """The rendered page of the list: its rows are read from this database, all else from the primary."""
        request.list_database = database  # type: ignore[attr-defined]
        extra_context = {"title": self.list_title(request), **(extra_context or {})}
        with ExitStack() as limits:
            for alias in {DEFAULT_DB_ALIAS, database}:
                limits.enter_context(statement_limit(connections[alias], seconds=LIST_SECONDS))
            response = super().changelist_view(request, extra_context)  # type: ignore[misc]
            if isinstance(response, TemplateResponse):
                response.render()
        return response


class ReadOnlyMixin(ListMixin):
    """Rows that operators can't add, change or delete."""

    # These tables are large, and the counts beside a filter's choices would read all their rows.
    show_facets = admin.ShowFacets.NEVER

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    has_change_permission = has_delete_permission = has_add_permission

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """As the class says; a row that the account may not view is named, without Django's link to it."""
        unlinked = {
            field.name: admin.display(description=field.verbose_name)(
                lambda row, name=field.name: getattr(row, name)
            )
            for field in self.model._meta.fields  # type: ignore[attr-defined]
            if field.related_model
            and not request.user.has_perm(field.related_model._meta.label_lower.replace(".", ".view_"))
        }
        fieldsets = super().get_fieldsets(request, obj)
        return [
            (title, options | {"fields": [unlinked.get(name, name) for name in options["fields"]]})
            for title, options in fieldsets
        ]


class NonAtomicAdmin(admin.ModelAdmin):
    """Pages that write by domain functions with transactions of their own. Must be the last base class.

    Django wraps its page in a transaction, in which theirs would be savepoints: a lost reply to its COMMIT
    would be shown as an error, and operators would repeat an action that was done.
    """

    @method_decorator(csrf_protect)
    def changeform_view(self, request: HttpRequest, *arguments: Any, **named: Any) -> HttpResponse:
        """As Django's, without the transaction. A refusal is shown on the page, which is loaded again."""
        try:
            return self._changeform_view(request, *arguments, **named)  # type: ignore[attr-defined]
        except NeedsApproval as error:
            ask(request, error, request.POST.get(REASON, ""))
        except FirstcomeError as error:
            messages.error(request, refusal_text(error))
        return HttpResponseRedirect(request.get_full_path())


def ask(request: HttpRequest, refused: NeedsApproval, reason: str) -> None:
    """Ask another operator for what one may not do alone, and say so."""
    refused.ask(reason)
    waits = gettext("Nothing is changed yet: another member of staff has to approve it.")
    messages.warning(request, f"{refused.detail} {waits}")


def form_error(error: FirstcomeError) -> forms.ValidationError:
    """The refusal as the error of a form."""
    return forms.ValidationError(refusal_text(error), code=error.code)


def refusal_text(error: FirstcomeError) -> str:
    """What an operator's form says of a refusal, and when to try again."""
    if isinstance(error, KeyReused):
        return gettext(
            "This form was sent before, with other values, and that was done. Open the page again to do more."
        )
    if error.retry_after is None:
        return str(error.detail)
    when = gettext("Try again in %(seconds)s s.") % {"seconds": error.retry_after}
    return f"{error.detail} {when}"


class ReasonedChangesMixin:
    """Pages whose form is a `ChangeForm`: below the fields of a row that may be changed, they ask why.

    Their numbers and instants are read as `foundation.literals` says.
    """

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        return super().formfield_for_dbfield(  # type: ignore[misc]
            db_field, request, **form_fields.strict_options(db_field), **kwargs
        )

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> Any:
        fieldsets = super().get_fieldsets(request, obj)  # type: ignore[misc]
        if obj is None or not self.has_change_permission(request, obj):  # type: ignore[attr-defined]
            return fieldsets
        return [*fieldsets, (None, {"fields": [REASON]})]

    def get_form(
        self, request: HttpRequest, obj: Model | None = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Without the declared fields that the page shows as text, or not at all, in the row's state.

        Django leaves them in the form, which then waits for values that no page sends.
        """
        form = super().get_form(request, obj, change=change, **kwargs)  # type: ignore[misc]
        shown = flatten_fieldsets(self.get_fieldsets(request, obj))
        for name, field in list(form.base_fields.items()):
            if obj is not None and name not in shown and not field.widget.is_hidden:
                del form.base_fields[name]
        return form


class JournaledChangesMixin(ReasonedChangesMixin, ListMixin):
    """Pages that record in the journal what they create and change: before, after, the operator and why."""

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:
        """Called after everything is saved, in the same transaction."""
        super().save_related(request, form, formsets, change)  # type: ignore[misc]
        fields = {field.name for field in form.instance._meta.get_fields()} - {"password"}
        # The names of permissions are translated, and the journal is in English.
        with translation.override("en"):
            after = {
                name: _json_value(form.cleaned_data[name]) for name in form.changed_data if name in fields
            }
            before = {name: _json_value(form.initial.get(name)) for name in after}
        changed = [name for name in after if after[name] != before[name]]
        if changed:
            kind = next(iter(self.subjects))
            journal.note(
                what=f"{kind}.{'changed' if change else 'created'}",
                subject=f"{kind} {form.instance.pk}",
                before={name: before[name] for name in changed} if change else None,
                after={name: after[name] for name in changed},
                detail=form.cleaned_data.get(REASON, ""),
                is_internal=True,
            )


def _json_value(value: Any) -> Any:
    """A form's value as JSON, with model objects by their names."""
    if isinstance(value, list | QuerySet):
        return sorted(str(row) for row in value)
    return str(value) if isinstance(value, Model) else value
