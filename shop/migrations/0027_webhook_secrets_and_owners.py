"""Webhook endpoints have several secrets, and an owner without whose right they get nothing."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0026_approvals"),
    ]

    operations = [
        migrations.AddField(
            model_name="webhookendpoint",
            name="former_secrets",
            field=models.JSONField(blank=True, null=True, verbose_name="former secrets"),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="owner_id",
            field=models.BigIntegerField(
                blank=True,
                help_text="The account for which it gets events.",
                null=True,
                verbose_name="owner id",
            ),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="api_key_id",
            field=models.BigIntegerField(blank=True, null=True, verbose_name="API key id"),
        ),
        migrations.AddField(
            model_name="webhookendpoint",
            name="disabled_by",
            field=models.CharField(
                blank=True,
                choices=[
                    ("staff", "staff"),
                    ("failures", "days of failures"),
                    ("rights", "a right that its owner lost"),
                ],
                db_default="",
                default="",
                max_length=8,
                verbose_name="disabled by",
            ),
        ),
    ]
