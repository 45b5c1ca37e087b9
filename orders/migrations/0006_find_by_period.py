"""Indexes for reports by period. Added online: orders go on being placed meanwhile."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0005_limit_of_lines_and_units_of_orders")]
    operations = [
        migrations.AddIndex("order", models.Index(fields=["paid_at"], name="orders_order_by_payment")),
        migrations.AddIndex("refund", models.Index(fields=["settled_at"], name="orders_refund_by_settlement")),
    ]
