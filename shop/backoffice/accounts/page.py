"""The page of one account, a table for each app: the newest rows, read by the account's indexes."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_safe

from coupons.models import Coupon, QueueTicket
from orders.models import Order
from orders.payment import card_limits
from orders.placement.limits import read_usage
from payments import ledger, selectors
from payments.models import Entry
from sales.models import SaleEntry
from sales.waiting_room import entries as sale_entries
from shop import clock
from shop.accounts import accounts, sign_outs
from shop.backoffice import page_elements
from shop.backoffice.accounts import actions
from shop.models import JournalLine, SignOut
from shop.rates import rate_limits

NEWEST = 10
NEWEST_LINES = 15
JOURNAL = "admin:shop_journalline_changelist"
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
Section = dict[str, Any]


@dataclass(frozen=True, slots=True)
class LimitUsage:
    """How much of one limit is used, as a bar shows it."""

    what: SafeString | str
    counted: str
    used: int
    most: int

    @property
    def text(self) -> str:
        return gettext("%(count)s of %(total)s") % {"count": f"{self.used:,}", "total": f"{self.most:,}"}

    @property
    def is_full(self) -> bool:
        return self.used >= self.most

    @property
    def percent(self) -> int:
        return min(100, 100 * self.used // self.most) if self.most else 100


@require_safe
def show(request: HttpRequest, account_id: int) -> HttpResponse:
    """Show the account to an operator who may view accounts, with the parts that they may view."""
    if not page_elements.may_view(request, User):
        raise PermissionDenied("auth.view_user")
    account = get_object_or_404(User, pk=account_id)
    context = admin.site.each_context(request) | {
        "title": gettext("Account %(name)s") % {"name": account.username},
        "account": account,
        "facts": _facts(account),
        "buttons": actions.buttons(request, account),
        "sections": _sections(request, account),
    }
    return TemplateResponse(request, "backoffice/account.html", context)


def _facts(account: User) -> list[tuple[str, Any]]:
    signed_out = sign_outs.last_sign_out(account.pk)
    kind = gettext("staff") if account.is_staff else gettext("customer")
    if account.is_superuser:
        kind = gettext("superuser")
    return [
        (gettext("Number"), account.pk),
        (gettext("E-mail"), account.email or "-"),
        (gettext("State"), page_elements.label("active" if account.is_active else "disabled")),
        (gettext("Kind"), kind),
        (gettext("Registered at"), page_elements.instant(account.date_joined)),
        (
            gettext("Signed out everywhere at"),
            page_elements.instant(signed_out.at) if signed_out else gettext("never"),
        ),
        (
            gettext("Account"),
            page_elements.link(
                gettext("Name, e-mail, password and rights"), "admin:auth_user_change", account.pk
            ),
        ),
    ]


def _sections(request: HttpRequest, account: User) -> list[Section]:
    """The sections that this operator may see, in the order of the page."""
    by_permission = (
        (Order, _limits),
        (Order, _orders),
        (Coupon, _coupons),
        (Entry, _wallet),
        (QueueTicket, _tickets),
        (SaleEntry, _sale_entries),
        (SignOut, _sign_outs),
        (JournalLine, _journal),
    )
    return [section(account) for model, section in by_permission if page_elements.may_view(request, model)]


def _limits(account: User) -> Section:
    """What counts against the account's limits now."""
    usage = read_usage(account.pk)
    most_orders = settings.OPEN_ORDERS_PER_ACCOUNT
    limits = [LimitUsage(gettext("unpaid orders"), gettext("now"), usage.unpaid_orders, most_orders)]
    for product in usage.products:
        link = page_elements.link(product.sku, "product-page", product.product_id)
        if product.unpaid_units:
            most = settings.OPEN_UNITS_PER_ACCOUNT
            limits.append(LimitUsage(link, gettext("unpaid units"), product.unpaid_units, most))
        if product.limit is not None:
            held = gettext("units, unpaid and paid")
            limits.append(LimitUsage(link, held, product.held_units, product.limit))
    partly = gettext("Only the newest orders and most held products are counted here.")
    notes = [] if usage.is_complete else [partly]
    declines = card_limits.read_usage(account.pk)
    usages = rate_limits.read_usages(account.pk) + ([declines] if declines else [])
    for rate in usages:
        window = gettext("in the last %(time)s") % {"time": _seconds_text(rate.rate.seconds)}
        limits.append(LimitUsage(str(NAMES_OF_RATES[rate.name]), window, rate.used, rate.rate.times))
    if not all(rate.is_shared for rate in usages):
        notes.append(gettext("Redis can't be read: rates are those that this process has counted alone."))
    if account.is_staff:
        notes.append(gettext("This is a staff account: its calls are not throttled."))
    return {"title": gettext("Limits"), "limits": limits, "notes": notes}


def _orders(account: User) -> Section:
    orders = Order.objects.filter(account=account).order_by("-id")[:NEWEST]
    rows = (
        (
            page_elements.link(order.pk, "admin:orders_order_change", order.pk),
            page_elements.label(order.status),
            page_elements.amount(order.total_amount),
            order.coupon_code or "-",
            page_elements.instant(order.placed_at),
        )
        for order in orders
    )
    return _table(
        gettext("Newest orders"),
        [gettext("order"), gettext("status"), gettext("total"), gettext("coupon"), gettext("placed at")],
        rows,
        all=_all_of("admin:orders_order_changelist", account),
    )


