"""Steps that wait for the customer: another event of sagas. Nothing changes in the database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0008_orderline_sale")]
    operations = [
        migrations.AlterField(
            model_name="sagalog",
            name="event",
            field=models.CharField(
                choices=[
                    ("done", "done"),
                    ("skipped", "nothing to do"),
                    ("refused", "refused for good"),
                    ("void", "compensated before it was done"),
                    ("failed", "failed attempt"),
                    ("pending", "the other system is working on it"),
                    ("forced", "confirmed by an operator"),
                    ("requires_action", "waits for the customer"),
                ],
                max_length=16,
                verbose_name="event",
            ),
        )
    ]
