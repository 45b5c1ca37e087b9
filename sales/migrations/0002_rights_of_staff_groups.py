"""The rights on sales of the groups that the shop has created, as docs/operators.md lists them.

A group gets them as long as it has all rights with which it was created. One from which operators took some,
or which they created under its name, stays as it is: the log names what it lacks.
"""

import importlib

import structlog
from django.db import migrations, transaction

groups_of_staff = importlib.import_module("shop.migrations.0014_groups_of_staff")

GOODS = ["sales.view_sale", "sales.view_saleproduct"]
RIGHTS = {
    "Viewer": GOODS,
    "Support": [*GOODS, "sales.view_saleentry"],
    "Operations": [*GOODS, "sales.view_saleentry", "sales.add_sale", "sales.change_sale"],
    "Finance": GOODS,
}

log = structlog.get_logger(__name__)


def add_rights(apps, schema_editor):
    using = schema_editor.connection.alias
    for group, rights in _groups(apps, using):
        with transaction.atomic(using=using):
            held = groups_of_staff._names(group)
            if held >= set(groups_of_staff.GROUPS[group.name]):
                found = [groups_of_staff._permission(apps, using, name) for name in rights]
                group.permissions.add(*found)
            elif missing := sorted(set(rights) - held):
                log.warning("group was changed and got no rights on sales", group=group.name, lacks=missing)


def remove_rights(apps, schema_editor):
    using = schema_editor.connection.alias
    for group, rights in _groups(apps, using):
        found = [groups_of_staff._permission(apps, using, name) for name in rights]
        group.permissions.remove(*found)


def _groups(apps, using):
    """The groups that are there, in the order of their names, each with its rights on sales."""
    groups = apps.get_model("auth", "Group").objects.using(using).filter(name__in=RIGHTS)
    return [(group, RIGHTS[group.name]) for group in groups.order_by("name")]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("sales", "0001_initial"),
        ("shop", "0014_groups_of_staff"),
    ]
    operations = [migrations.RunPython(add_rights, remove_rights, atomic=False)]
