"""The gateway of each payment, and whose books it keeps there.

MariaDB rebuilds a table with an index on a generated column to add a column, some ten seconds for a million
rows, in which no payment could begin or end. Without that index it adds columns at once, and it makes the
index anew while payments go on. Until then the order's lock alone, under which each payment begins, keeps a
second one from an order; if one had two after all, the index is refused.
"""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("payments", "0001_initial")]

    operations = [
        migrations.RemoveConstraint("payment", "payments_payment_one_not_failed_per_order"),
        migrations.AddField(
            "payment",
            "gateway",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The one that takes the card, by its name.",
                max_length=16,
                verbose_name="gateway",
            ),
        ),
        migrations.AddField(
            "payment",
            "gateway_account",
            models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="Whose books at that gateway the charge is in.",
                max_length=64,
                verbose_name="gateway account",
            ),
        ),
        migrations.AddConstraint(
            "payment",
            models.UniqueConstraint(
                fields=["unfailed_order_id"], name="payments_payment_one_not_failed_per_order"
            ),
        ),
        migrations.AddIndex(
            "payment",
            models.Index(fields=["gateway", "gateway_account"], name="payments_payment_by_gateway"),
        ),
    ]
