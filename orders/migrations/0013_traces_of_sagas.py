from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("orders", "0012_sagas_queued_at")]

    operations = [
        migrations.AddField(
            model_name="saga",
            name="traceparent",
            field=models.CharField(
                blank=True, db_default="", default="", max_length=55, verbose_name="traceparent"
            ),
        ),
    ]
