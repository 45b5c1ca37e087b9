"""The right to disable customers is named for what it allows since: to enable them again, too.

Only the name that operators read changes. Processes of the release before know the right by its codename.
"""

from django.db import migrations

BEFORE = "Can disable customers and sign them out"
AFTER = "Can disable, enable and sign out customers"


def rename(apps, schema_editor, before, after):
    rights = apps.get_model("auth", "Permission").objects.using(schema_editor.connection.alias)
    own = rights.filter(content_type__app_label="auth", codename="disable_user")
    own.filter(name=before).update(name=after)


def forward(apps, schema_editor):
    rename(apps, schema_editor, BEFORE, AFTER)


def backward(apps, schema_editor):
    rename(apps, schema_editor, AFTER, BEFORE)


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("shop", "0017_process_leases")]
    operations = [migrations.RunPython(forward, backward)]
