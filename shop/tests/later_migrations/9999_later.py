from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_months_are_not_archived")]
    operations = [
        migrations.AddField("journalline", "later", models.IntegerField(null=True)),
        migrations.AddIndex(
            "journalline", models.Index(fields=["request_id"], name="shop_journalline_of_request")
        ),
        migrations.AddIndex("journalline", models.Index(fields=["later"], name="shop_journalline_by_later")),
    ]
