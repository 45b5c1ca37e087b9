import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("coupons", "0002_for_everybody_and_lists")]

    operations = [
        migrations.AlterField(
            model_name="campaign",
            name="quantity",
            field=models.PositiveBigIntegerField(
                blank=True,
                null=True,
                validators=[django.core.validators.MinValueValidator(1)],
                verbose_name="quantity",
            ),
        ),
        migrations.AlterModelOptions(
            name="poolcode",
            options={"verbose_name": "uploaded code", "verbose_name_plural": "uploaded codes"},
        ),
        migrations.AlterField(
            model_name="campaign",
            name="eligible",
            field=models.CharField(
                choices=[("all", "all accounts"), ("listed", "listed accounts")],
                default="all",
                max_length=16,
                verbose_name="who may get it",
            ),
        ),
    ]
