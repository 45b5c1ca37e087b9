"""Actions on selected rows of a list, after a page that names the rows and asks for the reason."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from unfold.admin import ModelAdmin

from shop.admin_site import LIST_SECONDS
from shop.db.mysql.patience import statement_limit
from shop.operators.forms import ReasonDialog

if TYPE_CHECKING:
    from django_stubs_ext import StrOrPromise

# All of them are listed on the page that asks for the reason.
MOST_AT_ONCE = 100


def _no_note(row: Any) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class SelectedAction:
    """An action of a list: its name, the texts and the form of its page, and what `perform` does.

    `title` is the question for a number of rows, without its mark. `note` says what is special about a row.
    `perform` gets the rows and the reason, and shows the operator what it did.
    """

    name: str
    title: Callable[[int], str]
    description: "StrOrPromise"
    submit: "StrOrPromise"
    perform: Callable[[Sequence[Any], str], None]
    form_class: type[ReasonDialog] = ReasonDialog
    note: Callable[[Any], str] = _no_note


def run(
    pages: ModelAdmin, request: HttpRequest, selected: "QuerySet[Any]", action: SelectedAction
) -> HttpResponse | None:
    """Ask for the reason on a page that lists the rows, then perform the action on these rows."""
    # All that a filter matches may be selected: to find that these are too many may read the table.
    with statement_limit(connection, seconds=LIST_SECONDS):
        rows = list(selected.order_by("pk")[: MOST_AT_ONCE + 1])
    if len(rows) > MOST_AT_ONCE:
        too_many = gettext("Nothing was done: select %(most)s at most, in several steps.")
        pages.message_user(request, too_many % {"most": MOST_AT_ONCE}, level=messages.ERROR)
        return None
    sent = request.POST if "_form_submitted" in request.POST else None
    form = action.form_class(request=request, data=sent)  # type: ignore[call-arg]  # of unfold, untyped
    if form.is_valid():
        action.perform(rows, form.cleaned_data["reason"])
        return None
    context = pages.admin_site.each_context(request) | {
        "title": action.title(len(rows)),
        "opts": pages.opts,
        "rows": [(row, action.note(row)) for row in rows],
        "form": form,
        "description": action.description,
        "submit_text": action.submit,
        "action_name": action.name,
        "action_checkbox_name": ACTION_CHECKBOX_NAME,
        "media": pages.media,
    }
    return TemplateResponse(request, "admin/confirm_selected.html", context)
