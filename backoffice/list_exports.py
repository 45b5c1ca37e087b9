"""Exports of the admin's lists as CSV: every registered list, with the filters and the search of its page.

The table is read in the order of its primary key, a window of it by one short statement, so no statement
gets longer with the table, whatever the filters are. Rows that change meanwhile are exported as they are when
their window is read. Columns are those of the list; `NEVER_EXPORTED` names those that no list may export.
"""

from collections.abc import Callable, Iterator
from functools import partial
from html import unescape
from operator import attrgetter
from typing import Any

from django.apps import apps
from django.contrib import admin, messages
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.utils import label_for_field, lookup_field
from django.contrib.admin.views.main import SEARCH_VAR
from django.core.exceptions import FieldDoesNotExist, PermissionDenied
from django.db.models import ForeignKey, QuerySet
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import translation
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.views.decorators.http import require_GET
from unfold.contrib.filters.admin import TextFilter

from backoffice import windows
from foundation import clock, journal
from foundation.admin_base.classes import OperatorsList
from foundation.admin_base.display import StatusLabel

PERMISSION = "shop.export_list"
TEXT = "(text)"
"""What the journal has instead of what staff searched for."""
ROWS_AT_ONCE = 2_000
"""Of the table in one window, whether the filters match them or not."""
NEVER_EXPORTED = frozenset(
    {"password", "token", "secret", "seed", "fingerprint", "key_hash", "body", "lease_token", "session_data"}
)


@require_GET
def export_list(request: HttpRequest, app_label: str, model_name: str) -> HttpResponseBase:
    """The list as a CSV file, for operators who may see it and hold `shop.export_list`; it is journaled.

    Its header and its words are English in every language of the pages, because programs read them.
    """
    try:
        model_admin = admin.site.get_model_admin(apps.get_model(app_label, model_name))
    except (LookupError, NotRegistered):
        raise Http404 from None
    if not (model_admin.has_view_permission(request) and request.user.has_perm(PERMISSION)):
        raise PermissionDenied(f"{app_label}.view_{model_name}", PERMISSION)
    try:
        rows = _filtered_rows(request, model_admin)
    except IncorrectLookupParameters:
        messages.error(
            request, gettext("Nothing was exported: the list has no such filter. Choose the filters again.")
        )
        return redirect(reverse(f"admin:{app_label}_{model_name}_changelist"))
    key = model_admin.model._meta.pk.name
    shown = getattr(model_admin, "exported", None) or model_admin.list_display
    columns = [key, *(name for name in shown if name not in {key, "pk", "__str__"} | NEVER_EXPORTED)]
    with translation.override("en"):
        labels = [str(label_for_field(name, model_admin.model, model_admin)) for name in columns]
    header = [label.strip().lower().replace(" ", "_") for label in labels]
    return windows.respond_csv(
        request,
        header,
        _cells(columns, rows, model_admin),
        filename=f"{app_label}-{model_name}-{clock.now():%Y%m%dT%H%M%SZ}.csv",
        note=partial(_note, request, model_admin, header),
    )


def _filtered_rows(request: HttpRequest, model_admin: "admin.ModelAdmin[Any]") -> "QuerySet[Any]":
    """The rows that the list's page would show with the request's filters, on all of its pages.

    Raises `IncorrectLookupParameters`.
    """
    if not OperatorsList.search_form_class(request.GET).is_valid():
        # The page shows all rows and says why; a file can't.
        raise IncorrectLookupParameters

    def filtered(database: str) -> "QuerySet[Any]":
        request.list_database, request.is_export = database, True  # type: ignore[attr-defined]
        rows: QuerySet[Any] = model_admin.get_changelist_instance(request).queryset
        return rows

    return windows.read_elsewhere(filtered)


def _note(request: HttpRequest, model_admin: "admin.ModelAdmin[Any]", header: list[str]) -> None:
    """Record the export in the journal, without the texts of searches.

    An address or a name that staff typed there would outlive the erasure of its account.
    """
    chosen: list[Any] = [one for one in model_admin.get_list_filter(request) if isinstance(one, type)]
    texts = {SEARCH_VAR, *(one.parameter_name for one in chosen if issubclass(one, TextFilter))}
    filters = {name: [TEXT] if name in texts else request.GET.getlist(name) for name in request.GET}
    journal.note(
        what="list.exported",
        subject=f"list {model_admin.opts.label_lower}",
        after={"filters": filters, "columns": header},
        is_internal=True,
    )


def _cells(
    columns: list[str], rows: "QuerySet[Any]", model_admin: "admin.ModelAdmin[Any]"
) -> Iterator[list[list[Any]]]:
    readers = [_reader(name, model_admin) for name in columns]
    # All of the rows, in the order of their keys: those in one window of the table after the other.
    for window in windows.between(rows.model._base_manager.all(), "pk", rows=ROWS_AT_ONCE):
        found = windows.fetch(rows.order_by("pk").filter(**window))
        with translation.override("en"):
            page = [[read(row) for read in readers] for row in found]
        yield page


def _reader(name: str, model_admin: "admin.ModelAdmin[Any]") -> Callable[[Any], Any]:
    """Reads a column of a row, as the list shows it; found once, because a list may have millions of rows."""
    try:
        field = model_admin.opts.get_field(name)
    except FieldDoesNotExist:
        shown = getattr(model_admin, name, None)
        return lambda row: _plain(shown(row) if shown else lookup_field(name, row, model_admin)[2])
    if isinstance(field, ForeignKey):
        # The text of another row if the list has read that row, else its key.
        return lambda row: getattr(row, name if field.is_cached(row) else field.attname)
    return attrgetter(name)


def _plain(value: Any) -> Any:
    if isinstance(value, StatusLabel):
        return value.code
    return unescape(strip_tags(value)) if isinstance(value, SafeString) else value
