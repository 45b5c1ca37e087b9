"""The page of one account, a table for each app: the newest rows, read by the account's indexes."""

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
from shop.backoffice.accounts import actions
from shop.backoffice.page_elements import amount, instant, link, may_view, number, section
from shop.models import JournalLine, SignOut
from shop.operators.display import status_label
from shop.rates import rate_limits

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
Section = dict[str, Any]


@require_safe
def show(request: HttpRequest, account_id: int) -> HttpResponse:
    """Show the account to an operator who may view accounts, with the parts that they may view."""
    if not may_view(request, User):
        raise PermissionDenied("auth.view_user")
    account = get_object_or_404(User, pk=account_id)
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
    context = admin.site.each_context(request) | {
        "title": gettext("Account %(name)s") % {"name": account.username},
        "account": account,
        "facts": _facts(account),
        "buttons": actions.buttons(request, account),
        "sections": [read(account) for model, read in by_permission if may_view(request, model)],
    }
    return TemplateResponse(request, "backoffice/account.html", context)


def _facts(account: User) -> list[tuple[str, Any]]:
    signed_out = sign_outs.last_sign_out(account.pk)
    kind = gettext("staff") if account.is_staff else gettext("customer")
    if account.is_superuser:
        kind = gettext("superuser")
    rights = gettext("Name, e-mail, password and rights")
    return [
        (gettext("Number"), account.pk),
        (gettext("E-mail"), account.email or "-"),
        (gettext("State"), status_label("active" if account.is_active else "disabled")),
        (gettext("Kind"), kind),
        (gettext("Registered at"), instant(account.date_joined)),
        (gettext("Signed out everywhere at"), instant(signed_out.at) if signed_out else gettext("never")),
        (gettext("Account"), link(rights, "admin:auth_user_change", account.pk)),
    ]


def _limits(account: User) -> Section:
    """What counts against the account's limits now."""
    usage = read_usage(account.pk)
    most_orders = settings.OPEN_ORDERS_PER_ACCOUNT
    limits = [_limit(gettext("unpaid orders"), gettext("now"), usage.unpaid_orders, most_orders)]
    for product in usage.products:
        page = link(product.sku, "product-page", product.product_id)
        if product.unpaid_units:
            most = settings.OPEN_UNITS_PER_ACCOUNT
            limits.append(_limit(page, gettext("unpaid units"), product.unpaid_units, most))
        if product.limit is not None:
            held = gettext("units, unpaid and paid")
            limits.append(_limit(page, held, product.held_units, product.limit))
    partly = gettext("Only the newest orders and most held products are counted here.")
    notes = [] if usage.is_complete else [partly]
    declines = card_limits.read_usage(account.pk)
    usages = rate_limits.read_usages(account.pk) + ([declines] if declines else [])
    for rate in usages:
        window = gettext("in the last %(time)s") % {"time": _seconds_text(rate.rate.seconds)}
        limits.append(_limit(str(NAMES_OF_RATES[rate.name]), window, rate.used, rate.rate.times))
    if not all(rate.is_shared for rate in usages):
        notes.append(gettext("Redis can't be read: rates are those that this process has counted alone."))
    if account.is_staff:
        notes.append(gettext("This is a staff account: its calls are not throttled."))
    return {"title": gettext("Limits"), "limits": limits, "notes": notes}


