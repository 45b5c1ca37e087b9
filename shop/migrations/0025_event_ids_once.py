"""Each event is in the feed once, by its id."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("shop", "0024_rights_on_api_keys"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="feedevent",
            constraint=models.UniqueConstraint(fields=("event_id",), name="shop_feedevent_one_per_event_id"),
        ),
    ]
