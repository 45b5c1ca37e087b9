from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0008_names_of_models_and_fields'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='product',
            index=models.Index(fields=['low_stock_threshold'], name='inventory_product_by_threshold'),
        ),
    ]
