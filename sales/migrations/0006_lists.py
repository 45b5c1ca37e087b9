"""What the lists of the API show and filter by."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("sales", "0005_pace")]

    operations = [
        migrations.AddField(
            "sale",
            "updated_at",
            models.DateTimeField(
                blank=True,
                editable=False,
                help_text="When an operator changed it last; empty: never.",
                null=True,
                verbose_name="updated at",
            ),
        ),
        migrations.AddIndex("sale", models.Index(fields=["closes_at"], name="sales_sale_by_closing")),
    ]
