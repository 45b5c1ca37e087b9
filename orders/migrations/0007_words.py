from django.db import migrations

import foundation.fields


class Migration(migrations.Migration):
    dependencies = [("orders", "0006_order_notes")]
    operations = [
        migrations.AlterModelOptions(
            name="saga",
            options={
                "verbose_name": "payment or refund under way",
                "verbose_name_plural": "payments and refunds under way",
            },
        ),
        migrations.AlterField(
            model_name="orderline",
            name="sku",
            field=foundation.fields.ExactCharField(max_length=64, verbose_name="SKU"),
        ),
    ]
