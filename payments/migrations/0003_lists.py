"""What the lists of the API filter by."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("payments", "0002_gateways")]

    operations = [
        migrations.AddIndex(
            "payment", models.Index(fields=["status", "id"], name="payments_payment_by_status")
        ),
    ]
