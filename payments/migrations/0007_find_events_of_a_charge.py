"""The index by which operators find the webhook events of a charge. Made in place, while the shop sells."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0006_names_of_models_and_fields")]
    operations = [
        migrations.AddIndex(
            "webhookevent", models.Index(fields=["charge_key"], name="payments_webhookevent_by_key")
        )
    ]
