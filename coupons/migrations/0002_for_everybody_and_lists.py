"""Campaigns without a quantity, which are for everybody, and what the lists of the API show and filter by."""

import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("coupons", "0001_initial")]

    operations = [
        migrations.AlterField(
            "campaign",
            "quantity",
            models.PositiveBigIntegerField(
                blank=True,
                help_text="Empty: for everybody, one coupon an account, never sold out.",
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="quantity",
            ),
        ),
        migrations.AddField(
            "campaign",
            "updated_at",
            models.DateTimeField(
                blank=True,
                editable=False,
                help_text="When an operator changed it last; empty: never.",
                null=True,
                verbose_name="updated at",
            ),
        ),
        migrations.AddIndex(
            "campaign", models.Index(fields=["closes_at"], name="coupons_campaign_by_closing")
        ),
        migrations.AddIndex(
            "coupon", models.Index(fields=["campaign", "status", "id"], name="coupons_coupon_of_campaign")
        ),
        migrations.AddIndex(
            "coupon", models.Index(fields=["status", "id"], name="coupons_coupon_by_status")
        ),
    ]
