"""The event feed: what happened, and the positions in which programs read it."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0019_archived_months"),
    ]

    operations = [
        migrations.CreateModel(
            name="FeedEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.BigIntegerField(blank=True, null=True, verbose_name="position")),
                ("event_id", models.UUIDField(verbose_name="event id")),
                (
                    "type",
                    models.CharField(help_text="Such as `order.paid`.", max_length=64, verbose_name="type"),
                ),
                ("order_id", models.UUIDField(blank=True, null=True, verbose_name="order id")),
                ("at", models.DateTimeField(verbose_name="at")),
                ("data", models.JSONField(verbose_name="data")),
            ],
            options={
                "verbose_name": "event",
                "verbose_name_plural": "events",
                "constraints": [
                    models.UniqueConstraint(fields=("position",), name="shop_feedevent_one_per_position")
                ],
            },
        ),
        migrations.CreateModel(
            name="FeedState",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("last_position", models.BigIntegerField(default=0, verbose_name="last position")),
                ("swept_position", models.BigIntegerField(default=0, verbose_name="swept position")),
                ("gaps", models.JSONField(default=list, verbose_name="gaps")),
            ],
            options={
                "verbose_name": "state of the event feed",
                "verbose_name_plural": "states of the event feed",
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("swept_position__gte", 0), ("swept_position__lte", models.F("last_position"))
                        ),
                        name="shop_feedstate_sweeps_given_positions",
                    )
                ],
            },
        ),
    ]
