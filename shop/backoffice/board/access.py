"""Which accounts may watch the board: checked before a stream begins, and again while it lasts."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.http import HttpRequest
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext

from shop import clock
from shop.accounts import second_factor
from shop.errors import NotAuthenticated
from shop.operators.actions import require_permission

PERMISSIONS = ("coupons.view_campaign", "sales.view_sale", "inventory.view_product", "orders.view_order")


@dataclass(frozen=True, slots=True)
class ViewerIdentity:
    """An account that views the board, and the session by which it is signed in."""

    account_id: int
    session_key: str


def require_viewer(request: HttpRequest) -> ViewerIdentity:
    """The signed-in account of the request. Raises `NotAuthenticated`, `PermissionDenied`."""
    if not admin.site.has_permission(request):
        raise NotAuthenticated(gettext("Sign in to the admin as staff to watch the board."))
    require_permission(request, *PERMISSIONS)
    return ViewerIdentity(int(request.user.pk or 0), request.session.session_key or "")


def filter_allowed(identities: Collection[ViewerIdentity]) -> set[ViewerIdentity]:
    """Those of these viewers that are still signed in, active, staff and permitted.

    Seven statements for any number of them.
    """
    accounts = User.objects.filter(is_active=True, is_staff=True).in_bulk(
        {identity.account_id for identity in identities}
    )
    for permission in PERMISSIONS:
        permitted = User.objects.with_perm(permission).filter(pk__in=list(accounts))
        ids = set(permitted.values_list("pk", flat=True))
        accounts = {pk: account for pk, account in accounts.items() if pk in ids}
    rows = Session.objects.filter(expire_date__gt=clock.now())
    sessions = rows.in_bulk({identity.session_key for identity in identities})
    devices = second_factor.device_ids_of(list(accounts))
    return {
        identity
        for identity in identities
        if identity.session_key in sessions
        and identity.account_id in accounts
        and _is_of(
            sessions[identity.session_key].get_decoded(),
            accounts[identity.account_id],
            device_id=devices.get(identity.account_id),
        )
    }


def _is_of(session: dict[str, Any], account: User, *, device_id: int | None) -> bool:
    """Whether the session is this account's, since its password was changed last, with its second factor."""
    if session.get(SESSION_KEY) != str(account.pk) or not second_factor.allows_session(device_id, session):
        return False
    given = session.get(HASH_SESSION_KEY, "")
    valid = [account.get_session_auth_hash(), *account.get_session_auth_fallback_hash()]
    return any(constant_time_compare(given, one) for one in valid)
