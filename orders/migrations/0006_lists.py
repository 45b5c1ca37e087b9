"""What the lists of the API filter by. Two of the indexes take the place of narrower ones."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("orders", "0005_numbers_and_metadata"), ("inventory", "0004_lists")]

    operations = [
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
