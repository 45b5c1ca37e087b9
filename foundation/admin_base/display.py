"""How operators' pages show what they have: statuses, stored texts, amounts, addresses, and what is refused.

Templates have the first by `{% load operators %}`.

`permission_denied` and `not_found` are Django's handlers of 403 and 404: which right is missing and who has
it, or that nothing is there. A program, whose `Accept` doesn't name HTML, gets the problem of the API.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django import template
from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.exceptions import FieldDoesNotExist
from django.db.models import BooleanField, DateTimeField, IntegerField, Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.templatetags.static import static
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import lazy
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import get_language, gettext
from unfold.utils import display_for_label

from foundation import clock, journal, lazy_texts
from foundation.admin_base.status_words import status_word
from foundation.http import problems
from foundation.models import JournalLine
from foundation.money import format_amount, format_number, unit_of

register = template.Library()
Context = dict[str, Any]
"""What a template shows, by its names."""
CODES = {
    "success": (
        "open available issued redeemed paid active received returned used succeeded done delivered approved "
        "valid holds"
    ),
    "info": "scheduled waiting awaiting_payment paying pending requires_action running staff sold",
    "warning": (
        "awaiting_codes sold_out held reserved adjusted low inactive full refunding in_doubt admitted "
        "compensated queued"
    ),
    "danger": "void failed payment_failed disabled stuck paused broken dead revoked lost",
    "default": "refunded cancelled expired reversed refused closed over",
}
COLOURS = {code: colour for colour, codes in CODES.items() for code in codes.split()}
"""Unfold's variant of each status."""
OF_DISPUTES = COLOURS | {"open": "warning", "won": "success"}
PAGE_OF_A_MODEL = re.compile(r"(\w+?)_(\w+)_(changelist|add|change|delete|history)")
"""The names of the admin's addresses: the app, the model, and what the page does."""
PLANNED = ("opens_at", "closes_at", "expires_at")
AMOUNTS = ("amount", "price")
"""How the names of columns end that have amounts."""
RIGHT_OF_A_PAGE = {"changelist": "view", "history": "view"}


def stylesheet(request: HttpRequest) -> str:
    """The one stylesheet of these pages, which unfold links on each of them."""
    return static("admin_base/pages.css")


class StatusLabel(SafeString):
    """A status as a coloured label, in the operator's language; exports have its code instead."""

    code: str


@register.filter
def status_label(code: str, colours: Mapping[str, str] = COLOURS, *, word: str = "") -> StatusLabel:
    """The label of a status: `colours` has unfold's variants by code, `word` is another word for it."""
    shown = (code, word or status_word(code))
    label = StatusLabel(display_for_label(shown, "", {code: colours.get(code, "")}))
    label.code = code
    return label


def view_of(row: Model | type[Model], page: str = "change") -> str:
    """The name of the admin's page of a row, or of another page of its model."""
    return f"admin:{row._meta.app_label}_{row._meta.model_name}_{page}"


@register.simple_tag
def shop_zone() -> str:
    """The name of the time zone in which the pages show and read times."""
    return str(settings.SHOP_TIME_ZONE)


def instant_text(at: datetime) -> str:
    """The instant in the shop's time zone, to the second."""
    return f"{clock.local(at):%Y-%m-%d %H:%M:%S}"


@register.filter
def zoned_text(at: datetime) -> str:
    """The instant to the minute, in the shop's time zone and in UTC, each named."""
    here, utc = clock.local(at), at.astimezone(UTC)
    if here.utcoffset() == utc.utcoffset():
        return f"{utc:%Y-%m-%d %H:%M} UTC"
    return f"{here:%Y-%m-%d %H:%M} {shop_zone()} ({utc:%m-%d %H:%M} UTC)"


@register.filter
def actor_text(line: JournalLine) -> str:
    """The actor of a journal line: the kind, and the name or the number; with an API key, both."""
    name = line.actor_name
    if name.startswith(journal.KEY_NAME):
        return f"{line.get_actor_display()} {line.actor_id} ({name})"
    return f"{line.get_actor_display()} {name or line.actor_id or ''}".strip()


@register.filter
def stored_text(text: str) -> str:
    """A stored text, which is English, in the operator's language; what the catalogs lack stays as it is."""
    return lazy_texts.translate_stored(text, get_language() or lazy_texts.ENGLISH)


@register.filter
def amount(value: int, currency: str = "") -> str:
    """An amount in minor units as people read it, with its currency if that is given."""
    return format_amount(value, currency) if currency else format_number(value)


def in_currency(title: lazy_texts.Text) -> lazy_texts.Text:
    """The heading of a column of amounts, with the shop's currency."""
    return lazy(lambda: f"{title} ({unit_of(settings.CURRENCY)})", str)()


@register.filter
def exact_text(at: datetime) -> str:
    """The instant to the second, in the shop's time zone, which is named."""
    return f"{instant_text(at)} {shop_zone()}"


def age(at: datetime) -> str:
    """How long ago it was, or how long it is until then: "3 minutes", in the reader's language."""
    now = clock.now()
    if abs(now - at) < timedelta(minutes=1):
        return gettext("less than a minute")
    # Its spaces don't break, and a section on a phone is narrow.
    return timesince(min(at, now), max(at, now), depth=1).replace("\xa0", " ")


