"""The admin's navigation: the pages of the back office and the models, grouped by what operators do."""

from collections.abc import Callable
from typing import Any, NamedTuple

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from shop.backoffice import reports
from shop.backoffice.board import page as board_page

Link = dict[str, Any]


def _pages_of_now(request: HttpRequest) -> list[Link]:
    pages = [{"title": _("Today's work"), "icon": "home", "link": reverse("admin:index")}]
    if board_page.may_see(request):
        pages.append({"title": _("Launch board"), "icon": "monitoring", "link": reverse("board:page")})
    return pages


def _reports(request: HttpRequest) -> list[Link]:
    if not request.user.has_perms(reports.PERMISSIONS):
        return []
    return [{"title": _("Sales report"), "icon": "query_stats", "link": reverse("report-sales")}]


class Task(NamedTuple):
    """A group: pages of the back office, then models, by their labels, each with its icon."""

    title: Promise
    models: dict[str, str]
    pages: Callable[[HttpRequest], list[Link]] = lambda request: []


TASKS = (
    Task(_("Now"), {}, _pages_of_now),
    Task(
        _("Orders and payments"),
        {
            "orders.order": "receipt_long",
            "orders.orderline": "list_alt",
            "payments.payment": "credit_card",
            "orders.refund": "undo",
            "orders.refundline": "playlist_remove",
        },
    ),
    Task(
        _("Customers"),
        {
            "auth.user": "person",
            "shop.signout": "logout",
            "shop.idempotencykey": "key",
        },
    ),
    Task(
        _("Campaigns and coupons"),
        {
            "coupons.campaign": "campaign",
            "coupons.coupon": "confirmation_number",
            "coupons.poolcode": "password",
            "coupons.queueticket": "hourglass_top",
            "coupons.confirmation": "handshake",
        },
    ),
    Task(
        _("Products and stock"),
        {
            "inventory.product": "inventory_2",
            "inventory.stockmovement": "swap_vert",
            "inventory.delivery": "local_shipping",
        },
    ),
    Task(
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
    Task(
        _("Events and sagas"),
        {
            "shop.journalline": "history",
            "orders.saga": "account_tree",
            "orders.sagalog": "timeline",
            "shop.lawstatus": "gavel",
            "shop.auditstate": "fact_check",
            "shop.recordedtrace": "route",
            "shop.committedtransaction": "commit",
        },
    ),
    Task(
        _("Access"),
        {
            "auth.group": "groups",
            "otp_totp.totpdevice": "phonelink_lock",
        },
    ),
)
OTHERS = _("Other")
"""The group of models that no task names."""
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
        {"title": task.title, "separator": bool(number), "items": _items(task, request, links)}
        for number, task in enumerate(TASKS)
    ]
    return [*groups, {"title": OTHERS, "separator": True, "items": list(links.values())}]


def _items(task: Task, request: HttpRequest, links: dict[str, Link]) -> list[Link]:
    """The task's pages and models; those models are taken out of `links`."""
    models = [links.pop(label) | {"icon": icon} for label, icon in task.models.items() if label in links]
    return [*task.pages(request), *models]
