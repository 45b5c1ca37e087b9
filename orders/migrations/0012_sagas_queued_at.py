from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("orders", "0011_gateway_refunds"),
    ]

    operations = [
        migrations.AddField(
            model_name="saga",
            name="queued_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When it was last given to the workers; empty once one of them has taken it.",
                null=True,
                verbose_name="queued at",
            ),
        ),
    ]