def ago(at: datetime) -> str:
    text = gettext("%(age)s ago") if at <= clock.now() else gettext("in %(age)s")
    return text % {"age": age(at)}


@register.filter
def time_tag(at: datetime | None, *, is_planned: bool = False) -> str:
    """An instant as how long ago it was, with the instant itself on hover; a planned one by itself."""
    if at is None:
        return ""
    exact = f"{at.astimezone(timezone.get_current_timezone()):%Y-%m-%d %H:%M:%S %Z}"
    shown = instant_text(at)[:16] if is_planned else ago(at)
    return format_html('<time datetime="{}" title="{}">{}</time>', at.isoformat(), exact, shown)


def shown_column(model: type[Model], name: Any) -> Any:
    """The column of a list as people read it: a field's amounts and numbers with separators, its instants by
    their age, and those that are planned as they are. All others as Django has them.
    """
    try:
        field: Any = model._meta.get_field(name)
    except FieldDoesNotExist:
        return name
    is_instant = isinstance(field, DateTimeField)
    if not is_instant and (not isinstance(field, IntegerField) or field.primary_key or field.choices):
        return name

    is_amount = name.endswith(AMOUNTS)

    def shown(row: Any) -> Any:
        value = getattr(row, name)
        if is_instant or value is None:
            return time_tag(value, is_planned=name in PLANNED)
        return format_number(value) if is_amount else f"{value:,}"

    title = in_currency(field.verbose_name) if is_amount else field.verbose_name
    # The stylesheet has figures at the right, by the names of their columns.
    shown.__name__ = name if is_instant else f"{name}_figure"
    return admin.display(description=title, ordering=name)(shown)


@register.filter
def read_only_text(shown: Any) -> Any:
    """A read-only field of a page: amounts with their currency, numbers with separators, instants with their
    zone, minutes for seconds, and booleans as words. All others as Django has them.
    """
    field, _, value = shown.resolved_field or (None, None, None)
    if isinstance(field, BooleanField):
        return gettext("yes") if value else gettext("no")
    if isinstance(field, DateTimeField) and value:
        return exact_text(value)
    if not isinstance(field, IntegerField) or value is None or field.primary_key or field.choices:
        text = shown.contents()
        return "" if text == "None" else text
    if field.name.endswith("_seconds"):
        return f"{value / 60:g}"
    if not field.name.endswith(AMOUNTS):
        return f"{value:,}"
    return format_amount(value, getattr(shown.form.instance, "currency", ""))


@register.filter
def signed(value: int) -> str:
    """A change, with its sign."""
    return f"{value:+,}"


def admin_page(request: HttpRequest, template: str, shown: Context) -> TemplateResponse:
    """A page with this template, which has what every page of the admin has."""
    return TemplateResponse(request, template, {**admin.site.each_context(request), **shown})


def link(
    text: object, view: str, *arguments: object, query: str = "", look: str = "text-link underline"
) -> SafeString:
    """A link to the page of this view."""
    address = reverse(view, args=arguments) + (f"?{query}" if query else "")
    return format_html('<a href="{}" class="{}">{}</a>', address, look, text)


def permission_denied(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Name the rights: the arguments of Django's `PermissionDenied`, or those that the address needs."""
    if not problems.is_for_people(request):
        return problems.permission_denied(request, exception)
    names = problems.missing_permissions(exception)
    page = PAGE_OF_A_MODEL.fullmatch((request.resolver_match and request.resolver_match.url_name) or "")
    if page and not names:
        app, model, what = page.groups()
        names = [f"{app}.{RIGHT_OF_A_PAGE.get(what, what)}_{model}"]
    rights = [_describe(name) for name in dict.fromkeys(names) if not request.user.has_perm(name)]
    return refusal_page(request, 403, gettext("This account may not do that"), rights)


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Lead back to where there are pages."""
    if not problems.is_for_people(request):
        return problems.not_found(request, exception)
    return refusal_page(request, 404, gettext("There is no such page"), [])


def refusal_page(
    request: HttpRequest, status: int, title: str, rights: list[dict[str, object]], *, detail: str = ""
) -> HttpResponse:
    """The page of a refusal: `detail`, or the rights that it needs."""
    # A request may be refused before its account is known.
    is_staff = hasattr(request, "user") and admin.site.has_permission(request)
    layout = "admin/base_site.html" if is_staff else "unfold/layouts/unauthenticated.html"
    shown = {"layout": layout, "title": title, "status": status, "rights": rights, "is_staff": is_staff}
    context = admin.site.each_context(request) if is_staff else {}
    return render(request, "admin_base/refusal.html", context | shown | {"detail": detail}, status=status)


def _describe(name: str) -> dict[str, object]:
    """The right in words, and the groups that have it."""
    app, _, codename = name.partition(".")
    permission = Permission.objects.filter(content_type__app_label=app, codename=codename).first()
    groups = Group.objects.filter(permissions=permission).order_by("name") if permission else []
    verb = codename.partition("_")[0]
    words = gettext(permission.name) if permission else name
    if permission and permission.name == f"Can {verb} {permission.content_type.name}":
        words = f"{permission.content_type.name}: {gettext(verb.capitalize())}"
    return {"name": name, "words": words, "groups": [gettext(group.name) for group in groups]}
