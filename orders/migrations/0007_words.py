from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("orders", "0006_order_notes")]
    operations = [
        migrations.AlterModelOptions(
            name="saga",
            options={
                "verbose_name": "payment or refund under way",
                "verbose_name_plural": "payments and refunds under way",
            },
        )
    ]
