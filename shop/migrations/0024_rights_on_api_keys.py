"""Who may create campaigns and move stock in the group Operations may make API keys as well, and revoke them.

A group of that name whose members may do neither is an operator's own, and stays as it is. The permissions are
created here too: Django creates them only after all migrations. Acting for accounts is given to no group.
"""

import importlib

from django.db import migrations

groups_of_staff = importlib.import_module("shop.migrations.0014_groups_of_staff")

GROUP = "Operations"
HELD = {"coupons.add_campaign", "inventory.add_stockmovement"}
RIGHTS = ("shop.view_apikey", "shop.add_apikey", "shop.change_apikey")


def grant(apps, schema_editor):
    using = schema_editor.connection.alias
    group = apps.get_model("auth", "Group").objects.using(using).filter(name=GROUP).first()
    if group is None or not groups_of_staff._names(group) >= HELD:
        return
    group.permissions.add(*_permissions(apps, using))


def withdraw(apps, schema_editor):
    using = schema_editor.connection.alias
    group = apps.get_model("auth", "Group").objects.using(using).filter(name=GROUP).first()
    if group is not None:
        group.permissions.remove(*_permissions(apps, using))


def _permissions(apps, using):
    return [groups_of_staff._permission(apps, using, name) for name in RIGHTS]


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0023_api_keys"), ("shop", "0014_groups_of_staff")]
    operations = [migrations.RunPython(grant, withdraw, atomic=False)]
