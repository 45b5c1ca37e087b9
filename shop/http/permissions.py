"""Permissions of staff: the database decides, never the token."""

from django.contrib.auth.models import User

from shop.errors import NotAllowed
from shop.http.messages import Request, account_id
from shop.lazy_texts import mark as _

READ_JOURNAL = "shop.view_journalline"
"""What operators did, and why, wherever it is shown."""


def require_staff_permission(request: Request, permission: str) -> None:
    """Require that the caller is staff with `permission`, such as "coupons.change_campaign".

    Call it first in a staff-only view, so that all other callers get 403 whatever the object. Raises
    `NotAuthenticated` and `NotAllowed`.
    """
    if not _has_permission(account_id(request), permission):
        raise NotAllowed(_("This account may not do that."))


def has_staff_permission(request: Request, permission: str) -> bool:
    """Whether the caller is staff with `permission`, for calls that are open to others too.

    Costs no query unless the token claims staff; an account that became staff meanwhile needs a new token.
    """
    claims_staff = request.user.is_authenticated and request.user.is_staff
    return claims_staff and _has_permission(account_id(request), permission)


def _has_permission(account_id: int, permission: str) -> bool:
    user = User.objects.filter(pk=account_id, is_active=True, is_staff=True).first()
    return user is not None and user.has_perm(permission)
