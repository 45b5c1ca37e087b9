"""The sums of archived movements, by product and by delivery."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("inventory", "0010_find_paused_products"),
    ]

    operations = [
        migrations.CreateModel(
            name="CarriedStock",
            fields=[
                (
                    "product",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        primary_key=True,
                        related_name="carried",
                        serialize=False,
                        to="inventory.product",
                        verbose_name="product",
                    ),
                ),
                ("delta", models.BigIntegerField(default=0, verbose_name="delta")),
            ],
            options={
                "verbose_name": "carried stock",
                "verbose_name_plural": "carried stock",
            },
        ),
        migrations.AddField(
            model_name="delivery",
            name="archived",
            field=models.PositiveBigIntegerField(
                db_default=0,
                default=0,
                editable=False,
                help_text="Of the units received, those whose movements are archived.",
                verbose_name="archived",
            ),
        ),
    ]
