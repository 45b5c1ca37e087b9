"""The sale under whose waiting room a line was ordered."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('orders', '0007_names_of_models_and_fields'),
        ('sales', '0001_initial'),
    ]

    operations = [
        migrations.AddField(
            model_name='orderline',
            name='sale',
            field=models.ForeignKey(blank=True, db_constraint=False, db_index=False, help_text='The sale with a waiting room under which it was placed; empty: none.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='sales.sale', verbose_name='sale'),
        ),
    ]
