"""Webhook endpoints, and what is delivered to them."""

import django.db.models.deletion
import shop.fields
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0021_rights_on_events"),
    ]

    operations = [
        migrations.CreateModel(
            name="WebhookEndpoint",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=uuid_utils.compat.uuid7, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("program", "program"),
                            ("data_platform", "data platform, by a protocol of its own"),
                        ],
                        default="program",
                        max_length=16,
                        verbose_name="kind",
                    ),
                ),
                ("url", shop.fields.ExactCharField(max_length=500, verbose_name="url")),
                (
                    "events",
                    models.JSONField(verbose_name="events"),
                ),
                ("description", models.CharField(blank=True, max_length=255, verbose_name="description")),
                ("secret", shop.fields.ExactCharField(blank=True, max_length=64, verbose_name="secret")),
                ("position", models.BigIntegerField(default=0, verbose_name="position")),
                ("created_at", models.DateTimeField(verbose_name="created at")),
                (
                    "failing_since",
                    models.DateTimeField(
                        blank=True,
                        help_text="Since when nothing was delivered.",
                        null=True,
                        verbose_name="failing since",
                    ),
                ),
                (
                    "failures",
                    models.PositiveIntegerField(default=0, help_text="In a row.", verbose_name="failures"),
                ),
                (
                    "next_attempt_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="next attempt at"),
                ),
                ("disabled_at", models.DateTimeField(blank=True, null=True, verbose_name="disabled at")),
                ("lease_token", models.CharField(blank=True, max_length=32, verbose_name="lease token")),
                ("leased_until", models.DateTimeField(blank=True, null=True, verbose_name="leased until")),
            ],
            options={
                "verbose_name": "webhook endpoint",
                "verbose_name_plural": "webhook endpoints",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("kind", "data_platform"),
                            models.Q(("secret", ""), _negated=True),
                            _connector="OR",
                        ),
                        name="shop_webhookendpoint_programs_have_a_secret",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="WebhookDelivery",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.BigIntegerField(blank=True, null=True, verbose_name="position")),
                ("event_id", models.UUIDField(verbose_name="event id")),
                ("order_id", models.UUIDField(blank=True, null=True, verbose_name="order id")),
                ("type", models.CharField(max_length=64, verbose_name="type")),
                ("payload", models.JSONField(blank=True, null=True, verbose_name="payload")),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "pending"), ("delivered", "Delivered"), ("failed", "given up")],
                        max_length=10,
                        verbose_name="status",
                    ),
                ),
                ("attempts", models.PositiveIntegerField(default=0, verbose_name="attempts")),
                (
                    "next_attempt_at",
                    models.DateTimeField(blank=True, null=True, verbose_name="next attempt at"),
                ),
                (
                    "response_status",
                    models.PositiveSmallIntegerField(blank=True, null=True, verbose_name="response status"),
                ),
                ("error", models.CharField(blank=True, max_length=255, verbose_name="error")),
                ("created_at", models.DateTimeField(db_index=True, verbose_name="created at")),
                ("delivered_at", models.DateTimeField(blank=True, null=True, verbose_name="delivered at")),
                (
                    "endpoint",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="deliveries",
                        to="shop.webhookendpoint",
                        verbose_name="webhook endpoint",
                    ),
                ),
            ],
            options={
                "verbose_name": "webhook delivery",
                "verbose_name_plural": "webhook deliveries",
                "indexes": [
                    models.Index(fields=["endpoint", "status", "id"], name="shop_webhookdelivery_of_status"),
                    models.Index(
                        fields=["endpoint", "status", "next_attempt_at"], name="shop_webhookdelivery_due"
                    ),
                    models.Index(fields=["endpoint", "order_id"], name="shop_webhookdelivery_of_order"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(
                                ("delivered_at__isnull", True),
                                ("next_attempt_at__isnull", False),
                                ("status", "pending"),
                            ),
                            models.Q(
                                ("delivered_at__isnull", False),
                                ("next_attempt_at__isnull", True),
                                ("status", "delivered"),
                            ),
                            models.Q(
                                ("delivered_at__isnull", True),
                                ("next_attempt_at__isnull", True),
                                ("status", "failed"),
                            ),
                            _connector="OR",
                        ),
                        name="shop_webhookdelivery_pending_has_next_attempt",
                    ),
                    models.UniqueConstraint(
                        fields=("endpoint", "event_id"), name="shop_webhookdelivery_one_per_event"
                    ),
                ],
            },
        ),
    ]
