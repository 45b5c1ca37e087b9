"""Scopes of API keys: what a key may call. Each view of the API says which resource it is about, or none."""

from enum import StrEnum

ACT = "act"
"""The scope with which a key acts for an account."""
ACCOUNT_HEADER = "Firstcome-Account"
"""The header that names the account that a key acts for."""
READING_METHODS = frozenset({"GET", "HEAD"})


class Resource(StrEnum):
    """What a call is about. A call that reads needs `<resource>:read`, any other `<resource>:write`.

    No key may make a call of `NONE`: those that sign in, manage accounts and keys, or have a signature.
    """

    NONE = ""
    ACCOUNTS = "accounts"
    ORDERS = "orders"
    COUPONS = "coupons"
    PAYMENTS = "payments"
    WALLET = "wallet"
    PRODUCTS = "products"
    CAMPAIGNS = "campaigns"
    SALES = "sales"
    EVENTS = "events"
    WEBHOOKS = "webhooks"


def required_scope(resource: Resource, method: str) -> str:
    """The scope that a call of this method needs: `orders:write`; empty if no key may make it."""
    if resource is Resource.NONE:
        return ""
    return f"{resource}:{'read' if method in READING_METHODS else 'write'}"


READ_ONLY = {Resource.ACCOUNTS}
"""What no key changes."""
ALL = (
    *(
        f"{resource}:{use}"
        for resource in Resource
        if resource
        for use in (("read",) if resource in READ_ONLY else ("read", "write"))
    ),
    ACT,
)
"""Every scope that a key may have."""
