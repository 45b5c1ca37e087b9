"""Points that an erased account forfeits: another kind of transfer. Nothing changes in the database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0007_find_events_of_a_charge")]
    operations = [
        migrations.AlterField(
            model_name="transfer",
            name="kind",
            field=models.CharField(
                choices=[
                    ("hold", "points held for an order"),
                    ("release", "held points released"),
                    ("sale", "an order settled"),
                    ("refund", "an order refunded"),
                    ("top_up", "points bought by card"),
                    ("grant", "points granted by staff"),
                    ("forfeit", "points forfeited by an erased account"),
                ],
                max_length=16,
                verbose_name="kind",
            ),
        )
    ]
