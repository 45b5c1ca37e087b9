"""Notes of staff on orders."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("orders", "0005_numbers_metadata_lists")]

    operations = [
        migrations.CreateModel(
            name="OrderNote",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("author_id", models.BigIntegerField(verbose_name="author id")),
                ("text", models.CharField(max_length=1000, verbose_name="text")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                (
                    "order",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="notes",
                        to="orders.order",
                        verbose_name="order",
                    ),
                ),
            ],
            options={
                "verbose_name": "order note",
                "verbose_name_plural": "order notes",
                "default_permissions": (),
            },
        ),
    ]