def _limit(what: str, counted: str, used: int, most: int) -> dict[str, Any]:
    """How much of one limit is used, as a bar shows it."""
    return {
        "what": what,
        "counted": counted,
        "used": used,
        "most": most,
        "text": gettext("%(count)s of %(total)s") % {"count": f"{used:,}", "total": f"{most:,}"},
        "is_full": used >= most,
        "percent": min(100, 100 * used // most) if most else 100,
    }


def _orders(account: User) -> Section:
    return section(
        gettext("Newest orders"),
        Order.objects.filter(account=account).order_by("-id")[:NEWEST],
        {
            gettext("order"): lambda order: link(order.pk, "admin:orders_order_change", order.pk),
            gettext("status"): lambda order: status_label(order.status),
            gettext("total"): lambda order: amount(order.total_amount),
            gettext("coupon"): lambda order: order.coupon_code or "-",
            gettext("placed at"): lambda order: instant(order.placed_at),
        },
        all=_all_of("admin:orders_order_changelist", account),
    )


def _coupons(account: User) -> Section:
    now = clock.now()
    return section(
        gettext("Newest coupons"),
        Coupon.objects.filter(account=account).select_related("campaign").order_by("-id")[:NEWEST],
        {
            gettext("code"): lambda coupon: link(coupon.code, "admin:coupons_coupon_change", coupon.pk),
            gettext("campaign"): _campaign_link,
            gettext("status"): lambda coupon: status_label(coupon.status_at(now)),
            gettext("issued at"): lambda coupon: instant(coupon.issued_at),
            gettext("expires at"): lambda coupon: instant(coupon.expires_at),
        },
        all=_all_of("admin:coupons_coupon_changelist", account),
    )


def _campaign_link(row: Coupon | QueueTicket) -> str:
    return link(row.campaign.name, "admin:coupons_campaign_change", row.campaign_id)


def _wallet(account: User) -> Section:
    def transfer(entry: Entry) -> str:
        return link(entry.transfer.get_kind_display(), "admin:payments_transfer_change", entry.transfer_id)

    return section(
        gettext("Wallet: %(balance)s") % {"balance": amount(ledger.balance_amount(account.pk))},
        selectors.entries(user_id=account.pk).order_by("-id")[:NEWEST],
        {
            gettext("entry"): transfer,
            gettext("amount"): lambda entry: f"{entry.amount:+,}",
            gettext("balance"): lambda entry: number(entry.balance_after_amount),
            gettext("reason"): lambda entry: entry.transfer.reason or "-",
            gettext("at"): lambda entry: instant(entry.transfer.at),
        },
        all=_all_of("admin:payments_entry_changelist", account),
    )


def _tickets(account: User) -> Section:
    return section(
        gettext("Newest queue tickets"),
        QueueTicket.objects.filter(account=account).select_related("campaign").order_by("-id")[:NEWEST],
        {
            gettext("ticket"): lambda ticket: link(ticket.pk, "admin:coupons_queueticket_change", ticket.pk),
            gettext("campaign"): _campaign_link,
            gettext("status"): lambda ticket: status_label(ticket.status),
            gettext("number"): lambda ticket: number(ticket.number),
            gettext("created at"): lambda ticket: instant(ticket.created_at),
        },
        all=_all_of("admin:coupons_queueticket_changelist", account),
    )


def _sale_entries(account: User) -> Section:
    now = clock.now()

    def status(entry: SaleEntry) -> str:
        recorded = SaleEntry.Status(entry.status)
        return status_label(
            sale_entries.effective_status(recorded, entry.admitted_until, entry.sale, now).value
        )

    return section(
        gettext("Newest entries of sales"),
        SaleEntry.objects.filter(account=account).select_related("sale").order_by("-id")[:NEWEST],
        {
            gettext("sale entry"): lambda entry: link(entry.pk, "admin:sales_saleentry_change", entry.pk),
            gettext("sale"): lambda entry: link(entry.sale.name, "admin:sales_sale_change", entry.sale_id),
            gettext("status"): status,
            gettext("position"): lambda entry: number(entry.position),
            gettext("created at"): lambda entry: instant(entry.created_at),
            gettext("admitted until"): lambda entry: instant(entry.admitted_until),
        },
        all=_all_of("admin:sales_saleentry_changelist", account),
    )


def _sign_outs(account: User) -> Section:
    """When the account was signed out everywhere, by the lines of the operators' actions."""
    what = f"account.{sign_outs.SIGNED_OUT}"
    lines = JournalLine.objects.filter(subject=accounts.journal_subject(account.pk), what=what)
    return section(
        gettext("Signed out everywhere"),
        lines.order_by("-id")[:NEWEST],
        {
            gettext("at"): lambda line: instant(line.at),
            gettext("by"): _actor,
            gettext("reason"): lambda line: line.detail or "-",
            gettext("sessions ended"): lambda line: number((line.after or {}).get("sessions_ended", 0)),
        },
    )


def _journal(account: User) -> Section:
    """The account's own lines: sign-ins, refused tokens, changes and the actions of operators."""
    subject = accounts.journal_subject(account.pk)
    return section(
        gettext("Sign-ins, tokens and changes"),
        JournalLine.objects.filter(subject=subject).order_by("-id")[:NEWEST_LINES],
        {
            gettext("what"): lambda line: link(line.what, "admin:shop_journalline_change", line.pk),
            gettext("by"): _actor,
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


def _actor(line: JournalLine) -> str:
    return " ".join(filter(None, [line.get_actor_display(), line.actor_name]))


def _all_of(view: str, account: User) -> SafeString:
    return link(gettext("All of them"), view, query=f"account__id__exact={account.pk}")


def _seconds_text(seconds: int) -> str:
    if seconds % 60 == 0:
        return gettext("%(count)s min") % {"count": seconds // 60}
    return gettext("%(count)s s") % {"count": seconds}
