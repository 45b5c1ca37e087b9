"""Indexes for the operators' searches of accounts, on the table that Django made: by e-mail, and of staff."""

from django.db import migrations, models

INDEXES = [
    models.Index(fields=["email"], name="shop_user_by_email"),
    models.Index(fields=["is_staff"], name="shop_user_staff"),
]


def add(apps, schema_editor):
    for index in INDEXES:
        schema_editor.add_index(apps.get_model("auth", "User"), index)


def remove(apps, schema_editor):
    for index in INDEXES:
        schema_editor.remove_index(apps.get_model("auth", "User"), index)


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0011_sign_outs"),
        ("auth", "0012_alter_user_first_name_max_length"),
    ]

    operations = [migrations.RunPython(add, remove, atomic=False)]
