"""An index for a question that is asked every few seconds, on a table that Django made.

Each web process reads the disabled accounts every two seconds, and would walk the whole table. Adding it by
the schema editor rather than in SQL makes it go away again on every database.
"""

from django.db import migrations, models

INDEXES = [
    ("auth", "User", models.Index(fields=["is_active"], name="shop_user_disabled")),
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
    ]

    operations = [migrations.RunPython(add, remove, atomic=False)]
