"""What groups of staff and scopes of API keys allow, in a sentence each, as the forms that give them show."""

import fnmatch
from collections.abc import Collection
from typing import NamedTuple

from django.contrib.auth.models import Group, User
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, gettext_lazy as _, gettext_noop

from foundation.lazy_texts import Text


class Rights(NamedTuple):
    """A sentence, the permissions that it claims, and patterns of those that it denies, as words."""

    sentence: Text
    claimed: str
    denied: str

    def are_of(self, names: Collection[str]) -> bool:
        """Whether the sentence is true of who has these permissions."""
        claimed, denied = self.claimed.split(), self.denied.split()
        return {*claimed} <= {*names} and not any(fnmatch.filter(names, pattern) for pattern in denied)


GROUPS = {
    gettext_noop("Viewer"): Rights(
        _(
            "Sees campaigns, sales, products, stock, orders and refunds. Changes nothing, and sees no "
            "account."
        ),
        "coupons.view_campaign sales.view_sale inventory.view_product "
        "inventory.view_stockmovement orders.view_order orders.view_refund",
        "*.add_* *.change_* *.delete_* auth.* accounts.*",
    ),
    gettext_noop("Support"): Rights(
        _(
            "Helps customers: sees their accounts, cancels and refunds orders, issues and voids coupons, "
            "disables accounts. Grants no points."
        ),
        "auth.view_user orders.change_order orders.add_refund coupons.add_coupon "
        "coupons.change_coupon auth.disable_user",
        "payments.add_transfer",
    ),
    gettext_noop("Operations"): Rights(
        _(
            "Runs the shop: campaigns, sales, products, stock, stuck payments, API keys and webhook "
            "endpoints. Sees no account, refunds and grants nothing."
        ),
        "coupons.add_campaign coupons.change_campaign sales.add_sale sales.change_sale "
        "inventory.add_product inventory.change_product inventory.add_stockmovement "
        "orders.change_saga accounts.add_apikey accounts.change_apikey events.add_webhookendpoint "
        "events.change_webhookendpoint",
        "auth.* orders.add_refund payments.add_transfer",
    ),
    gettext_noop("Finance"): Rights(
        _(
            "Answers for the money: refunds, grants points, approves, compares with the gateway, exports. "
            "Changes no campaign, sale or product."
        ),
        "orders.add_refund payments.add_transfer shop.change_approval "
        "payments.change_reconciliation shop.export_list",
        "coupons.change_campaign sales.change_sale inventory.change_product",
    ),
}
SCOPES: dict[str, Text] = {
    "accounts:read": _("See an account by its number."),
    "orders:read": _("See orders, with their refunds and what happened to them."),
    "orders:write": _("Place, change, cancel and refund orders."),
    "coupons:read": _("See coupons."),
    "coupons:write": _("Issue and void coupons."),
    "payments:read": _("See payments."),
    "payments:write": _("Pay orders."),
    "wallet:read": _("See points and what moved them."),
    "wallet:write": _("Top up and grant points."),
    "products:read": _("See products and their stock."),
    "products:write": _("Create, change and pause products, and adjust their stock."),
    "campaigns:read": _("See campaigns and the codes of their pools."),
    "campaigns:write": _("Create, change and pause campaigns, and add codes and accounts to them."),
    "sales:read": _("See sales, waiting rooms and draws."),
    "sales:write": _("Create, change and pause sales, and join waiting rooms."),
    "events:read": _("Follow everything that happens in the shop."),
    "events:write": _("Nothing yet: no call needs it."),
    "webhooks:read": _("See webhook endpoints and what was sent to them."),
    "webhooks:write": _("Test and delete webhook endpoints; with “Follow”, create and change them."),
    "act": _("Act for any account: with the scopes above, order, pay and read as its owner could."),
}
"""By scope: what a key with it may call, if its maker may."""
UNUSED_SCOPES = frozenset({"events:write"})
"""Of which no form asks."""


def describe_group(group: Group) -> SafeString:
    """The group's name, and what its members may do, unless superusers have made that untrue."""
    names = [f"{one.content_type.app_label}.{one.codename}" for one in group.permissions.all()]
    rights = GROUPS.get(group.name)
    sentence = rights.sentence if rights and rights.are_of(names) else ""
    return format_html("<strong>{}</strong> <span>{}</span>", gettext(group.name), sentence)


def describe_rights(account: User) -> str:
    """What the account may do, in a few words for a list."""
    if not account.is_staff:
        return gettext("customer")
    if account.is_superuser:
        return gettext("everything")
    names = [gettext(group.name) for group in account.groups.all()]
    if account.user_permissions.all():
        names.append(gettext("single permissions"))
    return ", ".join(names) or gettext("nothing yet")
