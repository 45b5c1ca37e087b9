"""The groups of staff as the migration creates them, for tests: a flush between tests deletes them."""

import importlib

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection

from foundation.tests.factories import staff_member

migration = importlib.import_module("foundation.migrations.0002_groups_of_staff")
RIGHTS = migration.GROUPS
"""What the migration gives to each group."""
NAMES = tuple(RIGHTS)


@pytest.fixture
def _staff_groups(db):
    Group.objects.filter(name__in=NAMES).delete()
    create()


def create():
    with connection.schema_editor(atomic=False) as editor:
        migration.create_groups(apps, editor)


def member_of(group: str) -> User:
    """A new staff account in the group; in none without a name."""
    account = staff_member()
    if group:
        account.groups.add(Group.objects.get(name=group))
    return account


def permissions_of(group: str) -> set[str]:
    found = Group.objects.get(name=group).permissions.values_list("content_type__app_label", "codename")
    return {f"{app}.{codename}" for app, codename in found}
