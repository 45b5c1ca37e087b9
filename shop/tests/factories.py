"""Accounts for tests."""

from collections.abc import Iterable
from functools import cache
from typing import Any

import factory
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission, User

PASSWORD = "a-quiet-harbour-7"


@cache
def hashed_password() -> str:
    """PASSWORD as the database keeps it; hashed once, for it is slow by design."""
    return make_password(PASSWORD)


class AccountFactory(factory.django.DjangoModelFactory[User]):
    """An account; `AccountFactory(is_staff=True, permissions=["coupons.change_campaign"])` is staff."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda number: f"account-{number}")
    email = factory.LazyAttribute(lambda account: f"{account.username}@example.com")
    password = factory.LazyFunction(hashed_password)

    @factory.post_generation
    def permissions(self: Any, create: bool, names: Iterable[str] | None, **_: object) -> None:
        for name in names or ():
            app, codename = name.split(".")
            permission = Permission.objects.get(content_type__app_label=app, codename=codename)
            self.user_permissions.add(permission)


class SuperuserFactory(AccountFactory):
    """An account that may do everything."""

    is_staff = True
    is_superuser = True
