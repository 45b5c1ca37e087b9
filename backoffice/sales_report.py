"""Reports of money: sales by period, a page, its figures and the same as CSV; and balances of the ledger."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Count, Max, Sum
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_GET

from backoffice import list_exports, windows
from backoffice.sales_figures import Amounts, Figures
from coupons.models import Campaign
from inventory.models import Product
from payments.models import Entry, LedgerAccount
from shop import clock, form_fields
from shop.admin_base.actions import require_permission
from shop.admin_base.display import admin_page
from shop.db import transactions
from shop.errors import Invalid
from shop.http import problems
from shop.http.pages import csv_format, large_responses
from shop.journal import journal
from shop.money import format_amount, format_number

PERMISSIONS = ("orders.view_order", "payments.view_transfer")
LONGEST_DAYS = 366
MARGIN = timedelta(minutes=1)
"""Before now the figures end: a transaction in progress may still commit what is of an instant before."""
ROWS_SHOWN = 50
NAMES_AT_ONCE = 500
AMOUNTS = [
    "units", "items_amount", "discount_amount", "sales_amount", "points_amount", "card_amount",
    "refunded_units", "refunded_amount", "refunded_points_amount", "refunded_card_amount",
]  # fmt: skip
COLUMNS = ["product", "sku", "product_name", "campaign", "campaign_name", "order_lines", *AMOUNTS, "currency"]
SHOWN = ("items_amount", "discount_amount", "sales_amount", "points_amount", "refunded_amount", "net_amount")
"""The amounts of the page's tables, in the order of the templates' columns."""
ENTRIES_AT_ONCE = 50_000
"""Entries that one statement sums."""
LEDGER_KINDS = [kind for kind in LedgerAccount.Kind.values if kind != LedgerAccount.Kind.WALLET]
"""Of the shop's own accounts, of which each is the only one of its kind."""


class PeriodForm(forms.Form):
    """The first and the last day, in UTC."""

    since = form_fields.DayField(label=_("Since"), widget=forms.DateInput(attrs={"type": "date"}))
    through = form_fields.DayField(label=_("Through"), widget=forms.DateInput(attrs={"type": "date"}))

    def clean(self) -> dict[str, Any]:
        days: dict[str, Any] = super().clean() or {}
        if not self.errors:
            first, last = days["since"], days["through"]
            if last < first:
                raise forms.ValidationError(gettext("The last day is before the first: exchange them."))
            if last - first >= timedelta(days=LONGEST_DAYS):
                raise forms.ValidationError(
                    gettext("A report covers %(days)s days at most: choose fewer.") % {"days": LONGEST_DAYS}
                )
        return days

    def figures(self) -> Figures:
        """The figures of the period, not read yet: they end `MARGIN` before now at the latest."""
        since, through = (
            datetime.combine(self.cleaned_data[name], time(), tzinfo=UTC) for name in ("since", "through")
        )
        return Figures(since, max(since, min(through + timedelta(days=1), clock.now() - MARGIN)))


@require_GET
def sales(request: HttpRequest) -> HttpResponseBase:
    """The page: a form for the period, and the place of the figures."""
    require_permission(request, *PERMISSIONS)
    form = _form(request)
    shown = {
        "title": gettext("Sales by period"),
        "form": form,
        "is_valid": form.is_valid(),
        "may_export": request.user.has_perm(list_exports.PERMISSION),
    }
    return admin_page(request, "backoffice/sales.html", shown)


@require_GET
def sales_figures(request: HttpRequest) -> HttpResponseBase:
    """The figures of the page, which are read in parts."""
    require_permission(request, *PERMISSIONS)
    form = _form(request)
    if not form.is_valid():
        return _refusal(form)
    return windows.respond(request, "backoffice/sales_figures.html", partial(_read, form.figures()))


@require_GET
def sales_csv(request: HttpRequest) -> HttpResponseBase:
    """A row for each product and campaign, as CSV; it is journaled."""
    require_permission(request, *PERMISSIONS, list_exports.PERMISSION)
    form = _form(request)
    if not form.is_valid():
        return _refusal(form)
    days = {name: day.isoformat() for name, day in form.cleaned_data.items()}
    note = partial(journal.note, what="report.exported", subject="report sales", after=days, is_internal=True)
    return large_responses.respond(
        csv_format.generate_parts(COLUMNS, _csv_pages(form.figures())),
        account_id=int(request.user.pk or 0),
        content_type=csv_format.CONTENT_TYPE,
        filename="sales-{since}-{through}.csv".format(**days),
        before_parts=partial(transactions.run, note, transactions.ONCE),
    )


@require_GET
def ledger_balance(request: HttpRequest, kind: str) -> HttpResponseBase:
    """The balance, for the page of the account. Raises `Http404` and `PermissionDenied`."""
    require_permission(request, "payments.view_ledgeraccount")
    # The shop's own accounts are the few with ids below zero, which the key finds.
    id = LedgerAccount.objects.filter(pk__lt=0, kind=kind).values_list("pk", flat=True).first()
    if id is None:
        raise Http404
    return windows.respond(request, "backoffice/ledger_balance.html", partial(_read_balance, id))


