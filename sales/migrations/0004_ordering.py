"""The lease of the process that orders a draw."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("sales", "0003_places")]

    operations = [
        migrations.AddField(
            "sale",
            "ordering_until",
            models.DateTimeField(editable=False, null=True, verbose_name="ordering until"),
        ),
    ]
