"""One index for what is due and for what is dead: both are asked for all the time, of a table that only grows."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("shop", "0003_journal")]
    operations = [
        migrations.RemoveIndex(model_name="journalline", name="shop_journalline_by_attempt"),
        migrations.AddIndex(
            model_name="journalline",
            index=models.Index(fields=["delivery", "next_attempt_at"], name="shop_journalline_by_delivery"),
        ),
    ]
