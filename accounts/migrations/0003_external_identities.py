"""Whom the identity provider names, and their accounts."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

import foundation.fields


class Migration(migrations.Migration):

    dependencies = [("accounts", "0002_kept_sign_ins"), migrations.swappable_dependency(settings.AUTH_USER_MODEL)]

    operations = [
        migrations.CreateModel(
            name="ExternalIdentity",
            fields=[
                (
                    "account",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="external_identity",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                        verbose_name="account",
                    ),
                ),
                ("issuer", foundation.fields.ExactCharField(max_length=255, verbose_name="issuer")),
                ("external_id", foundation.fields.ExactCharField(max_length=255, verbose_name="external id")),
            ],
            options={
                "verbose_name": "external identity",
                "verbose_name_plural": "external identities",
                "constraints": [
                    models.UniqueConstraint(
                        fields=("external_id", "issuer"), name="accounts_externalidentity_once_per_issuer"
                    )
                ],
            },
        ),
    ]
