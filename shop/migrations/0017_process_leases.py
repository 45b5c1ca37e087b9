"""Which beat acts, where several run."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0016_requeued_events")]
    operations = [
        migrations.CreateModel(
            name="ProcessLease",
            fields=[
                (
                    "name",
                    models.CharField(max_length=32, primary_key=True, serialize=False, verbose_name="name"),
                ),
                ("holder", models.CharField(max_length=200, verbose_name="holder")),
                ("leased_until", models.DateTimeField(verbose_name="leased until")),
            ],
            options={"verbose_name": "process lease", "verbose_name_plural": "process leases"},
        ),
    ]
