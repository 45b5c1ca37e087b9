"""Refunds that failed after they had succeeded."""

from django.db import migrations, models

BLOCKS_WRITERS_BECAUSE = "The table has a row for each refund alone, and refunds wait for seconds at most."


class Migration(migrations.Migration):

    dependencies = [("orders", "0003_facts")]

    operations = [
        migrations.AlterField(
            "refund",
            "status",
            models.CharField(
                choices=[
                    ("pending", "pending"),
                    ("succeeded", "succeeded"),
                    ("stuck", "stuck"),
                    ("failed", "failed"),
                ],
                default="pending",
                max_length=16,
                verbose_name="status",
            ),
        ),
        migrations.AddField(
            "refund",
            "failed_at",
            models.DateTimeField(
                blank=True,
                help_text="When the gateway was found to have taken it back.",
                null=True,
                verbose_name="failed at",
            ),
        ),
        migrations.AddIndex(
            "refund", models.Index(fields=["failed_at"], name="orders_refund_by_failure")
        ),
        migrations.RemoveConstraint("refund", "orders_refund_settled_at_says_succeeded"),
        migrations.AddConstraint(
            "refund",
            models.CheckConstraint(
                condition=models.Q(status="succeeded", settled_at__isnull=False, failed_at__isnull=True)
                | models.Q(
                    status="failed", settled_at__isnull=False, failed_at__isnull=False, card_amount__gt=0
                )
                | models.Q(status__in=["pending", "stuck"], settled_at__isnull=True, failed_at__isnull=True),
                name="orders_refund_times_say_status",
            ),
        ),
    ]
