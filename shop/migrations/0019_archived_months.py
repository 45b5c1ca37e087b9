"""What the shop keeps of months that are archived in files, for operators and the laws."""

import django.db.models.deletion
import shop.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0018_right_to_enable_customers"),
    ]

    operations = [
        migrations.CreateModel(
            name="ArchivedMonth",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("archive_id", models.UUIDField(unique=True, verbose_name="archive id")),
                ("table", models.CharField(max_length=32, verbose_name="table")),
                ("month", models.CharField(max_length=7, verbose_name="month")),
                ("part", models.PositiveSmallIntegerField(verbose_name="part")),
                (
                    "state",
                    models.CharField(
                        choices=[
                            ("deleting", "deleting"),
                            ("archived", "archived"),
                            ("restoring", "restoring"),
                        ],
                        max_length=16,
                        verbose_name="state",
                    ),
                ),
                ("file", models.CharField(max_length=100, verbose_name="file")),
                (
                    "size",
                    models.PositiveBigIntegerField(help_text="Of the file, in bytes.", verbose_name="size"),
                ),
                (
                    "sha256",
                    shop.fields.ExactCharField(
                        help_text="Of the file.", max_length=64, verbose_name="sha256"
                    ),
                ),
                ("columns", models.JSONField(verbose_name="columns")),
                ("rows", models.PositiveBigIntegerField(verbose_name="rows")),
                ("first_key", models.CharField(max_length=36, verbose_name="first key")),
                ("last_key", models.CharField(max_length=36, verbose_name="last key")),
                ("removed", models.PositiveBigIntegerField(default=0, verbose_name="removed")),
                ("kept", models.JSONField(default=list, verbose_name="rows kept")),
                ("sums", models.JSONField(default=dict, verbose_name="sums")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("archived_at", models.DateTimeField(blank=True, null=True, verbose_name="archived at")),
            ],
            options={
                "verbose_name": "archived month",
                "verbose_name_plural": "archived months",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("table", "month", "part"),
                        name="shop_archivedmonth_one_per_table_month_and_part",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("removed__lte", models.F("rows"))),
                        name="shop_archivedmonth_removes_what_was_written",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ArchivedPaidEvent",
            fields=[
                ("order_id", models.UUIDField(primary_key=True, serialize=False, verbose_name="order id")),
                (
                    "month",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="shop.archivedmonth",
                        verbose_name="archived month",
                    ),
                ),
            ],
            options={
                "verbose_name": "archived paid event",
                "verbose_name_plural": "archived paid events",
            },
        ),
    ]
