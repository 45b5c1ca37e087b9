"""The menu of the admin by task, the tabs above the lists of a task, and the engine room with the others."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.text import capfirst
from django.utils.translation import gettext, gettext_lazy as _
from django.views.decorators.http import require_GET

from backoffice import accounting_exports, sales_report
from backoffice.board import page as board_page
from foundation import literals
from foundation.admin_base.display import admin_page, view_of

Link = dict[str, Any]
ENGINE_ROOM = {
    _("Programs and keys"): "accounts.apikey events.webhookendpoint",
    _("Access"): "auth.group otp_totp.totpdevice",
}
"""The lists of what is set up once, by their labels."""
FOR_ENGINEERS = {
    "orders.saga": _("Payments and refunds step by step, with those that are late."),
    "orders.sagalog": _("What each step did, and what it was answered."),
    "coupons.queueticket": _("Who waits for a coupon."),
    "coupons.confirmation": _("What partners were asked to confirm."),
    "payments.reconciliation": _("Comparisons with the gateway's book."),
    "payments.ledgeraccount": _("The accounts of the shop's own books."),
    "payments.transfer": _("Each movement of money or points."),
    "payments.entry": _("The two sides of each movement."),
    "payments.webhookevent": _("What the gateway told the shop."),
    "events.webhookdelivery": _("What was sent to each endpoint, and its answer."),
    "events.feedevent": _("Everything that happened, in the order in which programs read it."),
    "shop.idempotencykey": _("Calls that may be repeated, with their first answers."),
    "shop.lawstatus": _("The shop's own checks of money, stock and coupons."),
    "shop.committedtransaction": _("Marks by which a lost answer of the database is resolved."),
}
"""The lists that no task needs, by their labels, with what is in them."""


class Line(NamedTuple):
    """A line of the menu: the page of this name, or the first of its lists that the account may open."""

    title: Promise
    icon: str
    lists: str = ""
    page: str = ""
    permissions: Sequence[str] = ()
    query: str = ""
    views: str = ""
    """How the names of its pages begin that are below none of its addresses."""


MENU = {
    _("Now"): (
        Line(_("Today"), "home", page="admin:index"),
        Line(_("Launch board"), "monitoring", page="board:page", permissions=board_page.PERMISSIONS),
    ),
    _("Buyers"): (
        Line(_("Orders"), "receipt_long", "orders.order orders.refund payments.payment"),
        Line(_("Customers"), "person", "auth.user"),
    ),
    _("Selling"): (
        Line(
            _("Campaigns"), "campaign", "coupons.campaign coupons.coupon coupons.poolcode", views="campaign-"
        ),
        Line(_("Sale events"), "storefront", "sales.sale sales.saleentry"),
        Line(
            _("Products"),
            "inventory_2",
            "inventory.product inventory.stockmovement inventory.delivery",
            views="product-",
        ),
    ),
    _("Money"): (
        Line(_("Sales report"), "query_stats", page="report-sales", permissions=sales_report.PERMISSIONS),
        Line(_("Exports"), "download", page="report-exports", permissions=accounting_exports.PERMISSIONS),
    ),
    _("The shop"): (
        Line(
            _("Members"),
            "groups",
            page="admin:auth_user_changelist",
            permissions=("auth.view_user", "auth.view_group"),
            query="is_staff__exact=1",
        ),
        Line(_("Who did what"), "history", "shop.journalline shop.approval"),
        Line(
            _("Engine room"), "build", " ".join([*ENGINE_ROOM.values(), *FOR_ENGINEERS]), page="engine-room"
        ),
    ),
}


def sidebar(request: HttpRequest) -> list[Link]:
    """The lines beside each page that the account may open, in their groups."""
    lists, is_of_members = _lists(request), _is_of_members(request)
    return [
        {
            "title": title,
            "separator": number > 0,
            "items": [item for line in lines for item in _items(request, line, lists, is_of_members)],
        }
        for number, (title, lines) in enumerate(MENU.items())
    ]


def tabs(request: HttpRequest) -> list[Link]:
    """The lists of a line, above each of them."""
    lists = _lists(request)
    found = []
    for line in (line for lines in MENU.values() for line in lines if not line.page):
        items = {label: lists[label] for label in line.lists.split() if label in lists}
        if len(items) > 1:
            found.append({"models": [*items], "items": [*items.values()]})
    return found


@require_GET
def engine_room(request: HttpRequest) -> HttpResponseBase:
    """The page of the lists that the menu doesn't have."""
    lists = _lists(request)
    for lines in MENU.values():
        for label in (label for line in lines if not line.page for label in line.lists.split()):
            lists.pop(label, None)
    groups = {
        title: [
            lists.pop(label) | {"actions": _actions(request, label)}
            for label in labels.split()
            if label in lists
        ]
        for title, labels in ENGINE_ROOM.items()
    }
    others = [lists.pop(label) | {"about": about} for label, about in FOR_ENGINEERS.items() if label in lists]
    shown = {
        "title": gettext("Engine room"),
        "groups": [group for group in groups.items() if group[1]],
        "for_engineers": [*others, *lists.values()],
    }
    return admin_page(request, "backoffice/engine_room.html", shown)


def _items(
    request: HttpRequest, line: Line, lists: dict[str, Link], is_of_members: bool | None
) -> Iterator[Link]:
    found = [lists[label]["link"] for label in line.lists.split() if label in lists]
    if (line.lists and not found) or not request.user.has_perms(line.permissions):
        return
    address = reverse(line.page) if line.page else found[0]
    item: Link = {"title": line.title, "icon": line.icon, "link": address}
    at = (request.resolver_match and request.resolver_match.url_name) or ""
    if line.query:
        item |= {"link": f"{address}?{line.query}", "active": is_of_members is True}
    elif line.lists == "auth.user":
        item["active"] = is_of_members is False
    else:
        is_home = address == reverse("admin:index")
        is_below = request.path.startswith((address, *found)) and not is_home
        item["active"] = request.path == address or is_below or bool(line.views and at.startswith(line.views))
    yield item


def _is_of_members(request: HttpRequest) -> bool | None:
    """Whether a page of accounts is of members of staff; None of other pages."""
    match = request.resolver_match
    if not match or not (match.url_name or "").startswith(("auth_user_", "account-")):
        return None
    is_theirs = (
        match.url_name == "auth_user_add_member" or "is_staff__exact=1" in request.META["QUERY_STRING"]
    )
    keys = [literals.row_number(str(key)) or 0 for key in match.kwargs.values()]
    return is_theirs or User.objects.filter(pk__in=keys, is_staff=True).exists()


def _actions(request: HttpRequest, label: str) -> list[Link]:
    """The buttons above a list, such as the one that makes an API key."""
    page: Any = admin.site.get_model_admin(apps.get_model(label))
    return [
        {"title": action.description, "link": reverse(f"admin:{action.action_name}")}
        for action in page.get_actions_list(request)
    ]


def _lists(request: HttpRequest) -> dict[str, Link]:
    """The lists that the account may open, by the labels of their models."""
    return {
        model._meta.label_lower: {
            "title": capfirst(model._meta.verbose_name_plural),
            "link": reverse(view_of(model, "changelist")),
        }
        for model, page in admin.site._registry.items()
        if page.has_view_permission(request)
    }
