"""Refresh tokens that were used, and families that were revoked, in a table of the shop's own."""

from django.db import migrations, models

import shop.fields


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0027_webhook_secrets_and_owners"),
    ]

    operations = [
        migrations.CreateModel(
            name="RevokedToken",
            fields=[
                (
                    "id",
                    shop.fields.ExactCharField(
                        max_length=64, primary_key=True, serialize=False, verbose_name="id"
                    ),
                ),
                ("revoked_at", models.DateTimeField(verbose_name="revoked at")),
                ("expires_at", models.DateTimeField(db_index=True, verbose_name="expires at")),
            ],
            options={
                "verbose_name": "revoked token",
                "verbose_name_plural": "revoked tokens",
            },
        ),
    ]
