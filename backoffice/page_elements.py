"""Parts of operators' pages: tables in unfold's form, and their cells."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import display_for_field, label_for_field, lookup_field
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext

from coupons.models import Campaign
from foundation.admin_base import display
from foundation.lazy_texts import Text

Section = dict[str, Any]
"""A part of a page, as the templates take it."""


def section(
    title: Text, rows: Iterable[Any], columns: Mapping[Any, Callable[[Any], object]], **more: Any
) -> Section:
    """A titled table for unfold's component of that name, with a column for each header."""
    table = {
        "headers": [*map(capfirst, columns)],
        "rows": [[cell(row) for cell in columns.values()] for row in rows],
    }
    return {"title": title, "table": table, **more}


def list_section(
    request: HttpRequest, title: Text, rows: "QuerySet[Any]", hidden: str, **more: Any
) -> Section:
    """The rows in the columns of the admin's list of them, but for the `hidden` ones; the first is a link."""
    pages: Any = admin.site.get_model_admin(rows.model)
    names = [name for name in pages.get_list_display(request) if name not in hidden.split()]

    def cell(name: Any, row: Model) -> object:
        field, _attribute, value = lookup_field(name, row, pages)
        text = display_for_field(value, field, "-") if field else value
        return row_link(row, text) if name == names[0] else text

    columns = {label_for_field(name, rows.model, pages): partial(cell, name) for name in names}
    return section(title, rows.prefetch_related(*pages.list_prefetch_related), columns, **more)


def may_view(request: HttpRequest, model: type[Model]) -> bool:
    """Whether the operator may see the rows of this model, as an admin page of it decides."""
    return bool(admin.ModelAdmin(model, admin.site).has_view_permission(request))


link = partial(display.link, look="fc-anywhere text-link underline")
"""A link to a page, or to a list with a filter, that may break anywhere."""


def row_link(row: Model, text: object = "") -> SafeString:
    """A link to the admin's page of the row: what it is called, unless the link has another text."""
    return link(text or row, display.view_of(row), row.pk)


def coupons_left(campaign: Campaign) -> str:
    """How many of the campaign's coupons are left; of one for everybody, how many are issued."""
    if campaign.remaining is None:
        return gettext("for everybody, %(count)s issued") % {"count": f"{campaign.issued:,}"}
    left = {"left": f"{campaign.remaining:,}", "quantity": f"{campaign.capacity:,}"}
    return gettext("%(left)s left of %(quantity)s") % left


def instant(at: datetime | None) -> str:
    """An instant in the shop's time zone, to the second."""
    return "" if at is None else display.instant_text(at)


def number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"
