import django.core.validators
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("sales", "0006_lists")]

    operations = [
        migrations.AlterModelOptions(
            name="sale", options={"verbose_name": "sale event", "verbose_name_plural": "sale events"}
        ),
        migrations.AlterField(
            model_name="sale",
            name="admitted_for_seconds",
            field=models.PositiveIntegerField(
                validators=[django.core.validators.MinValueValidator(1)], verbose_name="admitted for seconds"
            ),
        ),
        migrations.AlterField(
            model_name="sale",
            name="ended_at",
            field=models.DateTimeField(
                blank=True,
                editable=False,
                help_text="Since when nobody in it can order any more.",
                null=True,
                verbose_name="ended at",
            ),
        ),
        migrations.AlterField(
            model_name="sale",
            name="rate_per_minute",
            field=models.PositiveIntegerField(
                validators=[django.core.validators.MinValueValidator(1)], verbose_name="let in per minute"
            ),
        ),
        migrations.AlterField(
            model_name="saleentry",
            name="rate_per_minute",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="let in per minute"),
        ),
    ]
