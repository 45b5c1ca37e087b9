"""What the scheduled audit last found out about each law, and its own state.

Two new tables, which processes of the release before know nothing of.
"""

import datetime

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0008_refused_events")]
    operations = [
        migrations.CreateModel(
            name="AuditState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("lease_token", models.CharField(blank=True, max_length=32)),
                ("leased_until", models.DateTimeField(blank=True, null=True)),
                ("marks", models.JSONField(blank=True, default=list)),
                (
                    "audited_at",
                    models.DateTimeField(blank=True, help_text="The start of the latest audit.", null=True),
                ),
                (
                    "full_at",
                    models.DateTimeField(
                        blank=True, help_text="The start of the latest full audit.", null=True
                    ),
                ),
                ("progress", models.JSONField(blank=True, null=True)),
            ],
        ),
        migrations.CreateModel(
            name="LawStatus",
            fields=[
                ("law", models.CharField(max_length=8, primary_key=True, serialize=False)),
                ("holds", models.BooleanField()),
                (
                    "checked",
                    models.PositiveBigIntegerField(
                        default=0, help_text="How many rows the latest audit looked at."
                    ),
                ),
                (
                    "offenders",
                    models.JSONField(
                        blank=True, default=list, help_text="At most 100 of those that break it."
                    ),
                ),
                ("suspects", models.JSONField(blank=True, default=list)),
                ("is_incomplete", models.BooleanField(default=False)),
                ("since", models.DateTimeField(help_text="Since when it holds, or is broken.")),
                (
                    "checked_at",
                    models.DateTimeField(
                        blank=True, help_text="The start of the latest audit of it.", null=True
                    ),
                ),
                (
                    "full_at",
                    models.DateTimeField(
                        blank=True, help_text="The start of the latest full audit of it.", null=True
                    ),
                ),
                (
                    "took",
                    models.DurationField(
                        default=datetime.timedelta(0), help_text="How long the latest audit checked it."
                    ),
                ),
                (
                    "not_checked",
                    models.CharField(
                        blank=True, help_text="Why the latest audit could not check it.", max_length=255
                    ),
                ),
            ],
            options={"verbose_name_plural": "law statuses"},
        ),
    ]
