"""Who may replay events and create campaigns in the group Operations may read the event feed, and set up webhooks.

A group of that name whose members may not is an operator's own, and stays as it is. The permission is created
here too: Django creates it only after all migrations.
"""

from django.db import migrations

GROUP = "Operations"
HELD = ("shop.change_journalline", "coupons.add_campaign")
RIGHTS = (
    ("feedevent", "view_feedevent", "Can view event"),
    ("webhookendpoint", "view_webhookendpoint", "Can view webhook endpoint"),
    ("webhookendpoint", "add_webhookendpoint", "Can add webhook endpoint"),
    ("webhookendpoint", "change_webhookendpoint", "Can change webhook endpoint"),
    ("webhookdelivery", "view_webhookdelivery", "Can view webhook delivery"),
)


def grant(apps, schema_editor):
    using = schema_editor.connection.alias
    group = apps.get_model("auth", "Group").objects.using(using).filter(name=GROUP).first()
    if group is None:
        return
    own = group.permissions.values_list("content_type__app_label", "codename")
    if not set(HELD) <= {f"{app}.{codename}" for app, codename in own}:
        return
    kinds = apps.get_model("contenttypes", "ContentType").objects.using(using)
    permissions = apps.get_model("auth", "Permission").objects.using(using)
    for model, codename, name in RIGHTS:
        kind, _ = kinds.get_or_create(app_label="shop", model=model)
        right, _ = permissions.get_or_create(
            content_type=kind, codename=codename, defaults={"name": name}
        )
        group.permissions.add(right)


def withdraw(apps, schema_editor):
    using = schema_editor.connection.alias
    group = apps.get_model("auth", "Group").objects.using(using).filter(name=GROUP).first()
    if group is not None:
        names = [codename for _, codename, _ in RIGHTS]
        own = group.permissions.filter(content_type__app_label="shop", codename__in=names)
        group.permissions.remove(*own)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0020_event_feed"), ("coupons", "0002_confirmations_and_tickets")]
    operations = [migrations.RunPython(grant, withdraw, atomic=False)]
