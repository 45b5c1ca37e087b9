"""Campaigns without a quantity, which are for everybody."""

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
    ]
