"""The groups of staff as the migrations create them, for tests: a flush between tests deletes them."""

import importlib

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection

from shop.tests.factories import AccountFactory

migration = importlib.import_module("shop.migrations.0014_groups_of_staff")
sales_migration = importlib.import_module("sales.migrations.0002_rights_of_staff_groups")
listing = importlib.import_module("coupons.migrations.0007_right_to_list_accounts")
on_events = importlib.import_module("shop.migrations.0021_rights_on_events")
on_api_keys = importlib.import_module("shop.migrations.0024_rights_on_api_keys")
on_approvals = importlib.import_module("shop.migrations.0026_approvals")
NAMES = tuple(migration.GROUPS)
RIGHTS = {name: [*rights, *sales_migration.RIGHTS[name]] for name, rights in migration.GROUPS.items()}
RIGHTS[on_events.GROUP] += [f"shop.{codename}" for _, codename, _ in on_events.RIGHTS]
RIGHTS[on_api_keys.GROUP] += on_api_keys.RIGHTS
for _group, (_held, _rights) in on_approvals.GROUPS.items():
    RIGHTS[_group] += _rights
"""What the migrations give to each group."""


@pytest.fixture
def _staff_groups(db: None) -> None:
    Group.objects.filter(name__in=NAMES).delete()
    create()


def create() -> None:
    with connection.schema_editor(atomic=False) as editor:
        migration.create_groups(apps, editor)
        sales_migration.add_rights(apps, editor)
        listing.grant(apps, editor)
        on_events.grant(apps, editor)
        on_api_keys.grant(apps, editor)
        on_approvals.grant(apps, editor)


def delete() -> None:
    with connection.schema_editor(atomic=False) as editor:
        sales_migration.remove_rights(apps, editor)
        listing.withdraw(apps, editor)
        on_events.withdraw(apps, editor)
        on_api_keys.withdraw(apps, editor)
        on_approvals.withdraw(apps, editor)
        migration.delete_groups(apps, editor)


def member_of(group: str) -> User:
    """A new staff account in the group; in none without a name."""
    account = AccountFactory.create(is_staff=True)
    if group:
        account.groups.add(Group.objects.get(name=group))
    return account


def permissions_of(group: str) -> set[str]:
    found = Group.objects.get(name=group).permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in found}
