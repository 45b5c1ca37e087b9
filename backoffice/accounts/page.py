"""The page of one account, a table for each app: the newest rows, read by the account's indexes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.html import format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts import accounts
from accounts.rights_in_words import describe_group, describe_rights
from accounts.tokens import sign_outs
from backoffice.accounts import actions
from backoffice.page_elements import Section, instant, link, list_section, may_view, number, row_link, section
from coupons.models import Coupon, QueueTicket
from foundation.admin_base.display import admin_page, status_label, view_of
from foundation.lazy_texts import Text
from foundation.models import JournalLine
from foundation.money import format_amount
from foundation.rates import rate_limits
from orders import selectors as order_selectors
from orders.models import Order
from orders.payment import rows as declined_rows
from payments import ledger
from payments.models import Entry
from sales.models import SaleEntry

NEWEST = 10
NEWEST_LINES = 15
NAMES_OF_RATES = {
    "coupons": _("requests for coupons"),
    "entries": _("waiting rooms joined"),
    "orders": _("orders placed"),
    "payments": _("payments started"),
    "top-ups": _("top-ups started"),
    "declines": _("declined payments"),
    "wrong-codes": _("wrong coupon codes"),
    "refreshes": _("renewed sign-ins"),
}


@require_safe
def show(request: HttpRequest, account_id: int) -> HttpResponse:
    """Show the account to an operator who may view accounts, with the parts that they may view."""
    if not may_view(request, User):
        raise PermissionDenied("auth.view_user")
    account = get_object_or_404(User, pk=account_id)
    readers: list[tuple[type[Model], Callable[[User], Section]]] = [
        *((model, partial(_newest, request, model)) for model in NEWEST_ROWS),
        (Entry, _wallet),
        (JournalLine, partial(_journal, request)),
        (Order, _limits),
    ]
    shown = {
        "title": gettext("Account %(name)s") % {"name": account.username},
        "account": account,
        "facts": _facts(account),
        "buttons": actions.buttons(request, account),
        "sections": [read(account) for model, read in readers if may_view(request, model)],
    }
    return admin_page(request, "backoffice/account.html", shown)


def _facts(account: User) -> list[tuple[str, Any]]:
    signed_out = sign_outs.last_sign_out(account.pk)
    roles = [describe_rights(account)]
    if account.is_staff and not account.is_superuser:
        groups = account.groups.prefetch_related("permissions__content_type")
        roles = [*map(describe_group, groups), *roles[: account.user_permissions.exists() or not groups]]
    return [
        (gettext("Number"), account.pk),
        (gettext("E-mail"), account.email or "-"),
        (gettext("State"), status_label("active" if account.is_active else "disabled")),
        (gettext("May do"), format_html_join(mark_safe("<br>"), "{}", ([one] for one in roles))),
        (gettext("Registered at"), instant(account.date_joined)),
        (gettext("Signed out everywhere at"), instant(signed_out.at) if signed_out else gettext("never")),
        (gettext("Account"), row_link(account, gettext("Name, e-mail, password and rights"))),
    ]


def _limits(account: User) -> Section:
    """What counts against the account's limits now."""
    usage = order_selectors.read_usage(account.pk)
    limits: list[tuple[str, str, int, int]] = [
        (gettext("unpaid orders"), gettext("now"), usage.unpaid_orders, settings.OPEN_ORDERS_PER_ACCOUNT)
    ]
    for product in usage.products:
        page = link(product.sku, "product-page", product.product_id)
        if product.unpaid_units:
            most = settings.OPEN_UNITS_PER_ACCOUNT
            limits.append((page, gettext("unpaid units"), product.unpaid_units, most))
        if product.limit is not None:
            limits.append((page, gettext("units, unpaid and paid"), product.held_units, product.limit))
    declines = declined_rows.read_declines(account.pk)
    usages = rate_limits.read_usages(account.pk) + ([declines] if declines else [])
    for rate in usages:
        minutes, seconds = divmod(rate.rate.seconds, 60)
        time = gettext("%(count)s s") if seconds else gettext("%(count)s min")
        window = gettext("in the last %(time)s") % {
            "time": time % {"count": rate.rate.seconds if seconds else minutes}
        }
        limits.append((str(NAMES_OF_RATES[rate.name]), window, rate.used, rate.rate.times))
    notes = (
        (not usage.is_complete, gettext("Only the newest orders and most held products are counted here.")),
        (
            not all(rate.is_shared for rate in usages),
            gettext("Redis can't be read, so more may have been used than is shown."),
        ),
        (account.is_staff, gettext("This is a staff account: it has no limits.")),
    )
    text = gettext("%(count)s of %(total)s")
    shown = [
        {"what": what, "counted": counted, "used": used, "most": most}
        | {"text": text % {"count": f"{used:,}", "total": f"{most:,}"}}
        for what, counted, used, most in limits
    ]
    return {"title": gettext("Limits"), "limits": shown, "notes": [note for is_so, note in notes if is_so]}


NEWEST_ROWS: dict[type[Model], Text] = {
    Order: _("Newest orders"),
    Coupon: _("Newest coupons"),
    QueueTicket: _("Newest queue tickets"),
    SaleEntry: _("Newest entries of sales"),
}
"""The titles of the tables of the account's newest rows."""


def _newest(request: HttpRequest, model: type[Model], account: User) -> Section:
    rows = _rows(model, account)
    return list_section(request, NEWEST_ROWS[model], rows, "account buyer", all=_all_of_them(model, account))


def _wallet(account: User) -> Section:
    return section(
        gettext("Wallet: %(balance)s") % {"balance": format_amount(ledger.balance_amount(account.pk))},
        _rows(Entry, account).select_related("transfer"),
        {
            gettext("entry"): lambda entry: row_link(entry.transfer, entry.transfer.get_kind_display()),
            gettext("amount"): lambda entry: f"{entry.amount:+,}",
            gettext("balance"): lambda entry: number(entry.balance_after_amount),
            gettext("reason"): lambda entry: entry.transfer.reason or "-",
            gettext("at"): lambda entry: instant(entry.transfer.at),
        },
        all=_all_of_them(Entry, account),
    )


def _rows(model: type[Model], account: User) -> "QuerySet[Any]":
    return model._default_manager.filter(account_id=account.pk).order_by("-id")[:NEWEST]


def _all_of_them(model: type[Model], account: User) -> SafeString:
    return link(gettext("Show all"), view_of(model, "changelist"), query=f"account__id__exact={account.pk}")


def _journal(request: HttpRequest, account: User) -> Section:
    """The account's own lines: sign-ins, refused tokens, changes and the actions of operators."""
    lines = JournalLine.objects.filter(subject=accounts.journal_subject(account.pk))
    return list_section(
        request,
        gettext("Sign-ins and changes"),
        lines.order_by("-id")[:NEWEST_LINES],
        "shown_subject",
        all=link(gettext("All lines"), "admin:shop_journalline_changelist", query=f"q=account+{account.pk}"),
        notes=[gettext("One row for each sign-in, and for each sign-out, on one device or everywhere.")],
    )
