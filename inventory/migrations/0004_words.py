from django.db import migrations, models

import foundation.fields


class Migration(migrations.Migration):
    dependencies = [("inventory", "0003_product_days")]

    operations = [
        migrations.AlterField(
            model_name="product",
            name="limit_per_account",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="limit per account"),
        ),
        migrations.AlterField(
            model_name="product",
            name="low_stock_threshold",
            field=models.PositiveIntegerField(blank=True, null=True, verbose_name="low stock threshold"),
        ),
        migrations.AlterField(
            model_name="product",
            name="paused_at",
            field=models.DateTimeField(blank=True, editable=False, null=True, verbose_name="paused at"),
        ),
        migrations.AlterField(
            model_name="product", name="price", field=models.BigIntegerField(verbose_name="price")
        ),
        migrations.AlterField(
            model_name="product",
            name="is_active",
            field=models.BooleanField(default=True, verbose_name="on sale"),
        ),
        migrations.AlterField(
            model_name="product",
            name="sku",
            field=foundation.fields.ExactCharField(max_length=64, verbose_name="SKU"),
        ),
        migrations.AlterField(
            model_name="carriedstock",
            name="delta",
            field=models.BigIntegerField(default=0, verbose_name="change"),
        ),
        migrations.AlterField(
            model_name="stockmovement", name="delta", field=models.BigIntegerField(verbose_name="change")
        ),
    ]
