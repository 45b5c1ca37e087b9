"""The admin's navigation: the pages of the back office and the models, grouped by what operators do."""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from shop.backoffice import sales_report
from shop.backoffice.board import page as board_page

Link = dict[str, Any]


def _pages_of_now(request: HttpRequest) -> list[Link]:
    pages = [{"title": _("Today's work"), "icon": "home", "link": reverse("admin:index")}]
    if board_page.may_see(request):
        pages.append({"title": _("Launch board"), "icon": "monitoring", "link": reverse("board:page")})
    return pages


def _reports(request: HttpRequest) -> list[Link]:
    if not request.user.has_perms(sales_report.PERMISSIONS):
        return []
    return [{"title": _("Sales report"), "icon": "query_stats", "link": reverse("report-sales")}]


class NavigationGroup(NamedTuple):
    """A group of links: pages of the back office, then models, by their labels, each with its icon."""

    title: Promise
    models: dict[str, str]
    pages: Callable[[HttpRequest], list[Link]] = lambda request: []


GROUPS = (
    NavigationGroup(_("Now"), {"shop.approval": "how_to_reg"}, _pages_of_now),
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
    NavigationGroup(
        _("Customers"),
        {
            "auth.user": "person",
            "shop.signout": "logout",
            "shop.idempotencykey": "key",
        },
    ),
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
        _("Sales and waiting rooms"),
        {
            "sales.sale": "storefront",
            "sales.saleentry": "hourglass_top",
            "sales.saleproduct": "sell",
        },
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
        _reports,
    ),
    NavigationGroup(
        _("Events and sagas"),
        {
            "shop.journalline": "history",
            "shop.feedevent": "rss_feed",
            "shop.webhookendpoint": "webhook",
            "shop.webhookdelivery": "outgoing_mail",
            "orders.saga": "account_tree",
            "orders.sagalog": "timeline",
            "shop.lawstatus": "gavel",
            "shop.auditstate": "fact_check",
            "shop.committedtransaction": "commit",
        },
    ),
    NavigationGroup(
        _("Access"),
        {
            "auth.group": "groups",
            "otp_totp.totpdevice": "phonelink_lock",
            "shop.apikey": "vpn_key",
        },
    ),
)
OTHER_MODELS = _("Other")
"""The title of the group of models that no other group names."""
ICON = "database"


def sidebar(request: HttpRequest) -> list[Link]:
    """The groups of links beside each page, with those that the account may open."""
    links = {
        model["model"]._meta.label_lower: {"title": model["name"], "link": model["admin_url"], "icon": ICON}
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model.get("admin_url")
    }
    groups = [
        {"title": group.title, "separator": bool(number), "items": _items(group, request, links)}
        for number, group in enumerate(GROUPS)
    ]
    return [*groups, {"title": OTHER_MODELS, "separator": True, "items": list(links.values())}]


def _items(group: NavigationGroup, request: HttpRequest, links: dict[str, Link]) -> list[Link]:
    """The group's links to pages and models; those models are taken out of `links`."""
    models = [links.pop(label) | {"icon": icon} for label, icon in group.models.items() if label in links]
    return [*group.pages(request), *models]