def _coupons(account: User) -> Section:
    now = clock.now()
    coupons = Coupon.objects.filter(account=account).select_related("campaign").order_by("-id")[:NEWEST]
    rows = (
        (
            page_elements.link(coupon.code, "admin:coupons_coupon_change", coupon.pk),
            page_elements.link(coupon.campaign.name, "admin:coupons_campaign_change", coupon.campaign_id),
            page_elements.label(coupon.status_at(now)),
            page_elements.instant(coupon.issued_at),
            page_elements.instant(coupon.expires_at),
        )
        for coupon in coupons
    )
    return _table(
        gettext("Newest coupons"),
        [
            gettext("code"),
            gettext("campaign"),
            gettext("status"),
            gettext("issued at"),
            gettext("expires at"),
        ],
        rows,
        all=_all_of("admin:coupons_coupon_changelist", account),
    )


def _wallet(account: User) -> Section:
    entries = selectors.entries(user_id=account.pk).order_by("-id")[:NEWEST]
    rows = (
        (
            page_elements.link(
                entry.transfer.get_kind_display(), "admin:payments_transfer_change", entry.transfer_id
            ),
            f"{entry.amount:+,}",
            page_elements.number(entry.balance_after_amount),
            entry.transfer.reason or "-",
            page_elements.instant(entry.transfer.at),
        )
        for entry in entries
    )
    return _table(
        gettext("Wallet: %(balance)s") % {"balance": page_elements.amount(ledger.balance_amount(account.pk))},
        [gettext("entry"), gettext("amount"), gettext("balance"), gettext("reason"), gettext("at")],
        rows,
        all=_all_of("admin:payments_entry_changelist", account, f"account__id__exact={account.pk}"),
    )


def _tickets(account: User) -> Section:
    tickets = QueueTicket.objects.filter(account=account).select_related("campaign").order_by("-id")[:NEWEST]
    rows = (
        (
            page_elements.link(ticket.pk, "admin:coupons_queueticket_change", ticket.pk),
            page_elements.link(ticket.campaign.name, "admin:coupons_campaign_change", ticket.campaign_id),
            page_elements.label(ticket.status),
            page_elements.number(ticket.number),
            page_elements.instant(ticket.created_at),
        )
        for ticket in tickets
    )
    return _table(
        gettext("Newest queue tickets"),
        [gettext("ticket"), gettext("campaign"), gettext("status"), gettext("number"), gettext("created at")],
        rows,
        all=_all_of("admin:coupons_queueticket_changelist", account),
    )


def _sale_entries(account: User) -> Section:
    now = clock.now()
    found = SaleEntry.objects.filter(account=account).select_related("sale").order_by("-id")[:NEWEST]
    rows = (
        (
            page_elements.link(entry.pk, "admin:sales_saleentry_change", entry.pk),
            page_elements.link(entry.sale.name, "admin:sales_sale_change", entry.sale_id),
            page_elements.label(_status_of(entry, now)),
            page_elements.number(entry.position),
            page_elements.instant(entry.created_at),
            page_elements.instant(entry.admitted_until),
        )
        for entry in found
    )
    return _table(
        gettext("Newest entries of sales"),
        [
            gettext("sale entry"),
            gettext("sale"),
            gettext("status"),
            gettext("position"),
            gettext("created at"),
            gettext("admitted until"),
        ],
        rows,
        all=_all_of("admin:sales_saleentry_changelist", account),
    )


def _status_of(entry: SaleEntry, now: datetime) -> str:
    recorded = SaleEntry.Status(entry.status)
    return str(sale_entries.effective_status(recorded, entry.admitted_until, entry.sale, now))


def _sign_outs(account: User) -> Section:
    """When the account was signed out everywhere, by the lines of the operators' actions."""
    what = f"account.{sign_outs.SIGNED_OUT}"
    lines = JournalLine.objects.filter(subject=accounts.journal_subject(account.pk), what=what)
    rows = (
        (
            page_elements.instant(line.at),
            " ".join(filter(None, [line.get_actor_display(), line.actor_name])),
            line.detail or "-",
            page_elements.number((line.after or {}).get("sessions_ended", 0)),
        )
        for line in lines.order_by("-id")[:NEWEST]
    )
    return _table(
        gettext("Signed out everywhere"),
        [gettext("at"), gettext("by"), gettext("reason"), gettext("sessions ended")],
        rows,
    )


def _journal(account: User) -> Section:
    """The account's own lines: sign-ins, refused tokens, changes and the actions of operators."""
    subject = accounts.journal_subject(account.pk)
    lines = JournalLine.objects.filter(subject=subject).order_by("-id")[:NEWEST_LINES]
    rows = (
        (
            page_elements.link(line.what, "admin:shop_journalline_change", line.pk),
            " ".join(filter(None, [line.get_actor_display(), line.actor_name])),
            line.detail or "-",
            page_elements.instant(line.at),
        )
        for line in lines
    )
    return _table(
        gettext("Sign-ins, tokens and changes"),
        [gettext("what"), gettext("by"), gettext("detail"), gettext("at")],
        rows,
        all=page_elements.link_to_list(
            gettext("All lines"), "admin:shop_journalline_changelist", f"q=account+{account.pk}"
        ),
        notes=[
            gettext(
                "Tokens that are not used yet are stored nowhere: a line stands for each sign-in, and for "
                "each time that all tokens of one, or of the account, were refused."
            )
        ],
    )


def _table(title: str, headers: list[str], rows: Iterable[Any], **more: Any) -> Section:
    return {"title": title, "table": page_elements.table(headers, rows), **more}


def _all_of(view: str, account: User, query: str = "") -> SafeString:
    return page_elements.link_to_list(
        gettext("All of them"), view, query or f"account__id__exact={account.pk}"
    )


def _seconds_text(seconds: int) -> str:
    if seconds % 60 == 0:
        return gettext("%(count)s min") % {"count": seconds // 60}
    return gettext("%(count)s s") % {"count": seconds}
