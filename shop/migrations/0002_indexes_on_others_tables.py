"""Indexes for two questions that are asked every few seconds, on tables that Django and simplejwt made.

Each web process reads the disabled accounts every two seconds, and the housekeeping looks for expired
refresh tokens; without these both would walk the whole table. Adding them by the schema editor rather
than in SQL makes them go away again on every database.
"""

from django.db import migrations, models

INDEXES = [
    ("auth", "User", models.Index(fields=["is_active"], name="shop_user_disabled")),
    (
        "token_blacklist",
        "OutstandingToken",
        models.Index(fields=["expires_at"], name="shop_outstandingtoken_expired"),
    ),
]


def add(apps, schema_editor):
    for app, model, index in INDEXES:
        schema_editor.add_index(apps.get_model(app, model), index)


def remove(apps, schema_editor):
    for app, model, index in INDEXES:
        schema_editor.remove_index(apps.get_model(app, model), index)


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("token_blacklist", "0013_alter_blacklistedtoken_options_and_more"),
    ]

    operations = [migrations.RunPython(add, remove, atomic=False)]
