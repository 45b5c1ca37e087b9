"""Sagas and queue tickets have the trace in which they began. The former table goes."""

from typing import Any

from django.db import migrations


def delete_rights(apps: Any, schema_editor: Any) -> None:
    """Delete what is left of the model; its rights are deleted with it, also those of groups."""
    types = apps.get_model("contenttypes", "ContentType").objects.using(schema_editor.connection.alias)
    types.filter(app_label="shop", model="recordedtrace").delete()


class Migration(migrations.Migration):
    atomic = False
    dependencies = [
        ("shop", "0027_webhook_secrets_and_owners"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [
        migrations.DeleteModel(name="RecordedTrace"),
        migrations.RunPython(delete_rights, migrations.RunPython.noop),
    ]
