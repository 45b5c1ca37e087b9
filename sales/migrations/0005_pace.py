"""When the next admission of a sale is due by its pace."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [("sales", "0004_ordering")]

    operations = [
        migrations.AddField(
            "sale",
            "next_admission_at",
            models.DateTimeField(editable=False, null=True, verbose_name="next admission at"),
        ),
    ]
