"""What the lists of the API show and filter by."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("inventory", "0003_product_days")]

    operations = [
        migrations.AddField(
            "product",
            "updated_at",
            models.DateTimeField(
                blank=True,
                editable=False,
                help_text="When an operator changed it last; empty: never.",
                null=True,
                verbose_name="updated at",
            ),
        ),
    ]
