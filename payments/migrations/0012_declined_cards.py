"""When a card was declined, and for which API key it was tried. The release before writes neither."""

from django.db import migrations, models

BLOCKS_WRITERS_BECAUSE = "databases begin anew with 2.0, so the table is empty then"


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0011_disputes"),
    ]

    operations = [
        migrations.AddField(
            model_name="payment",
            name="api_key_id",
            field=models.BigIntegerField(
                blank=True,
                help_text="The API key that started it, if one did.",
                null=True,
                verbose_name="API key id",
            ),
        ),
        migrations.AddField(
            model_name="payment",
            name="declined_at",
            field=models.DateTimeField(
                blank=True,
                help_text="When the gateway refused the card, if it did.",
                null=True,
                verbose_name="declined at",
            ),
        ),
        migrations.AddIndex(
            model_name="payment",
            index=models.Index(
                fields=["api_key_id", "status", "declined_at"], name="payments_payment_of_api_key"
            ),
        ),
    ]
