"""The admin's navigation: the pages of the back office and the models, grouped by what operators do."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from backoffice import accounting_exports, sales_report
from backoffice.board import page as board_page

Link = dict[str, Any]


class NavigationGroup(NamedTuple):
    """A group of links: pages of the back office, then models, by their labels, each with its icon.

    A page is a title, an icon, the name of its address, and the permissions that it needs.
    """

    title: Promise
    models: dict[str, str]
    pages: Sequence[tuple[Promise, str, str, Sequence[str]]] = ()


GROUPS = (
    NavigationGroup(
        _("Now"),
        {"shop.approval": "how_to_reg"},
        (
            (_("Today's work"), "home", "admin:index", ()),
            (_("Launch board"), "monitoring", "board:page", board_page.PERMISSIONS),
        ),
    ),
    NavigationGroup(
        _("Orders and payments"),
        {
            "orders.order": "receipt_long",
            "orders.orderline": "list_alt",
            "payments.payment": "credit_card",
            "orders.refund": "undo",
            "orders.refundline": "playlist_remove",
        },
    ),
    NavigationGroup(_("Customers"), {"auth.user": "person", "shop.idempotencykey": "key"}),
    NavigationGroup(
        _("Campaigns and coupons"),
        {
            "coupons.campaign": "campaign",
            "coupons.coupon": "confirmation_number",
            "coupons.poolcode": "password",
            "coupons.queueticket": "hourglass_top",
            "coupons.confirmation": "handshake",
        },
    ),
    NavigationGroup(
        _("Sales and waiting rooms"), {"sales.sale": "storefront", "sales.saleentry": "hourglass_top"}
    ),
    NavigationGroup(
        _("Products and stock"),
        {
            "inventory.product": "inventory_2",
            "inventory.stockmovement": "swap_vert",
            "inventory.delivery": "local_shipping",
        },
    ),
    NavigationGroup(
        _("Money"),
        {
            "payments.reconciliation": "balance",
            "payments.ledgeraccount": "account_balance_wallet",
            "payments.transfer": "sync_alt",
            "payments.entry": "receipt",
            "payments.webhookevent": "webhook",
        },
        (
            (_("Sales report"), "query_stats", "report-sales", sales_report.PERMISSIONS),
            (_("Exports"), "download", "report-exports", accounting_exports.PERMISSIONS),
        ),
    ),
    NavigationGroup(
        _("Events and sagas"),
        {
            "shop.journalline": "history",
            "events.feedevent": "rss_feed",
            "events.webhookendpoint": "webhook",
            "events.webhookdelivery": "outgoing_mail",
            "orders.saga": "account_tree",
            "orders.sagalog": "timeline",
            "shop.lawstatus": "gavel",
            "shop.auditstate": "fact_check",
            "shop.committedtransaction": "commit",
        },
    ),
    NavigationGroup(
        _("Access"),
        {"auth.group": "groups", "otp_totp.totpdevice": "phonelink_lock", "accounts.apikey": "vpn_key"},
    ),
)


def sidebar(request: HttpRequest) -> list[Link]:
    """The groups of links beside each page, with those that the account may open."""
    links = {
        model["model"]._meta.label_lower: {
            "title": model["name"],
            "link": model["admin_url"],
            "icon": "database",
        }
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model.get("admin_url")
    }
    groups: list[Link] = []
    for group in GROUPS:
        items = [
            {"title": title, "icon": icon, "link": reverse(view)}
            for title, icon, view, permissions in group.pages
            if request.user.has_perms(permissions)
        ]
        items += [links.pop(label) | {"icon": icon} for label, icon in group.models.items() if label in links]
        groups.append({"title": group.title, "separator": bool(groups), "items": items})
    # Models that no group names.
    return [*groups, {"title": _("Other"), "separator": True, "items": list(links.values())}]
