"""What staff may do: the database says so, never the token."""

from django.contrib.auth.models import User
from rest_framework.request import Request

from shop.errors import NotAllowed, NotAuthenticated


def staff_may(request: Request, permission: str) -> None:
    """Let through only staff who hold `permission`, such as "coupons.change_campaign".

    Call it first in a staff-only view, so that everyone else gets 403 whatever the object. Raises
    `NotAuthenticated` and `NotAllowed`.
    """
    if not request.user.is_authenticated:
        raise NotAuthenticated("Sign in to do that.")
    if not _holds(request.user.pk, permission):
        raise NotAllowed("This account may not do that.")


def is_staff_with(request: Request, permission: str) -> bool:
    """Whether the caller is staff who hold `permission`, for calls that are open to others too.

    Costs no query when the token doesn't even claim staff; who became staff meanwhile needs a new token.
    """
    return bool(
        request.user.is_authenticated and request.user.is_staff and _holds(request.user.pk, permission)
    )


def _holds(account_id: int, permission: str) -> bool:
    user = User.objects.filter(pk=account_id, is_active=True, is_staff=True).first()
    return user is not None and user.has_perm(permission)
