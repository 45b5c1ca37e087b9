"""Permissions of staff: the database decides, never the token."""

from collections.abc import Collection

from django.contrib.auth.models import User

from foundation.account import Account
from foundation.errors import NotAllowed, invalid_field
from foundation.http.messages import Request, account_id, caller_id
from foundation.http.validation import OwnerQuery, read_query
from foundation.lazy_texts import mark

READ_JOURNAL = "shop.view_journalline"
"""What operators did, and why, wherever it is shown."""


def require_staff_permission(request: Request, permission: str, *more: str) -> int:
    """Require that the caller is staff with these, such as "coupons.change_campaign"; return its id.

    An API key has the permissions of its maker, and none while it acts for an account; tokens of an identity
    provider have none. Raises `NotAuthenticated` and `NotAllowed`.
    """
    staff_id = caller_id(request)
    # The account may be staff, and this call still is not.
    may_be_staff = not isinstance(request.user, Account) or request.user.may_be_staff
    if not may_be_staff or not _has_permissions(staff_id, [permission, *more]):
        raise NotAllowed(mark("This account may not do that."))
    return staff_id


def require_claim_of_staff(request: Request) -> None:
    """Raise `NotAllowed` for a caller whose token claims no staff: no thread has to ask the database."""
    if not request.user.is_staff:
        raise NotAllowed(mark("This account may not do that."))


def has_staff_permission(request: Request, permission: str) -> bool:
    """Whether the caller is staff with `permission`, for calls that are open to others too.

    Costs no query unless the token claims staff; an account that became staff meanwhile needs a new token.
    """
    # A key that acts for an account claims none.
    claims_staff = request.user.is_authenticated and request.user.is_staff
    return claims_staff and _has_permissions(caller_id(request), [permission])


def allowed_account_id(request: Request, permission: str) -> int | None:
    """The account whose rows the caller may use: its own; None, which is all, for staff with `permission`."""
    return None if has_staff_permission(request, permission) else account_id(request)


def listed_account_id(request: Request, permission: str) -> int | None:
    """The account whose rows a list shows: the caller's own; of staff with `permission` the one in `account`
    or `user`, or None, which is all. Raises `NotAllowed` for others who send one of these.
    """
    owner_id = allowed_account_id(request, permission)
    if owner_id is not None:
        if any(request.query_params.get(name) for name in ("account", "user")):
            raise NotAllowed(mark("Staff alone choose the account of a list."))
        return owner_id
    query = read_query(OwnerQuery, request)
    if query.account and query.user:
        raise invalid_field("user", "account_given", mark("Give either account or user, its former name."))
    return query.account or query.user


def _has_permissions(staff_id: int, permissions: Collection[str]) -> bool:
    user = User.objects.filter(pk=staff_id, is_active=True, is_staff=True).first()
    return user is not None and user.has_perms(permissions)
