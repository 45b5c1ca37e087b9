"""The sale whose terms hold for a product."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('inventory', '0011_carried_stock'),
        ('sales', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='product',
            name='sale',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, editable=False, help_text='Whose terms hold for its orders; empty: none.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='sales.sale', verbose_name='sale'),
        ),
    ]
