"""Payments whose card's owner must act, and several payments of an order, at most one of them not failed.

The unique index is on a column that the database generates from the status and the order: MariaDB has neither
partial indexes nor indexes on expressions. The release before writes none of these columns.
"""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0008_forfeited_points"), ("orders", "0008_orderline_sale")]
    operations = [
        migrations.AddField(
            model_name="payment",
            name="number",
            field=models.PositiveSmallIntegerField(
                db_default=1,
                default=1,
                help_text="Of the order's payments, from 1 on.",
                verbose_name="number",
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="keep_on_decline",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="A refused card leaves the order to be paid with another one.",
                verbose_name="keep on decline",
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="action_url",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                help_text="The page on which the card's owner confirms the charge.",
                max_length=2000,
                verbose_name="action URL",
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="action_expires_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When the charge is cancelled unless it is confirmed.",
                null=True,
                verbose_name="action expires at",
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="unfailed_order_id",
            field=models.GeneratedField(
                db_persist=False,
                expression=models.Case(models.When(status="failed", then=None), default=models.F("order")),
                output_field=models.UUIDField(null=True),
                verbose_name="order, unless failed",
            ),
        ),
        migrations.AddConstraint(
            model_name="payment",
            constraint=models.UniqueConstraint(
                fields=("unfailed_order_id",), name="payments_payment_one_not_failed_per_order"
            ),
        ),
        migrations.RemoveConstraint(model_name="payment", name="payments_payment_one_per_order"),
    ]
