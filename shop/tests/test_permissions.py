"""The permissions of staff come from the database, not from the token."""

from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tokens import authentication, tokens
from shop.errors import NotAllowed, NotAuthenticated
from shop.http import permissions
from shop.tests.factories import AccountFactory

PERMISSION = "coupons.change_campaign"


def request_of(user: User) -> Any:
    return SimpleNamespace(user=authentication.verify_access_token(tokens.create_access_token(user)))


def may(request: Any) -> bool:
    try:
        permissions.require_staff_permission(request, PERMISSION)
    except NotAllowed:
        return False
    return True


@pytest.mark.django_db
@pytest.mark.parametrize(
    "rights",
    [
        {"is_staff": True},
        {"is_staff": True, "permissions": ["coupons.view_campaign"]},
        {"is_staff": False, "permissions": [PERMISSION]},
        {"is_staff": True, "is_active": False, "permissions": [PERMISSION]},
        {"is_superuser": True},
    ],
)
def test_other_accounts_may_not(rights: dict[str, Any]) -> None:
    request = request_of(AccountFactory(**rights))

    assert not may(request)
    assert not permissions.has_staff_permission(request, PERMISSION)


@pytest.mark.django_db
def test_a_token_that_still_claims_staff_is_not_believed() -> None:
    user = AccountFactory(is_staff=True, permissions=[PERMISSION])
    request = request_of(user)
    User.objects.filter(pk=user.pk).update(is_staff=False)

    assert request.user.is_staff
    assert not may(request)
    assert not permissions.has_staff_permission(request, PERMISSION)


def test_an_anonymous_request_has_to_sign_in_first() -> None:
    request: Any = SimpleNamespace(user=AnonymousUser())

    with pytest.raises(NotAuthenticated):
        permissions.require_staff_permission(request, PERMISSION)
    assert not permissions.has_staff_permission(request, PERMISSION)


@pytest.mark.django_db
def test_checking_an_ordinary_account_for_staff_takes_no_query() -> None:
    request = request_of(AccountFactory())

    with CaptureQueriesContext(connection) as queries:
        assert not permissions.has_staff_permission(request, PERMISSION)

    assert queries.captured_queries == []