def _csv_pages(figures: Figures) -> Iterator[list[list[Any]]]:
    figures.read()
    rows = sorted(figures.rows.items(), key=lambda row: (row[0].product_id, row[0].campaign_id or 0))
    for start in range(0, len(rows), NAMES_AT_ONCE):
        page = rows[start : start + NAMES_AT_ONCE]
        products = _products({key.product_id for key, _ in page})
        campaigns = _campaign_names({key.campaign_id for key, _ in page})
        yield [
            [
                *(key.product_id, *products[key.product_id], key.campaign_id, campaigns[key.campaign_id]),
                *(row.orders, *(getattr(row, name) for name in AMOUNTS), settings.CURRENCY),
            ]
            for key, row in page
        ]


def _read(figures: Figures) -> dict[str, Any]:
    figures.read()
    by_product, by_campaign = figures.by_product(), figures.by_campaign()
    shown_products, shown_campaigns = _largest(by_product), _largest(by_campaign)
    products = _products({id for id, _ in shown_products})
    names = _campaign_names({id for id, _ in shown_campaigns})
    return {
        "currency": settings.CURRENCY,
        "since": figures.since,
        "until": figures.until,
        "cards": _cards(figures.total()),
        "products": [
            (" ".join(products[id]), reverse("admin:inventory_product_change", args=[id]), _cells(row))
            for id, row in shown_products
        ],
        "products_hidden": len(by_product) - len(shown_products),
        "campaigns": [
            (names[id], reverse("admin:coupons_campaign_change", args=[id]), _cells(row))
            if id
            else (gettext("Without a coupon"), "", _cells(row))
            for id, row in shown_campaigns
        ],
        "campaigns_hidden": len(by_campaign) - len(shown_campaigns),
        "points": [(name, format_number(amount)) for name, amount in figures.points()],
        "checks": [
            (check, format_number(check.reported_amount), format_number(check.ledger_amount))
            for check in figures.checks()
        ],
        "is_right": not any(check.difference_amount for check in figures.checks()),
    }


def _cards(total: Amounts) -> list[tuple[str, str]]:
    return [
        (gettext("Orders paid"), f"{total.orders:,}"),
        (gettext("Units sold"), f"{total.units:,}"),
        (gettext("Before discounts"), format_amount(total.items_amount)),
        (gettext("Discounts"), format_amount(total.discount_amount)),
        (gettext("Sales"), format_amount(total.sales_amount)),
        (gettext("Paid with points"), format_amount(total.points_amount)),
        (gettext("Paid by card"), format_amount(total.card_amount)),
        (gettext("Refunds"), format_amount(total.refunded_amount)),
        (gettext("Sales less refunds"), format_amount(total.net_amount)),
    ]


def _cells(row: Amounts) -> list[str]:
    return [f"{row.orders:,}", f"{row.units:,}", *[format_number(getattr(row, name)) for name in SHOWN]]


def _largest(found: dict[Any, Amounts]) -> list[tuple[Any, Amounts]]:
    return sorted(found.items(), key=lambda row: -row[1].sales_amount)[:ROWS_SHOWN]


def _products(ids: set[int]) -> dict[int, tuple[str, str]]:
    """The sku and the name of each product."""
    rows = windows.fetch(Product.objects.filter(pk__in=ids).values_list("pk", "sku", "name"))
    return {id: (sku, name) for id, sku, name in rows}


def _campaign_names(ids: set[int | None]) -> dict[int | None, str]:
    rows = Campaign.objects.filter(pk__in=[id for id in ids if id]).values_list("pk", "name")
    return {None: "", **dict(windows.fetch(rows))}


def _form(request: HttpRequest) -> PeriodForm:
    """The form with the request's days; without any, those of this month so far."""
    today = clock.now().date()
    days = {"since": today.replace(day=1).isoformat(), "through": today.isoformat()}
    return PeriodForm(days | {name: request.GET[name] for name in days if name in request.GET})


def _refusal(form: PeriodForm) -> HttpResponseBase:
    detail = " ".join(str(message) for messages in form.errors.values() for message in messages)
    refused = gettext("Nothing was read. %(detail)s") % {"detail": detail}
    return problems.from_error(Invalid(refused, errors=[])).to_django()


def _read_balance(account_id: int) -> dict[str, Any]:
    """Sum the entries in the order of their ids: the account caches no balance, and they grow without end."""
    entries, amount, last, is_end = 0, 0, 0, False
    while not is_end:
        summed = windows.read_elsewhere(partial(_sum_after, account_id, last))
        entries += summed["entries"]
        amount += summed["amount"] or 0
        last, is_end = summed["last"], summed["entries"] < ENTRIES_AT_ONCE
    return {"amount": format_amount(amount), "entries": f"{entries:,}"}


def _sum_after(account_id: int, last: int, database: str) -> dict[str, Any]:
    """The number, the sum and the largest id of the next entries after the one with the id `last`."""
    entries = Entry.objects.using(database).filter(account_id=account_id, pk__gt=last).order_by("pk")
    return entries[:ENTRIES_AT_ONCE].aggregate(entries=Count("pk"), amount=Sum("amount"), last=Max("pk"))
