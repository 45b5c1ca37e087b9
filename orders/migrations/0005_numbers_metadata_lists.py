"""Order numbers with the row of their counter, metadata, and what the lists of the API filter by.

Orders of earlier releases get their numbers by the task `orders.number`. Two of the indexes take the place of
narrower ones.
"""

import django.db.models.deletion
from django.db import migrations, models

import orders.models
import foundation.fields


def make_counter(apps, schema_editor):
    apps.get_model("orders", "NumberState").objects.get_or_create(pk=1)


class Migration(migrations.Migration):

    atomic = False
    dependencies = [("orders", "0004_failed_refunds"), ("inventory", "0003_product_days")]

    operations = [
        migrations.CreateModel(
            name="NumberState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("next_value", models.BigIntegerField(default=0, verbose_name="next value")),
                ("key", models.CharField(default=orders.models._new_key, max_length=64, verbose_name="key")),
            ],
            options={
                "verbose_name": "state of the order numbers",
                "verbose_name_plural": "states of the order numbers",
            },
        ),
        migrations.AddField(
            "order",
            "metadata",
            models.JSONField(
                blank=True,
                help_text="What programs keep with it: texts by their keys; none: empty.",
                null=True,
                verbose_name="metadata",
            ),
        ),
        migrations.AddField(
            "order",
            "number",
            foundation.fields.ExactCharField(
                editable=False,
                help_text="Its short name for people; none until an order of an earlier release gets one.",
                max_length=8,
                null=True,
                verbose_name="number",
            ),
        ),
        migrations.AddConstraint(
            "order", models.UniqueConstraint(fields=("number",), name="orders_order_number_is_unique")
        ),
        migrations.RunPython(make_counter, migrations.RunPython.noop),
        migrations.AddIndex(
            "order",
            models.Index(
                fields=["account", "status", "id", "units"], name="orders_order_of_account_status"
            ),
        ),
        migrations.RemoveIndex("order", "orders_order_holds_of_account"),
        migrations.AddIndex(
            "order", models.Index(fields=["status", "id"], name="orders_order_by_status")
        ),
        migrations.AddIndex(
            "order", models.Index(fields=["placed_at", "id"], name="orders_order_by_placing")
        ),
        migrations.AddIndex(
            "order", models.Index(fields=["coupon_code", "id"], name="orders_order_by_coupon")
        ),
        migrations.AddIndex(
            "orderline", models.Index(fields=["product", "order"], name="orders_orderline_of_product")
        ),
        # The foreign key uses the index above, and the server drops the one that it made for it.
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    "orderline",
                    "product",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="order_lines",
                        to="inventory.product",
                        verbose_name="product",
                    ),
                ),
            ]
        ),
    ]
