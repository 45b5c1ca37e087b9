"""Parts of operators' pages: tables in unfold's form, and their cells."""

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from coupons.models import Campaign
from foundation import clock
from foundation.admin_base import display
from foundation.lazy_texts import Text
from sales.models import SaleEntry


class Button(NamedTuple):
    """A link to an action that the operator may take."""

    title: str
    address: str
    icon: str
    variant: str = "default"


Section = dict[str, Any]
"""A part of a page, as the templates take it."""


def section(
    title: Text, rows: Iterable[Any], columns: Mapping[Any, Callable[[Any], object]], **more: Any
) -> Section:
    """A titled table for unfold's component of that name, with a column for each header."""
    table = {"headers": list(columns), "rows": [[cell(row) for cell in columns.values()] for row in rows]}
    return {"title": title, "table": table, **more}


def may_view(request: HttpRequest, model: type[Model]) -> bool:
    """Whether the operator may see the rows of this model, as an admin page of it decides."""
    return bool(admin.ModelAdmin(model, admin.site).has_view_permission(request))


link = partial(display.link, look="fc-anywhere text-link underline")
"""A link to a page, or to a list with a filter, that may break anywhere."""


def row_link(row: Model, text: object = "") -> SafeString:
    """A link to the admin's page of the row: its key, unless the link has another text."""
    return link(text or row.pk, f"admin:{row._meta.app_label}_{row._meta.model_name}_change", row.pk)


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


def entry_status(entry: SaleEntry) -> str:
    """The code of what the entry of a sale is now."""
    return entry.status_at(clock.now()).value
