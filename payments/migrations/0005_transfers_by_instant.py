"""An index for reports by period. Added online: transfers go on being booked meanwhile."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0004_plain_words")]
    operations = [
        migrations.AddIndex("transfer", models.Index(fields=["at"], name="payments_transfer_by_instant")),
    ]
