"""Factories of accounts, and of orders for tests that only need a row to refer to.

Also the row behind an object that a test holds: `set_columns` changes it, `reloaded` reads it again.
"""

from collections.abc import Iterable
from datetime import timedelta
from functools import cache
from typing import Any

import factory
from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import Permission, User
from django.db.models import Model
from django.utils import timezone

PASSWORD = "a-quiet-harbour-7"


@cache
def hashed_password() -> str:
    """The stored hash of PASSWORD; computed once, because hashing is slow by design."""
    return make_password(PASSWORD)


class AccountFactory(factory.django.DjangoModelFactory[User]):
    """An account; of staff by `staff_member`."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda number: f"account-{number}")
    email = factory.LazyAttribute(lambda account: f"{account.username}@example.com")
    password = factory.LazyFunction(hashed_password)

    @factory.post_generation
    def permissions(self, create: bool, names: Iterable[str] | None, **_):
        for name in names or ():
            app, codename = name.split(".")
            permission = Permission.objects.get(content_type__app_label=app, codename=codename)
            self.user_permissions.add(permission)


class SuperuserFactory(AccountFactory):
    is_staff = True
    is_superuser = True


def staff_member(*permissions: str, **columns) -> User:
    """An account of staff, as in `staff_member("coupons.change_campaign", username="ada")`."""
    return AccountFactory(is_staff=True, permissions=permissions, **columns)


class OrderFactory(factory.django.DjangoModelFactory[Any]):
    """An unpaid order without lines, for apps that don't import orders but have rows that refer to them."""

    class Meta:
        model = "orders.Order"

    account = factory.SubFactory(AccountFactory)
    items_amount = factory.LazyAttribute(lambda order: order.total_amount)
    total_amount = factory.LazyAttribute(lambda order: order.points_amount + order.card_amount)
    points_amount = 0
    card_amount = 0
    units = 0
    currency = "KRW"
    placed_at = factory.LazyFunction(timezone.now)
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(minutes=15))


def set_columns(row: Model, **columns):
    """Change these columns in the database only: the object keeps what it has read."""
    type(row).objects.filter(pk=row.pk).update(**columns)


def reloaded(row: Model):
    """The row as it stands now, in a new object."""
    return type(row).objects.get(pk=row.pk)
