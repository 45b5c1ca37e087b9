from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("coupons", "0008_no_archived_coupons")]

    operations = [
        migrations.AddField(
            model_name="queueticket",
            name="traceparent",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=55, verbose_name="traceparent"
            ),
        ),
    ]
