"""Keys by which programs call the API, and their secrets as hashes."""

import django.db.models.deletion
import shop.fields
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0022_webhook_endpoints"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=100, verbose_name="name")),
                ("prefix", shop.fields.ExactCharField(max_length=16, unique=True, verbose_name="prefix")),
                ("scopes", models.JSONField(verbose_name="scopes")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                ("expires_at", models.DateTimeField(blank=True, null=True, verbose_name="expires at")),
                ("revoked_at", models.DateTimeField(blank=True, null=True, verbose_name="revoked at")),
                (
                    "last_used_at",
                    models.DateTimeField(
                        blank=True,
                        help_text="Written once a minute at most.",
                        null=True,
                        verbose_name="last used at",
                    ),
                ),
                (
                    "maker",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="made by",
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "verbose_name_plural": "API keys",
                "permissions": [("act_apikey", "Can have API keys act for accounts")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("expires_at__isnull", True),
                            ("expires_at__gt", models.F("created_at")),
                            _connector="OR",
                        ),
                        name="shop_apikey_expires_after_its_creation",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ApiKeySecret",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "secret_hash",
                    shop.fields.ExactCharField(max_length=64, unique=True, verbose_name="secret hash"),
                ),
                ("is_current", models.BooleanField(null=True, verbose_name="is the current secret")),
                ("valid_until", models.DateTimeField(blank=True, null=True, verbose_name="valid until")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                (
                    "key",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="secrets",
                        to="shop.apikey",
                        verbose_name="API key",
                    ),
                ),
            ],
            options={
                "verbose_name": "secret of an API key",
                "verbose_name_plural": "secrets of API keys",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("key", "is_current"), name="shop_apikeysecret_one_current_per_key"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("is_current", True),
                                ("is_current__isnull", False),
                                ("valid_until__isnull", True),
                            ),
                            models.Q(("is_current__isnull", True), ("valid_until__isnull", False)),
                            _connector="OR",
                        ),
                        name="shop_apikeysecret_former_ones_end",
                    ),
                ],
            },
        ),
    ]
