"""Who may create campaigns and add codes in the group Operations may list accounts as well.

A group of that name whose members may do neither is an operator's own, and stays as it is. The permission is
created here too: Django creates it only after all migrations.
"""

from django.db import migrations

GROUP = "Operations"
HELD = ("add_campaign", "add_poolcode")
CODENAME, NAME = "add_eligibleaccount", "Can add eligible account"


def grant(apps, schema_editor):
    using = schema_editor.connection.alias
    rights = apps.get_model("auth", "Permission").objects.using(using)
    group = apps.get_model("auth", "Group").objects.using(using).filter(name=GROUP).first()
    if group is None:
        return
    own = group.permissions.filter(content_type__app_label="coupons", codename__in=HELD)
    if own.count() < len(HELD):
        return
    kinds = apps.get_model("contenttypes", "ContentType").objects.using(using)
    kind, _ = kinds.get_or_create(app_label="coupons", model="eligibleaccount")
    right, _ = rights.get_or_create(content_type=kind, codename=CODENAME, defaults={"name": NAME})
    group.permissions.add(right)


def withdraw(apps, schema_editor):
    using = schema_editor.connection.alias
    group = apps.get_model("auth", "Group").objects.using(using).filter(name=GROUP).first()
    if group is not None:
        own = group.permissions.filter(content_type__app_label="coupons", codename=CODENAME)
        group.permissions.remove(*own)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("coupons", "0006_restrictions_of_campaigns"), ("shop", "0014_groups_of_staff")]
    operations = [migrations.RunPython(grant, withdraw, atomic=False)]
