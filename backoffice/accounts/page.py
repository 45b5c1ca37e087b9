"""The page of one account, a table for each app: the newest rows, read by the account's indexes."""

from collections.abc import Callable
from functools import partial
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_safe

from accounts import accounts
from accounts.models import SignOut
from accounts.tokens import sign_outs
from backoffice.accounts import actions
from backoffice.page_elements import Section, entry_status, instant, link, may_view, number, row_link, section
from coupons.models import Coupon, QueueTicket
from foundation import clock
from foundation.admin_base.display import actor_text, admin_page, status_label
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
    "refreshes": _("refreshed tokens"),
}


@require_safe
def show(request: HttpRequest, account_id: int) -> HttpResponse:
    """Show the account to an operator who may view accounts, with the parts that they may view."""
    if not may_view(request, User):
        raise PermissionDenied("auth.view_user")
    account = get_object_or_404(User, pk=account_id)
    readers: list[tuple[type[Model], Callable[[User], Section]]] = [
        (Order, _limits),
        *((model, partial(_newest, model)) for model in NEWEST_ROWS),
        (SignOut, _sign_outs),
        (JournalLine, _journal),
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
    kind = gettext("staff") if account.is_staff else gettext("customer")
    return [
        (gettext("Number"), account.pk),
        (gettext("E-mail"), account.email or "-"),
        (gettext("State"), status_label("active" if account.is_active else "disabled")),
        (gettext("Kind"), gettext("superuser") if account.is_superuser else kind),
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
            gettext("Redis can't be read: rates are those that this process has counted alone."),
        ),
        (account.is_staff, gettext("This is a staff account: its calls are not throttled.")),
    )
    text = gettext("%(count)s of %(total)s")
    shown = [
        {"what": what, "counted": counted, "used": used, "most": most}
        | {"text": text % {"count": f"{used:,}", "total": f"{most:,}"}}
        for what, counted, used, most in limits
    ]
    return {"title": gettext("Limits"), "limits": shown, "notes": [note for is_so, note in notes if is_so]}


NEWEST_ROWS: dict[type[Model], tuple[Text, str | None, dict[Text, Callable[[Any], object]]]] = {
    Order: (
        _("Newest orders"),
        None,
        {
            _("order"): row_link,
            _("status"): lambda order: status_label(order.status),
            _("total"): lambda order: format_amount(order.total_amount),
            _("coupon"): lambda order: order.coupon_code or "-",
            _("placed at"): lambda order: instant(order.placed_at),
        },
    ),
    Coupon: (
        _("Newest coupons"),
        "campaign",
        {
            _("code"): lambda coupon: row_link(coupon, coupon.code),
            _("campaign"): lambda coupon: row_link(coupon.campaign, coupon.campaign.name),
            _("status"): lambda coupon: status_label(coupon.status_at(clock.now())),
            _("issued at"): lambda coupon: instant(coupon.issued_at),
            _("expires at"): lambda coupon: instant(coupon.expires_at),
        },
    ),
    Entry: (
        _("Wallet: %(balance)s"),
        "transfer",
        {
            _("entry"): lambda entry: row_link(entry.transfer, entry.transfer.get_kind_display()),
            _("amount"): lambda entry: f"{entry.amount:+,}",
            _("balance"): lambda entry: number(entry.balance_after_amount),
            _("reason"): lambda entry: entry.transfer.reason or "-",
            _("at"): lambda entry: instant(entry.transfer.at),
        },
    ),
    QueueTicket: (
        _("Newest queue tickets"),
        "campaign",
        {
            _("ticket"): row_link,
            _("campaign"): lambda ticket: row_link(ticket.campaign, ticket.campaign.name),
            _("status"): lambda ticket: status_label(ticket.status),
            _("number"): lambda ticket: number(ticket.number),
            _("created at"): lambda ticket: instant(ticket.created_at),
        },
    ),
    SaleEntry: (
        _("Newest entries of sales"),
        "sale",
        {
            _("sale entry"): row_link,
            _("sale"): lambda entry: row_link(entry.sale, entry.sale.name),
            _("status"): lambda entry: status_label(entry_status(entry)),
            _("position"): lambda entry: number(entry.position),
            _("created at"): lambda entry: instant(entry.created_at),
            _("admitted until"): lambda entry: instant(entry.admitted_until),
        },
    ),
}
"""The title, what is joined, and the columns of the tables of the account's newest rows."""


def _newest(model: type[Model], account: User) -> Section:
    """The account's newest rows of a model, and a link to all of them."""
    title, joined, columns = NEWEST_ROWS[model]
    if model is Entry:
        title = title % {"balance": format_amount(ledger.balance_amount(account.pk))}
    view = f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
    all_of_them = link(gettext("All of them"), view, query=f"account__id__exact={account.pk}")
    rows = model._default_manager.filter(account_id=account.pk).select_related(joined).order_by("-id")
    return section(title, rows[:NEWEST], columns, all=all_of_them)


def _sign_outs(account: User) -> Section:
    """When the account was signed out everywhere, by the lines of the operators' actions."""
    lines = JournalLine.objects.filter(subject=accounts.journal_subject(account.pk)).order_by("-id")
    return section(
        gettext("Signed out everywhere"),
        lines.filter(what=f"account.{sign_outs.SIGNED_OUT}")[:NEWEST],
        {
            gettext("at"): lambda line: instant(line.at),
            gettext("by"): actor_text,
            gettext("reason"): lambda line: line.detail or "-",
            gettext("sessions ended"): lambda line: number((line.after or {}).get("sessions_ended", 0)),
        },
    )


def _journal(account: User) -> Section:
    """The account's own lines: sign-ins, refused tokens, changes and the actions of operators."""
    lines = JournalLine.objects.filter(subject=accounts.journal_subject(account.pk))
    return section(
        gettext("Sign-ins, tokens and changes"),
        lines.order_by("-id")[:NEWEST_LINES],
        {
            gettext("what"): lambda line: row_link(line, line.what),
            gettext("by"): actor_text,
            gettext("detail"): lambda line: line.detail or "-",
            gettext("at"): lambda line: instant(line.at),
        },
        all=link(gettext("All lines"), "admin:shop_journalline_changelist", query=f"q=account+{account.pk}"),
        notes=[
            gettext(
                "Tokens that are not used yet are stored nowhere: a line stands for each sign-in, and for "
                "each time that all tokens of one, or of the account, were refused."
            )
        ],
    )
